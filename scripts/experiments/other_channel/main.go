// Other_channel acknowledges a delivery on a channel that it did not come on, and then on the
// one that it did.
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
	defer conn.Close()
	first, err := conn.Channel()
	check(err)
	other, err := conn.Channel()
	check(err)
	closed := other.NotifyClose(make(chan *amqp.Error, 1))

	queue, err := first.QueueDeclare("", false, false, true, false, nil) // exclusive: it goes with the connection
	check(err)
	check(first.Publish("", queue.Name, false, false, amqp.Publishing{Body: []byte("Hello World!")}))
	messages, err := first.Consume(queue.Name, "", false, false, false, false, nil)
	check(err)
	message := <-messages
	fmt.Printf(" [x] Received %s on the first channel, with delivery tag %d\n", message.Body, message.DeliveryTag)

	check(other.Ack(message.DeliveryTag, false))
	fmt.Println(" [x] Acknowledged it on the other channel, which the broker closes:", (<-closed).Reason)
	check(first.Ack(message.DeliveryTag, false))
	check(first.Close()) // in order, after the acknowledgement
	fmt.Println(" [x] Acknowledged it on the first channel")
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
