// Pipeline_submit publishes numbers to the queue "pipeline_numbers".
//
// It is the beginning of lesson 8's pipeline: it ends when the broker has the numbers, whether
// or not anybody works on them. Each number gets a message id of its own.
package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"strconv"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"rabbitmq-tutorial/internal/amqpx"
	"rabbitmq-tutorial/internal/program"
)

func main() {
	program.New(program.Usage{
		Purpose: "Submits numbers to the pipeline, which computes their Fibonacci numbers.",
		Args:    "[N...]",
		Example: "go run ./cmd/pipeline_submit 10 20 30",
	}).Main(run)
}

func run(ctx context.Context, url string, args []string) error {
	numbers, err := program.Numbers(args)
	if err != nil {
		return err
	}
	// Give up after half a minute, or later if there are many numbers.
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second+time.Duration(len(numbers))*10*time.Millisecond)
	defer cancel()

	submission := rand.Text()
	submitted := 0 // after a lost session, the next one goes on here
	return amqpx.Run(ctx, url, func(s *amqpx.Session) error {
		// Durable, quorum: the numbers wait for a stage, and survive a restart of the broker.
		queue, err := s.DeclareQueue(amqpx.Queue{Name: "pipeline_numbers", Durable: true, Type: amqp.QueueTypeQuorum})
		if err != nil {
			return err
		}
		to := amqpx.Route{Exchange: "", RoutingKey: queue.Name, Mandatory: true}
		for submitted < len(numbers) {
			err := s.PublishConfirmed(ctx, to, amqp.Publishing{
				DeliveryMode: amqp.Persistent,
				ContentType:  "text/plain",
				// The broker ignores the message id. All stages copy it. If this number is
				// published twice, because a confirm was lost, both have the same id.
				MessageId: fmt.Sprintf("%s-%d", submission, submitted+1),
				Body:      []byte(strconv.Itoa(numbers[submitted])),
			})
			if err != nil {
				return err
			}
			program.Printf(" [x] Submitted %d", numbers[submitted])
			submitted++
		}
		return nil
	})
}
