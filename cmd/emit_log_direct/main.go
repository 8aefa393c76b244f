// Emit_log_direct publishes a log line with its severity as the routing key.
//
// It is the producer of lesson 4. The direct exchange "direct_logs" takes the message to
// the queues that are bound with exactly this key.
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
		Purpose: "Publishes a log line to those who listen for its severity.",
		Args:    "[SEVERITY [WORD...]]",
		Example: "go run ./cmd/emit_log_direct error The disk is full",
	}).Main(run)
}

func run(ctx context.Context, url string, args []string) error {
	severity, line := "info", "Hello World!"
	if len(args) > 0 {
		severity = args[0]
	}
	if len(args) > 1 {
		line = strings.Join(args[1:], " ")
	}
	if err := program.CheckKeys(severity); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()

	return amqpx.Run(ctx, url, func(s *amqpx.Session) error {
		// Direct: a message goes to the queues whose binding key equals its routing key.
		// Not durable: a restart of the broker may remove it, as in lesson 3.
		if err := s.DeclareExchange(amqpx.Exchange{Name: "direct_logs", Kind: amqp.ExchangeDirect, Durable: false}); err != nil {
			return err
		}

		// The severity is the routing key. Mandatory: the broker returns the message to us if
		// no queue is bound with this key. Confirmed: we wait until the bound queues have it.
		to := amqpx.Route{Exchange: "direct_logs", RoutingKey: severity, Mandatory: true}
		err := s.PublishConfirmed(ctx, to, amqp.Publishing{
			ContentType: "text/plain", // not persistent, as in lesson 3
			Body:        []byte(line),
		})
		unheard := errors.Is(err, amqpx.ErrUnroutable)
		if err != nil && !unheard {
			return err
		}
		program.Printf(" [x] Sent %s:%s", severity, line)
		if unheard {
			log.Print("nobody is listening for this severity: the message was discarded")
		}
		return nil
	})
}
