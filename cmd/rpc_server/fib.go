package main

import (
	"fmt"
	"log"
	"math/big"
	"strconv"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"rabbitmq-tutorial/internal/program"
)

// maxN bounds a request. The answer to it has 2,090 digits and takes a few
// milliseconds.
const maxN = 10_000

// parse reads a request: the decimal n. Its error is the answer to the client.
func parse(body []byte) (int, error) {
	n, err := strconv.Atoi(string(body[:min(len(body), 20)]))
	switch {
	case err != nil:
		return 0, fmt.Errorf("%.20q is not a whole number that fits here", body)
	case n < 0:
		return 0, fmt.Errorf("n is %d; it must not be negative", n)
	case n > maxN || len(body) > 20:
		return 0, fmt.Errorf("n is too large; this server goes up to %d", maxN)
	}
	return n, nil
}

// fib returns the nth Fibonacci number, counting from fib(0) = 0.
func fib(n int) *big.Int {
	a, b := big.NewInt(0), big.NewInt(1)
	for range n {
		a.Add(a, b)
		a, b = b, a
	}
	return a
}

// answer computes the answer to a request. It is not persistent: its queue does not last.
func (srv *server) answer(request amqp.Delivery) amqp.Publishing {
	reply := amqp.Publishing{CorrelationId: request.CorrelationId, ContentType: "text/plain"}
	if n, err := parse(request.Body); err != nil {
		log.Printf("refused a request: %v", err)
		reply.Type, reply.Body = "error", []byte(err.Error())
	} else {
		program.Printf(" [.] fib(%d)", n)
		time.Sleep(srv.delay)
		reply.Body = []byte(fib(n).String())
	}
	return reply
}
