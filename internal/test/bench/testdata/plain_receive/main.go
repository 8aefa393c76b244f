// Plain_receive prints the messages of the queue "hello", with amqp091-go and nothing else.
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

	// The same arguments as in plain_send.
	queue, err := ch.QueueDeclare("hello", true, false, false, false, amqp.Table{amqp.QueueTypeArg: amqp.QueueTypeQuorum})
	check(err)
	// Prefetch: at most 30 messages ahead of our acknowledgements. (0: no limit in bytes.
	// false: the limit is for each consumer.)
	check(ch.Qos(30, 0, false))

	messages, err := ch.Consume(
		queue.Name, // queue
		"",         // consumer tag: amqp091-go makes one up
		false,      // auto-ack: the broker keeps each message until we acknowledge it
		false,      // exclusive: other consumers may share the queue
		false,      // no-local: RabbitMQ does not have it
		false,      // no-wait: we wait for the broker's answer
		nil,        // arguments: none
	)
	check(err)
	fmt.Println(" [*] Waiting for messages. To exit press CTRL+C")

	for message := range messages {
		fmt.Printf(" [x] Received %s\n", message.Body)
		check(message.Ack(false)) // false: this message only, not all before it
	}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
