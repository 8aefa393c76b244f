// Receive_logs_direct prints the log lines of the severities it was asked for.
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
		// Direct: the exchange compares each routing key with the binding keys.
		if err := s.DeclareExchange(amqpx.Exchange{Name: "direct_logs", Kind: amqp.ExchangeDirect, Durable: false}); err != nil {
			return err
		}
		// As in lesson 3: a queue of our own, named by the broker, deleted with the connection.
		queue, err := s.DeclareQueue(amqpx.Queue{Name: "", Exclusive: true})
		if err != nil {
			return err
		}
		// A binding for each severity: its binding key is what a routing key must equal.
		for _, severity := range severities {
			if err := s.QueueBind(amqpx.Binding{Exchange: "direct_logs", BindingKey: severity, Queue: queue.Name}); err != nil {
				return err
			}
		}
		// At most 30 lines ahead of our acknowledgements; AutoAck false: we send those.
		if err := s.Qos(30, 0, false); err != nil {
			return err
		}
		logs, err := s.Consume(ctx, amqpx.Consumer{Queue: queue.Name, AutoAck: false})
		if err != nil {
			return err
		}
		program.Printf(" [*] Waiting for logs. To exit press CTRL+C")

		for line := range logs {
			program.Printf(" [x] %s:%s", line.RoutingKey, line.Body)
			if err := amqpx.Ack(line); err != nil { // now the broker may forget this copy
				return err
			}
		}
		return nil // no more lines: Ctrl+C, or a lost session, and Run knows which
	})
}
