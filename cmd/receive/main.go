// Receive prints the messages of the queue "hello" until it is stopped.
//
// It is the consumer of lesson 1: it declares the queue, consumes from it, and
// acknowledges each message that it has printed.
package main

import (
	"context"

	amqp "github.com/rabbitmq/amqp091-go"

	"rabbitmq-tutorial/internal/amqpx"
	"rabbitmq-tutorial/internal/program"
)

func main() {
	program.New(program.Usage{
		Purpose: `Prints the messages of the queue "hello".`,
		Example: "go run ./cmd/receive",
	}).Main(run)
}

func run(ctx context.Context, url string, _ []string) error {
	// A session is an AMQP channel on a connection of its own. If it is lost, Run opens
	// another and calls this function again, from the top.
	return amqpx.Run(ctx, url, func(s *amqpx.Session) error {
		// As in send: to declare a queue that exists changes nothing, as long as its
		// arguments are the same.
		queue, err := s.DeclareQueue(amqpx.Queue{Name: "hello", Durable: true, Type: amqp.QueueTypeQuorum})
		if err != nil {
			return err
		}
		// Prefetch: at most 30 messages are on their way to us without an
		// acknowledgement (0: no limit in bytes; false: for each consumer).
		if err := s.Qos(30, 0, false); err != nil {
			return err
		}
		// AutoAck false: the broker keeps each message until we acknowledge it.
		messages, err := s.Consume(ctx, amqpx.Consumer{Queue: queue.Name, AutoAck: false})
		if err != nil {
			return err
		}
		program.Printf(" [*] Waiting for messages. To exit press CTRL+C")

		for message := range messages {
			program.Printf(" [x] Received %s", message.Body)
			// Now the broker may forget the message.
			if err := amqpx.Ack(message); err != nil {
				return err
			}
		}
		// The messages end with Ctrl+C, and then we are done; or with the session, and
		// then Run opens the next one. Run knows which it was.
		return nil
	})
}
