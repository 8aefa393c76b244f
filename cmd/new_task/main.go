// New_task publishes a task to the queue "task_queue".
//
// It is the producer of lesson 2. Each dot in the task stands for a second of work.
// The queue is durable and the message persistent: the task survives a restart of the
// broker.
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
		Purpose: "Publishes a task for the workers; each dot in it is a second of work.",
		Args:    "[WORD...]",
		Example: "go run ./cmd/new_task A heavy task...",
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
		// Durable: the queue is still there when the broker has restarted.
		queue, err := s.DeclareQueue(amqpx.Queue{Name: "task_queue", Durable: true, Type: amqp.QueueTypeQuorum})
		if err != nil {
			return err
		}

		// To the queue, through the default exchange. Mandatory: the broker returns the
		// message to us if the queue is gone. Confirmed: the task is on disk after this.
		to := amqpx.Route{Exchange: "", RoutingKey: queue.Name, Mandatory: true}
		err = s.PublishConfirmed(ctx, to, amqp.Publishing{
			// Persistent: the broker writes the message to disk. A quorum queue does that
			// anyway. A durable classic queue loses at a restart what is not persistent.
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
