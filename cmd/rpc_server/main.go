// Rpc_server computes Fibonacci numbers for whoever asks.
//
// It is the server of lesson 6. A request names the queue for its answer in
// ReplyTo and carries a CorrelationId, by which the client tells its answers
// apart. Several servers may share the queue of requests.
package main

import (
	"context"
	"fmt"
	"log"

	amqp "github.com/rabbitmq/amqp091-go"

	"rabbitmq-tutorial/internal/amqpx"
	"rabbitmq-tutorial/internal/program"
)

func main() {
	p := program.New("Computes Fibonacci numbers for rpc_client.", "", "go run ./cmd/rpc_server")
	prefetch := p.Prefetch(1, "`requests` the broker sends ahead of the acknowledgements, 0 for no limit")

	p.Main(func(ctx context.Context, url string, _ []string) error {
		return amqpx.Run(ctx, url, func(s *amqpx.Session) error {
			queue, err := s.DeclareQuorumQueue("rpc_queue")
			if err != nil {
				return err
			}
			if err := s.Qos(*prefetch, 0, false); err != nil { // share the load fairly
				return fmt.Errorf("set the prefetch count: %w", err)
			}
			requests, err := s.ConsumeManualAck(ctx, queue.Name)
			if err != nil {
				return err
			}
			program.Printf(" [x] Awaiting RPC requests\n")

			for request := range requests {
				// The answer needs no confirm: the broker reads a channel in order, so
				// that it cannot see the acknowledgement and miss the answer before it.
				if request.ReplyTo == "" {
					log.Print("refused a request without reply_to: nobody would get the answer")
				} else if err := s.PublishUnconfirmed(ctx, "", request.ReplyTo, answerTo(request)); err != nil {
					return err
				}
				if err := request.Ack(false); err != nil {
					return fmt.Errorf("acknowledge: %w", err)
				}
			}
			return nil
		})
	})
}

func answerTo(request amqp.Delivery) amqp.Publishing {
	answer := amqp.Publishing{
		CorrelationId: request.CorrelationId,
		ContentType:   "text/plain",
	}
	if n, err := parse(request.Body); err != nil {
		log.Printf("refused a request: %v", err)
		answer.Type, answer.Body = "error", []byte(err.Error())
	} else {
		program.Printf(" [.] fib(%d)\n", n)
		answer.Body = []byte(fib(n).String())
	}
	return answer
}
