// Worker does the tasks of the queue "task_queue", one after another.
//
// It is the consumer of lesson 2. It acknowledges a task when the task is done:
// a worker that dies before that leaves its task to the others. Its flags show
// what happens without each of these precautions.
package main

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"rabbitmq-tutorial/internal/amqpx"
	"rabbitmq-tutorial/internal/program"
)

func main() {
	p := program.New(`Does the tasks of the queue "task_queue".`, "", "go run ./cmd/worker -prefetch 0")
	prefetch := p.Prefetch(1, "`tasks` the broker sends ahead of the acknowledgements, 0 for no limit")
	autoAck := p.Bool("auto-ack", false, "let the broker forget each task as it sends it")
	forgetAck := p.Bool("forget-ack", false, "never acknowledge; there is no prefetch limit then, unless one is given")
	unit := p.Duration("unit", time.Second, "the `time` that a dot stands for")

	p.Main(func(ctx context.Context, url string, _ []string) error {
		if *forgetAck && !p.Given("prefetch") {
			*prefetch = 0
		}
		if *unit < 0 {
			return program.Usagef("-unit must not be negative")
		}
		return amqpx.Run(ctx, url, func(s *amqpx.Session) error {
			queue, err := s.DeclareQuorumQueue("task_queue")
			if err != nil {
				return err
			}
			// Fair dispatch: no new task before the last one is acknowledged.
			if err := s.Qos(*prefetch, 0, false); err != nil {
				return fmt.Errorf("set the prefetch count: %w", err)
			}
			consume := s.ConsumeManualAck
			if *autoAck {
				consume = s.ConsumeAutoAck
			}
			tasks, err := consume(ctx, queue.Name)
			if err != nil {
				return err
			}
			program.Printf(" [*] Waiting for messages. To exit press CTRL+C\n")

			for task := range tasks {
				again := ""
				if task.Redelivered {
					again = " (redelivered)"
				}
				program.Printf(" [x] Received %s%s\n", program.Printable(task.Body), again)
				time.Sleep(*unit * time.Duration(dots(task.Body)))
				program.Printf(" [x] Done\n")
				if *autoAck || *forgetAck {
					continue
				}
				// On the channel that delivered the task, and for this delivery only.
				if err := task.Ack(false); err != nil {
					return fmt.Errorf("acknowledge: %w", err)
				}
			}
			return nil
		})
	})
}

// dots is how much work a task is; at most 600, as one message must not hold a
// worker for days.
func dots(task []byte) int { return min(bytes.Count(task, []byte(".")), 600) }
