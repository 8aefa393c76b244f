// Plain_send does what cmd/send does, but not the safe part: it publishes one message to a
// durable quorum queue with plain amqp091-go and does not wait for a confirm.
package main

import (
	"fmt"
	"log"
	"os"

	amqp "github.com/rabbitmq/amqp091-go"
)

func main() {
	conn, err := amqp.Dial(os.Getenv("AMQP_URL"))
	check(err)
	ch, err := conn.Channel()
	check(err)
	queue, err := ch.QueueDeclare("hello", true, false, false, false, amqp.Table{amqp.QueueTypeArg: amqp.QueueTypeQuorum})
	check(err)
	check(ch.Publish("", queue.Name, false, false, amqp.Publishing{
		ContentType: "text/plain",
		Body:        []byte("Hello World!"),
	}))
	fmt.Println(" [x] Sent Hello World!")
	check(conn.Close())
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
