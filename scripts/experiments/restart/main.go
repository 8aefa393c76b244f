// Restart shows what a restart of the broker leaves of a classic queue. Run it, restart the
// broker, and run it again. It sends two messages to an empty queue; messages that it finds
// it takes out, and deletes the queue.
package main

import (
	"cmp"
	"flag"
	"fmt"
	"log"
	"os"

	amqp "github.com/rabbitmq/amqp091-go"
)

func main() {
	log.SetFlags(0)
	durable := flag.Bool("durable", true, "whether the queue is durable")
	flag.Parse()
	conn, err := amqp.Dial(cmp.Or(os.Getenv("AMQP_URL"), "amqp://guest:guest@localhost:5672/"))
	check(err)
	ch, err := conn.Channel()
	check(err)

	classic := amqp.Table{amqp.QueueTypeArg: amqp.QueueTypeClassic} // a quorum queue would keep both messages
	queue, err := ch.QueueDeclare(fmt.Sprint("durable_", *durable), *durable, false, false, false, classic)
	check(err)
	if queue.Messages == 0 {
		persistent := amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte("persistent")}
		check(ch.Publish("", queue.Name, false, false, persistent))
		transient := amqp.Publishing{DeliveryMode: amqp.Transient, Body: []byte("transient")}
		check(ch.Publish("", queue.Name, false, false, transient))
		check(conn.Close()) // in order: now the broker has the messages
		fmt.Println(" [x] Sent a persistent and a transient message")
		return
	}
	for range queue.Messages {
		message, _, err := ch.Get(queue.Name, true)
		check(err)
		fmt.Printf(" [x] Found the %s message\n", message.Body)
	}
	_, err = ch.QueueDelete(queue.Name, false, false, false)
	check(err)
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
