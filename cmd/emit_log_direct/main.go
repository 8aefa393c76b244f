// Emit_log_direct publishes a log line with its severity as the routing key.
//
// It is the producer of lesson 4. The direct exchange "direct_logs" takes the
// message to the queues that were bound with exactly this key.
package main

import (
	"context"
	"errors"
	"log"
	"strings"

	amqp "github.com/rabbitmq/amqp091-go"

	"rabbitmq-tutorial/internal/amqpx"
	"rabbitmq-tutorial/internal/program"
)

func main() {
	program.New("Publishes a log line to those who listen for its severity.",
		"[SEVERITY [WORD...]]", "go run ./cmd/emit_log_direct error The disk is full").Main(run)
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
	ctx, cancel := amqpx.WithPublishTimeout(ctx)
	defer cancel()

	return amqpx.Run(ctx, url, func(s *amqpx.Session) error {
		if err := s.DeclareExchange("direct_logs", amqp.ExchangeDirect); err != nil {
			return err
		}

		err := s.PublishConfirmed(ctx, "direct_logs", severity, amqp.Publishing{
			ContentType: "text/plain",
			Body:        []byte(line),
		})
		unheard := errors.Is(err, amqpx.ErrUnroutable)
		if err != nil && !unheard {
			return err
		}
		program.Printf(" [x] Sent %s\n", program.Printable([]byte(severity+":"+line)))
		if unheard {
			log.Print("nobody is listening for this severity: the message was discarded")
		}
		return nil
	})
}
