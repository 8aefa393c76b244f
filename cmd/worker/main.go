// Worker does the tasks of the queue "task_queue", one after another.
//
// It is the consumer of lesson 2. It acknowledges a task when the task is done, so that a
// worker that dies leaves its task to another. (So a task may be done twice.) With the flags
// -auto-ack and -forget-ack, the acknowledgement comes too early, or never.
package main

import (
	"bytes"
	"context"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"rabbitmq-tutorial/internal/amqpx"
	"rabbitmq-tutorial/internal/program"
)

type worker struct {
	prefetch           int
	autoAck, forgetAck bool
	unit               time.Duration
}

func main() {
	var w worker
	p := program.New(program.Usage{
		Purpose: `Does the tasks of the queue "task_queue".`,
		Example: "go run ./cmd/worker -prefetch 0",
	})
	p.PrefetchVar(&w.prefetch, 1, "how many unacknowledged `tasks` a worker may have, 0 for no limit")
	p.BoolVar(&w.autoAck, "auto-ack", false, "the broker forgets each task as it sends it; there is no prefetch limit then")
	p.BoolVar(&w.forgetAck, "forget-ack", false, "never acknowledge; the worker stops getting tasks at the prefetch limit")
	p.DurationVar(&w.unit, "unit", time.Second, "the `time` that a dot stands for")
	p.Main(w.run)
}

func (w *worker) run(ctx context.Context, url string, _ []string) error {
	return amqpx.Run(ctx, url, func(s *amqpx.Session) error {
		// The same arguments as in new_task: either program may be started first.
		queue, err := s.DeclareQueue(amqpx.Queue{Name: "task_queue", Durable: true, Type: amqp.QueueTypeQuorum})
		if err != nil {
			return err
		}
		// Fair dispatch: with a prefetch of 1, the broker sends no second task before the
		// first is acknowledged.
		if err := s.Qos(w.prefetch); err != nil {
			return err
		}
		// Without -auto-ack, the broker keeps each task until we acknowledge it.
		tasks, err := s.Consume(ctx, amqpx.Consumer{Queue: queue.Name, AutoAck: w.autoAck})
		if err != nil {
			return err
		}
		program.Printf(" [*] Waiting for messages. To exit press CTRL+C")

		for task := range tasks {
			again := ""
			if task.Redelivered { // it was delivered before, and not acknowledged
				again = " (redelivered)"
			}
			program.Printf(" [x] Received %s%s", task.Body, again)
			dots := min(bytes.Count(task.Body, []byte(".")), 600) // a long row must not keep a worker for ever
			time.Sleep(w.unit * time.Duration(dots))
			program.Printf(" [x] Done")
			if w.autoAck || w.forgetAck {
				continue
			}
			// Acknowledge last: only now may the broker forget the task.
			if err := amqpx.Ack(task); err != nil {
				return err
			}
		}
		return nil // Run returns after Ctrl+C; after a lost session it calls this function again
	})
}
