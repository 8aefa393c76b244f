// Receive_logs_direct prints the log lines of the severities it was asked for.
//
// It is the consumer of lesson 4. It binds its queue to the direct exchange
// "direct_logs" once for each severity: one queue may have many bindings.
package main

import (
	"context"
	"fmt"

	amqp "github.com/rabbitmq/amqp091-go"

	"rabbitmq-tutorial/internal/amqpx"
	"rabbitmq-tutorial/internal/program"
)

func main() {
	program.New("Prints the log lines of the given severities.",
		"SEVERITY...", "go run ./cmd/receive_logs_direct warning error").Main(run)
}

func run(ctx context.Context, url string, severities []string) error {
	if err := program.CheckKeys(severities...); err != nil {
		return err
	}
	return amqpx.Run(ctx, url, func(s *amqpx.Session) error {
		if err := s.DeclareExchange("direct_logs", amqp.ExchangeDirect); err != nil {
			return err
		}
		queue, err := s.DeclareTemporaryQueue()
		if err != nil {
			return err
		}
		for _, severity := range severities { // the binding key
			if err := s.QueueBind(queue.Name, severity, "direct_logs", false, nil); err != nil {
				return fmt.Errorf("bind %q to exchange direct_logs: %w", severity, err)
			}
		}

		deliveries, err := s.ConsumeManualAck(ctx, queue.Name)
		if err != nil {
			return err
		}
		program.Printf(" [*] Waiting for logs. To exit press CTRL+C\n")

		for d := range deliveries {
			program.Printf(" [x] %s:%s\n", program.Printable([]byte(d.RoutingKey)), program.Printable(d.Body))
			if err := d.Ack(false); err != nil {
				return fmt.Errorf("acknowledge: %w", err)
			}
		}
		return nil
	})
}
