// Receive_logs_direct prints the log lines of the severities that it is given.
//
// It is the consumer of lesson 4. It binds its queue to the direct exchange "direct_logs"
// once for each severity: a queue may have many bindings.
package main

import (
	"context"

	amqp "github.com/rabbitmq/amqp091-go"

	"rabbitmq-tutorial/internal/amqpx"
	"rabbitmq-tutorial/internal/program"
)

func main() {
	program.New(program.Usage{
		Purpose: "Prints the log lines of the given severities.",
		Args:    "SEVERITY...",
		Example: "go run ./cmd/receive_logs_direct warning error",
	}).Main(run)
}

func run(ctx context.Context, url string, severities []string) error {
	if err := program.CheckKeys(severities...); err != nil {
		return err
	}
	return amqpx.Run(ctx, url, func(s *amqpx.Session) error {
		// Direct: a message goes to the queues whose binding key equals its routing key.
		if err := s.DeclareExchange(amqpx.Exchange{Name: "direct_logs", Kind: amqp.ExchangeDirect, Durable: false}); err != nil {
			return err
		}
		// Exclusive: a queue for this connection alone, deleted with it. Not durable. No name:
		// the broker makes one up. No type: a classic queue.
		queue, err := s.DeclareQueue(amqpx.Queue{Name: "", Exclusive: true})
		if err != nil {
			return err
		}
		// One binding for each severity. The severity is the binding key.
		for _, severity := range severities {
			if err := s.QueueBind(amqpx.Binding{Exchange: "direct_logs", BindingKey: severity, Queue: queue.Name}); err != nil {
				return err
			}
		}
		// The broker sends at most 30 lines ahead of our acknowledgements. AutoAck false: it
		// keeps each line until we acknowledge it.
		if err := s.Qos(30); err != nil {
			return err
		}
		logs, err := s.Consume(ctx, amqpx.Consumer{Queue: queue.Name, AutoAck: false})
		if err != nil {
			return err
		}
		program.Printf(" [*] Waiting for logs. To exit press CTRL+C")

		for line := range logs {
			program.Printf(" [x] %s:%s", line.RoutingKey, line.Body)
			if err := amqpx.Ack(line); err != nil {
				return err
			}
		}
		return nil // Run returns after Ctrl+C; after a lost session it calls this function again
	})
}
