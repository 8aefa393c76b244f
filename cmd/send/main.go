// Send publishes one message to the queue "hello".
//
// It is the producer of lesson 1: it declares the queue, publishes to it, and ends
// when the broker has confirmed the message.
package main

import (
	"context"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"rabbitmq-tutorial/internal/amqpx"
	"rabbitmq-tutorial/internal/program"
)

func main() {
	program.New(program.Usage{
		Purpose: `Publishes "Hello World!" to the queue "hello".`,
		Example: "go run ./cmd/send",
	}).Main(run)
}

func run(ctx context.Context, url string, _ []string) error {
	// Give up at Ctrl+C, which ends ctx, or after half a minute: a broker that restarts is
	// back by then.
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()

	// A session is an AMQP channel on a connection of its own. If either is lost before we
	// are done, Run opens a new session and calls this function again, from the top: the
	// message may then be published twice.
	return amqpx.Run(ctx, url, func(s *amqpx.Session) error {
		// Declaring creates the queue, or finds the one that exists. Send and receive
		// both declare it, because either may be started first.
		// Durable: the queue survives a restart of the broker. Quorum: it keeps every
		// message on disk, and in a cluster on several machines.
		queue, err := s.DeclareQueue(amqpx.Queue{Name: "hello", Durable: true, Type: amqp.QueueTypeQuorum})
		if err != nil {
			return err
		}

		// The default exchange, "", takes a message to the queue that its routing key
		// names. Mandatory: if there is no such queue, the broker returns the message
		// instead of dropping it. Confirmed: we wait until the broker has the message.
		to := amqpx.Route{Exchange: "", RoutingKey: queue.Name, Mandatory: true}
		err = s.PublishConfirmed(ctx, to, amqp.Publishing{
			ContentType: "text/plain", // not marked as persistent: a quorum queue stores it anyway
			Body:        []byte("Hello World!"),
		})
		if err != nil {
			return err
		}
		program.Printf(" [x] Sent Hello World!")
		return nil
	})
}
