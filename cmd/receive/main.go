// Receive prints the messages of the queue "hello" until it is stopped.
//
// It is the consumer of lesson 1. The function that it hands to amqpx.Run runs
// once for every connection: again, from the declaration on, when the broker was
// gone and is back.
package main

import (
	"context"
	"fmt"

	"rabbitmq-tutorial/internal/amqpx"
	"rabbitmq-tutorial/internal/program"
)

func main() {
	program.New(`Prints the messages of the queue "hello".`, "", "go run ./cmd/receive").Main(run)
}

func run(ctx context.Context, url string, _ []string) error {
	return amqpx.Run(ctx, url, func(s *amqpx.Session) error {
		// To declare what is there already changes nothing, as long as both
		// programs declare it alike.
		queue, err := s.DeclareQuorumQueue("hello")
		if err != nil {
			return err
		}

		deliveries, err := s.ConsumeManualAck(ctx, queue.Name)
		if err != nil {
			return err
		}
		program.Printf(" [*] Waiting for messages. To exit press CTRL+C\n")

		for d := range deliveries {
			program.Printf(" [x] Received %s\n", program.Printable(d.Body))
			// Now that the message was dealt with, the broker may forget it.
			if err := d.Ack(false); err != nil {
				return fmt.Errorf("acknowledge: %w", err)
			}
		}
		return nil
	})
}
