// Emit_log publishes a log line to everybody who listens.
//
// It is the producer of lesson 3. It knows no queue: it publishes to the fanout exchange
// "logs", which copies the message to every queue that is bound at that moment. If no queue
// is bound, the message is gone, and the broker says so.
package main

import (
	"context"
	"errors"
	"log"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"rabbitmq-tutorial/internal/amqpx"
	"rabbitmq-tutorial/internal/program"
)

func main() {
	program.New(program.Usage{
		Purpose: "Publishes a log line to everybody who listens.",
		Args:    "[WORD...]",
		Example: "go run ./cmd/emit_log The disk is nearly full",
	}).Main(run)
}

func run(ctx context.Context, url string, words []string) error {
	line := "Hello World!"
	if len(words) > 0 {
		line = strings.Join(words, " ")
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()

	return amqpx.Run(ctx, url, func(s *amqpx.Session) error {
		// Fanout: a copy to every bound queue. Not durable: a restart of the broker
		// may remove the exchange, and the next program declares it again.
		if err := s.DeclareExchange(amqpx.Exchange{Name: "logs", Kind: amqp.ExchangeFanout, Durable: false}); err != nil {
			return err
		}

		// A fanout exchange ignores the routing key. Mandatory: if no queue is bound, the
		// broker returns the message to us. Confirmed: we wait until the bound queues have it.
		to := amqpx.Route{Exchange: "logs", RoutingKey: "", Mandatory: true}
		err := s.PublishConfirmed(ctx, to, amqp.Publishing{
			ContentType: "text/plain", // not persistent: the receivers' queues do not last either
			Body:        []byte(line),
		})
		unheard := errors.Is(err, amqpx.ErrUnroutable)
		if err != nil && !unheard {
			return err
		}
		program.Printf(" [x] Sent %s", line)
		if unheard { // for a log line that is no failure; for an order it would be
			log.Print("nobody is listening: the message was discarded")
		}
		return nil
	})
}
