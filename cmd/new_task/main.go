// New_task publishes a task to the queue "task_queue".
//
// It is the producer of lesson 2. Each dot in the message stands for a second of
// work. The queue is durable and the message persistent, so that the task
// outlives a restart of the broker.
package main

import (
	"context"
	"strings"

	amqp "github.com/rabbitmq/amqp091-go"

	"rabbitmq-tutorial/internal/amqpx"
	"rabbitmq-tutorial/internal/program"
)

func main() {
	program.New("Publishes a task for the workers; each dot in it is a second of work.",
		"[WORD...]", "go run ./cmd/new_task A heavy task...").Main(run)
}

func run(ctx context.Context, url string, words []string) error {
	task := "Hello World!"
	if len(words) > 0 {
		task = strings.Join(words, " ")
	}
	ctx, cancel := amqpx.WithPublishTimeout(ctx)
	defer cancel()

	return amqpx.Run(ctx, url, func(s *amqpx.Session) error {
		queue, err := s.DeclareQuorumQueue("task_queue")
		if err != nil {
			return err
		}

		// A durable queue keeps only its persistent messages through a restart. (A
		// quorum queue keeps all; a durable classic queue would drop this one
		// without the mark.)
		err = s.PublishConfirmed(ctx, "", queue.Name, amqp.Publishing{
			DeliveryMode: amqp.Persistent,
			ContentType:  "text/plain",
			Body:         []byte(task),
		})
		if err != nil {
			return err
		}
		program.Printf(" [x] Sent %s\n", program.Printable([]byte(task)))
		return nil
	})
}
