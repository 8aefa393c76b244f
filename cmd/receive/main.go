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
	// A session is an AMQP channel on a connection of its own. If either is lost, Run opens
	// a new session and calls this function again, from the top.
	return amqpx.Run(ctx, url, func(s *amqpx.Session) error {
		// Declaring creates the queue, or finds the one that exists. Durable: it survives a
		// restart of the broker. Quorum: it keeps every message on disk.
		queue, err := s.DeclareQueue(amqpx.Queue{Name: "hello", Durable: true, Type: amqp.QueueTypeQuorum})
		if err != nil {
			return err
		}
		// Prefetch: the broker sends at most 30 messages ahead of our acknowledgements, so
		// that a long queue does not end up in our memory.
		if err := s.Qos(30); err != nil {
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
		// The messages end with Ctrl+C or with the session. Run can tell: after Ctrl+C it
		// returns, after a lost session it opens a new one.
		return nil
	})
}
