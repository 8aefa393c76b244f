// Exclusive declares a queue that belongs to one connection, and tries to use it on another.
package main

import (
	"fmt"

	amqp "github.com/rabbitmq/amqp091-go"

	"rabbitmq-tutorial/scripts/experiments/plain"
)

func main() {
	owner := plain.Dial()
	stranger := plain.Dial()

	plain.Check(declare(owner))
	fmt.Println(` [x] The first connection has declared the queue "mine", exclusive`)
	fmt.Println(" [x] The second connection declares it as well:", declare(stranger))
}

func declare(conn *amqp.Connection) error {
	ch, err := conn.Channel()
	plain.Check(err)
	_, err = ch.QueueDeclare("mine", false, false, true, false, nil)
	return err
}
