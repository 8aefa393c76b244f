// Retry_worker does the tasks of the queue "retry_tasks". A task that fails is tried again after
// a pause; if it fails too often, it is parked in the queue "retry_parked". With -unpark, it gets the
// parked tasks one by one instead, publishes each to "retry_tasks" as safely, and acknowledges it then.
//
// It is the consumer of lesson 9. The other queues are in queues.go, the work and the copies of
// tasks in task.go; worker.go has the rest.
package main

import (
	"context"
	"log"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"rabbitmq-tutorial/internal/amqpx"
	"rabbitmq-tutorial/internal/program"
)

func main() {
	var w worker
	p := program.New(program.Usage{
		Purpose: `Does the tasks of the queue "retry_tasks"; what fails is tried again after a pause.`,
		Example: "go run ./cmd/retry_worker -retries 5 -pause 200ms",
	})
	p.IntVar(&w.retries, "retries", 3, "how many `times` a failed task is tried again before it is parked")
	p.DurationVar(&w.pause, "pause", time.Second, "the `time` before it is tried again; it doubles with each try")
	p.BoolVar(&w.unpark, "unpark", false, "move the parked tasks back to the queue of tasks, and end")
	p.Main(w.start)
}

func (w *worker) run(ctx context.Context, url string) error {
	return amqpx.Run(ctx, url, func(s *amqpx.Session) error {
		// The same arguments as in retry_task: either program may be started first.
		queue, err := s.DeclareQueue(amqpx.Queue{Name: "retry_tasks", Durable: true, Type: amqp.QueueTypeQuorum})
		if err != nil {
			return err
		}
		// Also durable, quorum: retry_parked, and for each pause a queue retry_wait_<milliseconds>,
		// whose messages expire into retry_tasks.
		if err := w.declareOthers(s, queue.Name); err != nil {
			return err
		}
		// One task at a time, which the broker keeps until we acknowledge it.
		if err := s.Qos(1); err != nil {
			return err
		}
		tasks, err := s.Consume(ctx, amqpx.Consumer{Queue: queue.Name, AutoAck: false})
		if err != nil {
			return err
		}
		program.Printf(" [*] Waiting for messages. To exit press CTRL+C")

		for task := range tasks {
			program.Printf(" [x] Received %s", task.Body)
			attempt := attempts(task) + 1
			if failure := work(task.Body, attempt); failure == nil {
				program.Printf(" [x] Done")
			} else {
				// A copy goes to the wait queue of this try; after the last try, to retry_parked.
				// Persistent, mandatory, confirmed: it is there, on disk, after this. Ctrl+C
				// does not interrupt it: the task in hand is finished.
				to := amqpx.Route{Exchange: "", RoutingKey: w.next(attempt), Mandatory: true}
				if err := s.PublishConfirmed(context.WithoutCancel(ctx), to, failed(task, attempt, failure)); err != nil {
					return err
				}
				log.Printf("try %d of %d failed: %v; now in %s", attempt, w.retries+1, failure, to.RoutingKey)
			}
			// Last, when the task is done or its copy is safe: now the broker may forget it. If
			// a worker dies just before this, the task is repeated, but not lost.
			if err := amqpx.Ack(task); err != nil {
				return err
			}
		}
		return nil
	})
}
