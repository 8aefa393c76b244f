// Exclusive declares a queue that belongs to one connection, and tries to use it on another.
package main

import (
	"cmp"
	"fmt"
	"log"
	"os"

	amqp "github.com/rabbitmq/amqp091-go"
)

func main() {
	owner, err := amqp.Dial(cmp.Or(os.Getenv("AMQP_URL"), "amqp://guest:guest@localhost:5672/"))
	check(err)
	stranger, err := amqp.Dial(cmp.Or(os.Getenv("AMQP_URL"), "amqp://guest:guest@localhost:5672/"))
	check(err)

	check(declare(owner))
	fmt.Println(` [x] The first connection has declared the queue "mine", exclusive`)
	fmt.Println(" [x] The second connection declares it as well:", declare(stranger))
}

func declare(conn *amqp.Connection) error {
	ch, err := conn.Channel()
	check(err)
	_, err = ch.QueueDeclare("mine", false, false, true, false, nil)
	return err
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
