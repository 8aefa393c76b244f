// Worker does the tasks of the queue "task_queue", one after another.
//
// It is the consumer of lesson 2. It acknowledges a task when the task is done: a worker
// that dies before leaves the task to the others. The flags show what happens otherwise.
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
	p.PrefetchVar(&w.prefetch, 1, "`tasks` the broker sends ahead of the acknowledgements, 0 for no limit")
	p.BoolVar(&w.autoAck, "auto-ack", false, "let the broker forget each task as it sends it")
	p.BoolVar(&w.forgetAck, "forget-ack", false, "never acknowledge a task; to get more than one, add -prefetch 0")
	p.DurationVar(&w.unit, "unit", time.Second, "the `time` that a dot stands for")
	p.Main(w.run)
}

func (w *worker) run(ctx context.Context, url string, _ []string) error {
	if w.unit < 0 {
		return program.Usagef("-unit must not be negative")
	}
	return amqpx.Run(ctx, url, func(s *amqpx.Session) error {
		// The same arguments as in new_task: either program may be started first.
		queue, err := s.DeclareQueue(amqpx.Queue{Name: "task_queue", Durable: true, Type: amqp.QueueTypeQuorum})
		if err != nil {
			return err
		}
		// Fair dispatch: with a prefetch of 1, the broker sends no second task before the
		// first is acknowledged (0: no limit in bytes; false: for each consumer).
		if err := s.Qos(w.prefetch, 0, false); err != nil {
			return err
		}
		// AutoAck is false by default: the broker keeps each task until we acknowledge it.
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
			dots := min(bytes.Count(task.Body, []byte(".")), 600) // no task takes days
			time.Sleep(w.unit * time.Duration(dots))
			program.Printf(" [x] Done")
			if w.autoAck || w.forgetAck {
				continue
			}
			// Last, when the task is done: now the broker may forget it.
			if err := amqpx.Ack(task); err != nil {
				return err
			}
		}
		return nil // no more tasks: Ctrl+C, or a lost session, and Run knows which
	})
}
