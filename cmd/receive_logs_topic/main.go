// Receive_logs_topic prints the log lines whose routing key matches one of its patterns.
//
// It is the consumer of lesson 5. In the binding keys of the topic exchange "topic_logs",
// "*" stands for exactly one word, and "#" for zero or more words.
package main

import (
	"context"

	amqp "github.com/rabbitmq/amqp091-go"

	"rabbitmq-tutorial/internal/amqpx"
	"rabbitmq-tutorial/internal/program"
)

func main() {
	program.New(program.Usage{
		Purpose: "Prints the log lines whose topic matches a binding key: * is one word, # zero or more.",
		Args:    "BINDING_KEY...",
		Example: "go run ./cmd/receive_logs_topic 'kern.*' '*.critical'",
	}).Main(run)
}

func run(ctx context.Context, url string, bindingKeys []string) error {
	if err := program.CheckKeys(bindingKeys...); err != nil {
		return err
	}
	return amqpx.Run(ctx, url, func(s *amqpx.Session) error {
		// Topic: binding keys are patterns. A message goes to every queue with a pattern that
		// matches its routing key.
		if err := s.DeclareExchange(amqpx.Exchange{Name: "topic_logs", Kind: amqp.ExchangeTopic, Durable: false}); err != nil {
			return err
		}
		// Exclusive: a queue for this connection alone, deleted with it. Not durable. No name:
		// the broker makes one up. No type: a classic queue.
		queue, err := s.DeclareQueue(amqpx.Queue{Name: "", Exclusive: true})
		if err != nil {
			return err
		}
		// A binding for each pattern. A message that matches two of them still comes once.
		for _, bindingKey := range bindingKeys {
			if err := s.QueueBind(amqpx.Binding{Exchange: "topic_logs", BindingKey: bindingKey, Queue: queue.Name}); err != nil {
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
