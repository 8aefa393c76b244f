// Emit_log_topic publishes a log line under a topic such as "kern.critical".
//
// It is the producer of lesson 5. The routing key is a list of words with dots
// between them; the topic exchange "topic_logs" compares it, word by word, with
// the patterns that the receivers have bound.
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
	program.New("Publishes a log line to those who listen for its topic.",
		"[ROUTING_KEY [WORD...]]", "go run ./cmd/emit_log_topic kern.critical A critical kernel error").Main(run)
}

func run(ctx context.Context, url string, args []string) error {
	topic, line := "anonymous.info", "Hello World!"
	if len(args) > 0 {
		topic = args[0]
	}
	if len(args) > 1 {
		line = strings.Join(args[1:], " ")
	}
	if err := program.CheckKeys(topic); err != nil {
		return err
	}
	ctx, cancel := amqpx.WithPublishTimeout(ctx)
	defer cancel()

	return amqpx.Run(ctx, url, func(s *amqpx.Session) error {
		if err := s.DeclareExchange("topic_logs", amqp.ExchangeTopic); err != nil {
			return err
		}

		err := s.PublishConfirmed(ctx, "topic_logs", topic, amqp.Publishing{
			ContentType: "text/plain",
			Body:        []byte(line),
		})
		unheard := errors.Is(err, amqpx.ErrUnroutable)
		if err != nil && !unheard {
			return err
		}
		program.Printf(" [x] Sent %s\n", program.Printable([]byte(topic+":"+line)))
		if unheard {
			log.Print("nobody is listening for this topic: the message was discarded")
		}
		return nil
	})
}
