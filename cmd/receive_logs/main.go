// Receive_logs prints every log line that is published while it runs.
//
// It is the consumer of lesson 3. It makes a queue of its own, which goes away
// with it, and binds it to the fanout exchange "logs": every receiver gets its
// own copy of every message, and none from before it came.
package main

import (
	"context"
	"fmt"

	amqp "github.com/rabbitmq/amqp091-go"

	"rabbitmq-tutorial/internal/amqpx"
	"rabbitmq-tutorial/internal/program"
)

func main() {
	program.New("Prints every log line that is published while it runs.",
		"", "go run ./cmd/receive_logs").Main(run)
}

func run(ctx context.Context, url string, _ []string) error {
	return amqpx.Run(ctx, url, func(s *amqpx.Session) error {
		if err := s.DeclareExchange("logs", amqp.ExchangeFanout); err != nil {
			return err
		}
		queue, err := s.DeclareTemporaryQueue()
		if err != nil {
			return err
		}
		// The binding: from now on the exchange copies its messages to this queue.
		if err := s.QueueBind(queue.Name, "", "logs", false, nil); err != nil {
			return fmt.Errorf("bind to exchange logs: %w", err)
		}

		deliveries, err := s.ConsumeManualAck(ctx, queue.Name)
		if err != nil {
			return err
		}
		program.Printf(" [*] Waiting for logs. To exit press CTRL+C\n")

		for d := range deliveries {
			program.Printf(" [x] %s\n", program.Printable(d.Body))
			if err := d.Ack(false); err != nil {
				return fmt.Errorf("acknowledge: %w", err)
			}
		}
		return nil
	})
}
