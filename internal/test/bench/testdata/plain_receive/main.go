// Plain_receive does what cmd/receive does, with plain amqp091-go.
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
	check(ch.Qos(30, 0, false))
	deliveries, err := ch.Consume(queue.Name, "", false, false, false, false, nil)
	check(err)
	fmt.Println(" [*] Waiting for messages. To exit press CTRL+C")
	for d := range deliveries {
		fmt.Printf(" [x] Received %s\n", d.Body)
		check(d.Ack(false))
	}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
