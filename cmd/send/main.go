// Send publishes one message to the queue "hello".
//
// It is the producer of lesson 1: it declares the queue, hands the message to
// the default exchange with the queue's name as its routing key, and ends when
// the broker has confirmed that the message is in the queue.
package main

import (
	"context"

	amqp "github.com/rabbitmq/amqp091-go"

	"rabbitmq-tutorial/internal/amqpx"
	"rabbitmq-tutorial/internal/program"
)

func main() {
	program.New(`Publishes "Hello World!" to the queue "hello".`, "", "go run ./cmd/send").Main(run)
}

func run(ctx context.Context, url string, _ []string) error {
	ctx, cancel := amqpx.WithPublishTimeout(ctx)
	defer cancel()

	return amqpx.Run(ctx, url, func(s *amqpx.Session) error {
		// A message for a queue that does not exist is lost, and nobody knows which
		// of the two programs starts first. So both declare the queue.
		queue, err := s.DeclareQuorumQueue("hello")
		if err != nil {
			return err
		}

		// The default exchange, "", takes a message to the queue that its routing
		// key names.
		err = s.PublishConfirmed(ctx, "", queue.Name, amqp.Publishing{
			ContentType: "text/plain",
			Body:        []byte("Hello World!"),
		})
		if err != nil {
			return err
		}
		program.Printf(" [x] Sent Hello World!\n")
		return nil
	})
}
