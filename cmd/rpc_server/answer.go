package main

import (
	"log"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"rabbitmq-tutorial/internal/fib"
	"rabbitmq-tutorial/internal/program"
)

// answer computes the answer to a request. It is not persistent: its queue does not last.
func (srv *server) answer(request amqp.Delivery) amqp.Publishing {
	reply := amqp.Publishing{CorrelationId: request.CorrelationId, ContentType: "text/plain"}
	if n, err := fib.Parse(request.Body); err != nil {
		log.Printf("refused a request: %v", err)
		reply.Type, reply.Body = "error", []byte(err.Error())
	} else {
		program.Printf(" [.] fib(%d)", n)
		time.Sleep(srv.delay)
		reply.Body = []byte(fib.Number(n).String())
	}
	return reply
}
