// Restart shows what a restart of the broker leaves of a classic queue. Run it, restart the
// broker, and run it again. If the queue is empty, it sends two messages. If not, it prints the
// messages that are left, and deletes the queue.
package main

import (
	"flag"
	"fmt"

	amqp "github.com/rabbitmq/amqp091-go"

	"rabbitmq-tutorial/scripts/experiments/plain"
)

func main() {
	durable := flag.Bool("durable", true, "whether the queue is durable")
	flag.Parse()
	conn := plain.Dial()
	ch, err := conn.Channel()
	plain.Check(err)

	classic := amqp.Table{amqp.QueueTypeArg: amqp.QueueTypeClassic} // a quorum queue would keep both messages
	queue, err := ch.QueueDeclare(fmt.Sprintf("durable_%t", *durable), *durable, false, false, false, classic)
	plain.Check(err)
	if queue.Messages == 0 {
		persistent := amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte("persistent")}
		plain.Check(ch.Publish("", queue.Name, false, false, persistent))
		transient := amqp.Publishing{DeliveryMode: amqp.Transient, Body: []byte("transient")}
		plain.Check(ch.Publish("", queue.Name, false, false, transient))
		plain.Check(conn.Close()) // in order: now the broker has the messages
		fmt.Println(" [x] Sent a persistent and a transient message")
		return
	}
	for {
		message, ok, err := ch.Get(queue.Name, true)
		plain.Check(err)
		if !ok {
			break
		}
		fmt.Printf(" [x] Found the %s message\n", message.Body)
	}
	_, err = ch.QueueDelete(queue.Name, false, false, false)
	plain.Check(err)
}
