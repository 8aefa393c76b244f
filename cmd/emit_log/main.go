// Emit_log publishes a log line to everybody who listens.
//
// It is the producer of lesson 3. It knows no queue: it hands the message to the
// fanout exchange "logs", which copies it to every queue that is bound at that
// moment. If none is, the message is gone.
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
	program.New("Publishes a log line to everybody who listens.",
		"[WORD...]", "go run ./cmd/emit_log The disk is nearly full").Main(run)
}

func run(ctx context.Context, url string, words []string) error {
	line := "Hello World!"
	if len(words) > 0 {
		line = strings.Join(words, " ")
	}
	ctx, cancel := amqpx.WithPublishTimeout(ctx)
	defer cancel()

	return amqpx.Run(ctx, url, func(s *amqpx.Session) error {
		if err := s.DeclareExchange("logs", amqp.ExchangeFanout); err != nil {
			return err
		}

		// A fanout exchange does not look at the routing key.
		err := s.PublishConfirmed(ctx, "logs", "", amqp.Publishing{
			ContentType: "text/plain",
			Body:        []byte(line),
		})
		unheard := errors.Is(err, amqpx.ErrUnroutable)
		if err != nil && !unheard {
			return err
		}
		program.Printf(" [x] Sent %s\n", program.Printable([]byte(line)))
		if unheard { // no failure: a log line may be of interest to nobody
			log.Print("nobody is listening: the message was discarded")
		}
		return nil
	})
}
