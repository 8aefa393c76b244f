// Rpc_server computes Fibonacci numbers for whoever asks.
//
// It is the server of lesson 6. A request names the queue for its answer in ReplyTo, and
// carries a CorrelationId that the answer repeats. Several servers may share the queue of
// requests. The answer is computed in answer.go.
package main

import (
	"context"
	"log"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"rabbitmq-tutorial/internal/amqpx"
	"rabbitmq-tutorial/internal/program"
)

type server struct {
	prefetch int
	delay    time.Duration
}

func main() {
	var srv server
	p := program.New(program.Usage{
		Purpose: "Computes Fibonacci numbers for rpc_client.",
		Example: "go run ./cmd/rpc_server",
	})
	p.PrefetchVar(&srv.prefetch, 1, "how many unacknowledged `requests` a server may have, 0 for no limit")
	p.DurationVar(&srv.delay, "delay", 0, "the extra `time` that each request takes")
	p.Main(srv.run)
}

func (srv *server) run(ctx context.Context, url string, _ []string) error {
	return amqpx.Run(ctx, url, func(s *amqpx.Session) error {
		// Durable, quorum: the queue and every request in it survive a restart of the broker.
		queue, err := s.DeclareQueue(amqpx.Queue{Name: "rpc_queue", Durable: true, Type: amqp.QueueTypeQuorum})
		if err != nil {
			return err
		}
		// Fair dispatch, as in lesson 2: with a prefetch of 1, a busy server gets no second request.
		if err := s.Qos(srv.prefetch); err != nil {
			return err
		}
		// AutoAck false: if this server dies, its request goes to another.
		requests, err := s.Consume(ctx, amqpx.Consumer{Queue: queue.Name, AutoAck: false})
		if err != nil {
			return err
		}
		program.Printf(" [x] Awaiting RPC requests")

		for request := range requests {
			if request.ReplyTo == "" {
				log.Print("dropped a request without reply_to: nobody would get the answer")
			} else {
				// Through the default exchange to the client's own queue. Not persistent, not
				// mandatory: a client that is gone needs no answer. Not confirmed: the broker
				// gets the answer before the acknowledgement. If the answer is lost with the
				// connection, so is the acknowledgement, and the request is delivered again.
				to := amqpx.Route{Exchange: "", RoutingKey: request.ReplyTo, Mandatory: false}
				if err := s.PublishUnconfirmed(ctx, to, srv.answer(request)); err != nil {
					return err
				}
			}
			if err := amqpx.Ack(request); err != nil {
				return err
			}
		}
		return nil
	})
}
