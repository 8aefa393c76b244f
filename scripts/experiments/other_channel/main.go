// Other_channel acknowledges a delivery on a channel that it did not come on, and then on the
// one that it did.
package main

import (
	"fmt"

	amqp "github.com/rabbitmq/amqp091-go"

	"rabbitmq-tutorial/scripts/experiments/plain"
)

func main() {
	conn := plain.Dial()
	defer conn.Close()
	first, err := conn.Channel()
	plain.Check(err)
	other, err := conn.Channel()
	plain.Check(err)
	closed := other.NotifyClose(make(chan *amqp.Error, 1))

	queue, err := first.QueueDeclare("", false, false, true, false, nil) // exclusive: it goes with the connection
	plain.Check(err)
	plain.Check(first.Publish("", queue.Name, false, false, amqp.Publishing{Body: []byte("Hello World!")}))
	messages, err := first.Consume(queue.Name, "", false, false, false, false, nil)
	plain.Check(err)
	message := <-messages
	fmt.Printf(" [x] Received %s on the first channel, with delivery tag %d\n", message.Body, message.DeliveryTag)

	plain.Check(other.Ack(message.DeliveryTag, false))
	fmt.Println(" [x] Acknowledged it on the other channel, which the broker closes:", (<-closed).Reason)
	plain.Check(first.Ack(message.DeliveryTag, false))
	plain.Check(first.Close()) // in order, after the acknowledgement
	fmt.Println(" [x] Acknowledged it on the first channel")
}
