// Log_archive binds a durable queue to the exchange of lesson 3, which is not durable, and to one
// that is.
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
	ch, err := conn.Channel()
	check(err)

	quorum := amqp.Table{amqp.QueueTypeArg: amqp.QueueTypeQuorum}
	_, err = ch.QueueDeclare("log_archive", true, false, false, false, quorum)
	check(err)
	for exchange, durable := range map[string]bool{"logs": false, "durable_logs": true} {
		check(ch.ExchangeDeclare(exchange, amqp.ExchangeFanout, durable, false, false, false, nil))
		check(ch.QueueBind("log_archive", "", exchange, false, nil))
	}
	fmt.Println(" [x] Bound log_archive to logs and to durable_logs")
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
