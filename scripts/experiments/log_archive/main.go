// Log_archive binds a durable queue to the exchange of lesson 3, which is not durable, and to one
// that is.
package main

import (
	"fmt"

	amqp "github.com/rabbitmq/amqp091-go"

	"rabbitmq-tutorial/scripts/experiments/plain"
)

func main() {
	conn := plain.Dial()
	defer conn.Close()
	ch, err := conn.Channel()
	plain.Check(err)

	quorum := amqp.Table{amqp.QueueTypeArg: amqp.QueueTypeQuorum}
	_, err = ch.QueueDeclare("log_archive", true, false, false, false, quorum)
	plain.Check(err)
	for exchange, durable := range map[string]bool{"logs": false, "durable_logs": true} {
		plain.Check(ch.ExchangeDeclare(exchange, amqp.ExchangeFanout, durable, false, false, false, nil))
		plain.Check(ch.QueueBind("log_archive", "", exchange, false, nil))
	}
	fmt.Println(" [x] Bound log_archive to logs and to durable_logs")
}
