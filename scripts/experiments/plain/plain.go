// Package plain is what the experiments share. They use plain amqp091-go, and end when
// something fails.
package plain

import (
	"cmp"
	"errors"
	"fmt"
	"os"

	amqp "github.com/rabbitmq/amqp091-go"
)

// Dial connects to the broker at AMQP_URL, or ends the program.
func Dial() *amqp.Connection {
	url := cmp.Or(os.Getenv("AMQP_URL"), "amqp://guest:guest@localhost:5672/")
	if _, err := amqp.ParseURI(url); err != nil { // err may repeat the password
		Check(errors.New("AMQP_URL is not an AMQP URL. Set it to something like amqp://user:password@localhost:5672/"))
	}
	conn, err := amqp.Dial(url)
	if err != nil {
		Check(fmt.Errorf("connect: %w. Check AMQP_URL, and that the broker is up (make up)", err))
	}
	return conn
}

// Check ends the program if err is an error.
func Check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, " [!]", err)
		os.Exit(1)
	}
}
