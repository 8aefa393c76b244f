// Plain_send publishes one message to the queue "hello", with amqp091-go and nothing else.
package main

import (
	"cmp"
	"fmt"
	"log"
	"os"

	amqp "github.com/rabbitmq/amqp091-go"
)

func main() {
	conn, err := amqp.Dial(cmp.Or(os.Getenv("AMQP_URL"), "amqp://guest:guest@localhost:5672/"))
	check(err)
	ch, err := conn.Channel()
	check(err)

	queue, err := ch.QueueDeclare(
		"hello", // name
		true,    // durable: the queue is still there after a restart of the broker
		false,   // auto-delete: it is not deleted when its last consumer leaves
		false,   // exclusive: other connections may use it as well
		false,   // no-wait: we wait for the broker's answer
		amqp.Table{amqp.QueueTypeArg: amqp.QueueTypeQuorum}, // arguments: the type of the queue
	)
	check(err)

	check(ch.Publish(
		"",         // exchange: the default one
		queue.Name, // routing key: the queue that it leads to
		false,      // mandatory: if there is no such queue, the broker drops the message
		false,      // immediate: RabbitMQ does not have it
		amqp.Publishing{ContentType: "text/plain", Body: []byte("Hello World!")},
	))
	fmt.Println(" [x] Sent Hello World!")
	check(conn.Close())
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
