package main

import (
	"context"
	"log"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"rabbitmq-tutorial/internal/amqpx"
	"rabbitmq-tutorial/internal/fib"
	"rabbitmq-tutorial/internal/program"
)

// result computes what becomes of a number: the Fibonacci number with n in a header or, for a
// number that the stage refuses, its unchanged body with the reason in a header.
func result(number amqp.Delivery) amqp.Publishing {
	msg := amqp.Publishing{
		DeliveryMode: amqp.Persistent,
		ContentType:  "text/plain",
		MessageId:    number.MessageId, // the same in all stages: so a result that comes twice is known
	}
	if n, err := fib.Parse(number.Body); err != nil {
		log.Printf("refused a number: %v", err)
		msg.Headers, msg.Body = amqp.Table{"error": err.Error()}, number.Body
	} else {
		program.Printf(" [.] fib(%d)", n)
		msg.Headers, msg.Body = amqp.Table{"n": n}, []byte(fib.Number(n).String())
	}
	return msg
}

// ackThenPublish has the wrong order: a stage that dies after the acknowledgement takes its
// number along.
func (st *stage) ackThenPublish(ctx context.Context, s *amqpx.Session, next amqpx.Route, number amqp.Delivery) error {
	msg := result(number)
	if err := amqpx.Ack(number); err != nil {
		return err
	}
	time.Sleep(st.delay)
	return s.PublishConfirmed(context.WithoutCancel(ctx), next, msg)
}
