// Retry_task publishes a task to the queue "retry_tasks".
//
// It is the producer of lesson 9. Each exclamation mark in the task makes it fail once, so that
// you can watch it succeed at a later try, or never. Each dot stands for a second of work.
package main

import (
	"context"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"rabbitmq-tutorial/internal/amqpx"
	"rabbitmq-tutorial/internal/program"
)

func main() {
	program.New(program.Usage{
		Purpose: "Publishes a task for retry_worker; each ! in it makes it fail once, each dot is a second of work.",
		Args:    "[WORD...]",
		Example: "go run ./cmd/retry_task 'Book a flight!!'",
	}).Main(run)
}

func run(ctx context.Context, url string, words []string) error {
	task := "Hello World!"
	if len(words) > 0 {
		task = strings.Join(words, " ")
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()

	return amqpx.Run(ctx, url, func(s *amqpx.Session) error {
		// The same arguments as in retry_worker: either program may be started first.
		queue, err := s.DeclareQueue(amqpx.Queue{Name: "retry_tasks", Durable: true, Type: amqp.QueueTypeQuorum})
		if err != nil {
			return err
		}

		// As in lesson 2. Mandatory: the broker returns the task to us if the queue is gone.
		// Confirmed: the task is on disk after this.
		to := amqpx.Route{Exchange: "", RoutingKey: queue.Name, Mandatory: true}
		err = s.PublishConfirmed(ctx, to, amqp.Publishing{
			DeliveryMode: amqp.Persistent,
			ContentType:  "text/plain",
			Body:         []byte(task),
		})
		if err != nil {
			return err
		}
		program.Printf(" [x] Sent %s", task)
		return nil
	})
}
