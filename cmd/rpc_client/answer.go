package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"math/big"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"rabbitmq-tutorial/internal/amqpx"
)

// parse reads an answer: the decimal result, or what is wrong with the request.
func parse(answer amqp.Delivery) (*big.Int, error) {
	if answer.Type == "error" {
		return nil, fmt.Errorf("the server refused: %s", answer.Body)
	}
	result, ok := new(big.Int).SetString(string(answer.Body), 10)
	if !ok {
		return nil, fmt.Errorf("the answer is not a number: %.20q", answer.Body)
	}
	return result, nil
}

// A failure is a call without a result.
type failure struct {
	n   int
	err error
}

// printFailures prints all failures but the last, which it returns. It prints an error that
// several calls share, such as a lost connection, only once.
func printFailures(failures <-chan failure) (last error) {
	for f := range failures {
		if errors.Is(last, f.err) {
			continue
		}
		if last != nil {
			log.Print(last)
		}
		last = fmt.Errorf("fib(%d): %w", f.n, f.err)
	}
	return last
}

// describeServers says how many servers there are now. It cannot say why no answer came: a
// server may have died of the request, or dropped it.
func describeServers(ctx context.Context, url string) string {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	var queue amqp.Queue
	err := amqpx.Run(ctx, url, func(s *amqpx.Session) (err error) {
		queue, err = s.DeclareQueue(amqpx.Queue{Name: "rpc_queue", Durable: true, Type: amqp.QueueTypeQuorum})
		return err
	})
	switch {
	case err != nil:
		return "The broker does not answer either: does AMQP_URL or -url name a RabbitMQ that can be reached?"
	case queue.Consumers == 0:
		return "rpc_queue has no consumer now: start a server with go run ./cmd/rpc_server"
	}
	return fmt.Sprintf("rpc_queue has %d consumers now: look at what they print, or wait longer with -timeout", queue.Consumers)
}
