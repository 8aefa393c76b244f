// Receive_logs prints every log line that is published while it runs.
//
// It is the consumer of lesson 3. It binds a queue of its own to the fanout exchange
// "logs": every receiver gets a copy of every message that is published while its queue is
// bound. It misses what is published while it has no connection.
package main

import (
	"context"

	amqp "github.com/rabbitmq/amqp091-go"

	"rabbitmq-tutorial/internal/amqpx"
	"rabbitmq-tutorial/internal/program"
)

func main() {
	program.New(program.Usage{
		Purpose: "Prints every log line that is published while it runs.",
		Example: "go run ./cmd/receive_logs",
	}).Main(run)
}

func run(ctx context.Context, url string, _ []string) error {
	return amqpx.Run(ctx, url, func(s *amqpx.Session) error {
		// Fanout: a copy to every bound queue. Not durable: the exchange may be gone after
		// a restart of the broker. Run reconnects then, and we declare it again.
		if err := s.DeclareExchange(amqpx.Exchange{Name: "logs", Kind: amqp.ExchangeFanout, Durable: false}); err != nil {
			return err
		}
		// Exclusive: a queue for this connection alone, deleted with it. Not durable. No name:
		// the broker makes one up. No type: a classic queue, as all exclusive queues are.
		queue, err := s.DeclareQueue(amqpx.Queue{Name: "", Exclusive: true})
		if err != nil {
			return err
		}
		// From now on the exchange copies its messages to this queue.
		if err := s.QueueBind(amqpx.Binding{Exchange: "logs", BindingKey: "", Queue: queue.Name}); err != nil {
			return err
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
			program.Printf(" [x] %s", line.Body)
			if err := amqpx.Ack(line); err != nil { // now the broker may forget this copy
				return err
			}
		}
		return nil // Run returns after Ctrl+C; after a lost session it calls this function again
	})
}
