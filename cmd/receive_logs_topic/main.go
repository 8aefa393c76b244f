// Receive_logs_topic prints the log lines whose topic matches one of its patterns.
//
// It is the consumer of lesson 5. In the keys that it binds to the topic exchange
// "topic_logs", "*" stands for exactly one word and "#" for any number of words,
// also none.
package main

import (
	"context"
	"fmt"

	amqp "github.com/rabbitmq/amqp091-go"

	"rabbitmq-tutorial/internal/amqpx"
	"rabbitmq-tutorial/internal/program"
)

func main() {
	program.New("Prints the log lines whose topic matches a binding key: * is one word, # any number.",
		"BINDING_KEY...", "go run ./cmd/receive_logs_topic 'kern.*' '*.critical'").Main(run)
}

func run(ctx context.Context, url string, bindingKeys []string) error {
	if err := program.CheckKeys(bindingKeys...); err != nil {
		return err
	}
	return amqpx.Run(ctx, url, func(s *amqpx.Session) error {
		if err := s.DeclareExchange("topic_logs", amqp.ExchangeTopic); err != nil {
			return err
		}
		queue, err := s.DeclareTemporaryQueue()
		if err != nil {
			return err
		}
		for _, bindingKey := range bindingKeys {
			if err := s.QueueBind(queue.Name, bindingKey, "topic_logs", false, nil); err != nil {
				return fmt.Errorf("bind %q to exchange topic_logs: %w", bindingKey, err)
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
