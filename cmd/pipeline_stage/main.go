// Pipeline_stage takes numbers from the queue "pipeline_numbers" and publishes their results to
// the queue "pipeline_results". Any number of stages share the work.
//
// It is the middle of lesson 8's pipeline. The heart is the order: publish the result, wait for
// its confirm, and only then acknowledge the number. The result is made in result.go.
package main

import (
	"context"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"golang.org/x/sync/errgroup"

	"rabbitmq-tutorial/internal/amqpx"
	"rabbitmq-tutorial/internal/program"
)

type stage struct {
	prefetch int
	ackFirst bool
	delay    time.Duration
}

func main() {
	var st stage
	p := program.New(program.Usage{
		Purpose: "Computes the pipeline's Fibonacci numbers.",
		Example: "go run ./cmd/pipeline_stage -prefetch 100",
	})
	p.PrefetchVar(&st.prefetch, 1, "how many unacknowledged `numbers` a stage may have in hand, 0 for no limit")
	p.BoolVar(&st.ackFirst, "ack-first", false, "acknowledge each number before its result is published; the prefetch then limits nothing")
	p.DurationVar(&st.delay, "delay", 0, "the `time` between the two steps, publishing and acknowledging")
	p.Main(st.run)
}

func (st *stage) run(ctx context.Context, url string, _ []string) error {
	return amqpx.Run(ctx, url, func(s *amqpx.Session) error {
		for _, name := range []string{"pipeline_numbers", "pipeline_results"} { // they survive a restart
			if _, err := s.DeclareQueue(amqpx.Queue{Name: name, Durable: true, Type: amqp.QueueTypeQuorum}); err != nil {
				return err
			}
		}
		// With -prefetch 100, up to a hundred numbers are in hand at once.
		if err := s.Qos(st.prefetch); err != nil {
			return err
		}
		inHand, untilError := errgroup.WithContext(ctx)
		// AutoAck false: if this stage dies, its numbers go to another.
		numbers, err := s.Consume(untilError, amqpx.Consumer{Queue: "pipeline_numbers", AutoAck: false})
		if err != nil {
			return err
		}
		program.Printf(" [*] Waiting for messages. To exit press CTRL+C")

		next := amqpx.Route{Exchange: "", RoutingKey: "pipeline_results", Mandatory: true}
		for number := range numbers {
			inHand.Go(func() error { // a goroutine for each number in hand
				if st.ackFirst {
					return st.ackThenPublish(ctx, s, next, number) // the wrong order; published in the same way
				}
				// First publish the result, persistent, to the next queue, and wait for its
				// confirm. (Even after Ctrl+C: what is in hand is finished.)
				if err := s.PublishConfirmed(context.WithoutCancel(ctx), next, result(number)); err != nil {
					return err
				}
				time.Sleep(st.delay)
				// Now the broker may forget the number. A stage that dies here leaves it to
				// another, and the result comes twice.
				return amqpx.Ack(number)
			})
		}
		return inHand.Wait() // for all that is in hand; the first error, if there was one
	})
}
