// Emit_log_topic publishes a log line with a routing key such as "kern.critical".
//
// It is the producer of lesson 5. The routing key is a list of words with dots between
// them. The topic exchange "topic_logs" compares it, word by word, with the patterns
// that the receivers have bound.
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
		Purpose: "Publishes a log line to those who listen for its topic.",
		Args:    "[ROUTING_KEY [WORD...]]",
		Example: "go run ./cmd/emit_log_topic kern.critical A critical kernel error",
	}).Main(run)
}

func run(ctx context.Context, url string, args []string) error {
	key, line := "anonymous.info", "Hello World!"
	if len(args) > 0 {
		key = args[0]
	}
	if len(args) > 1 {
		line = strings.Join(args[1:], " ")
	}
	if err := program.CheckKeys(key); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()

	return amqpx.Run(ctx, url, func(s *amqpx.Session) error {
		// Topic: binding keys are patterns. A message goes to every queue with a pattern that
		// matches its routing key. Not durable: a restart of the broker may remove it.
		if err := s.DeclareExchange(amqpx.Exchange{Name: "topic_logs", Kind: amqp.ExchangeTopic, Durable: false}); err != nil {
			return err
		}

		// Mandatory: the broker returns the message to us if its routing key matches no
		// binding key. Confirmed: we wait until the matching queues have it.
		to := amqpx.Route{Exchange: "topic_logs", RoutingKey: key, Mandatory: true}
		err := s.PublishConfirmed(ctx, to, amqp.Publishing{
			ContentType: "text/plain", // not persistent, as in lesson 3
			Body:        []byte(line),
		})
		unheard := errors.Is(err, amqpx.ErrUnroutable)
		if err != nil && !unheard {
			return err
		}
		program.Printf(" [x] Sent %s:%s", key, line)
		if unheard {
			log.Print("nobody is listening for this topic: the message was discarded")
		}
		return nil
	})
}
