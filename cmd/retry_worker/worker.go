package main

import (
	"context"
	"fmt"
	"log"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"rabbitmq-tutorial/internal/amqpx"
	"rabbitmq-tutorial/internal/program"
)

type worker struct {
	retries int
	pause   time.Duration
	unpark  bool
}

// start checks the flags, and does what they ask for.
func (w *worker) start(ctx context.Context, url string, _ []string) error {
	if w.retries < 0 || w.pause < time.Millisecond {
		return program.Usagef("-retries must be at least 0, and -pause at least 1ms")
	}
	if w.pause > longestTTL>>max(w.retries-1, 0) {
		return program.Usagef("the last of %d pauses would be longer than the 49 days that RabbitMQ takes", w.retries)
	}
	if w.unpark {
		return amqpx.Run(ctx, url, func(s *amqpx.Session) error { return unpark(ctx, s) })
	}
	return w.run(ctx, url)
}

// unpark moves the parked tasks back to the queue of tasks, one by one. Their tries are counted
// anew.
func unpark(ctx context.Context, s *amqpx.Session) error {
	tasks, err := s.DeclareQueue(amqpx.Queue{Name: "retry_tasks", Durable: true, Type: amqp.QueueTypeQuorum})
	if err != nil {
		return err
	}
	parked, err := s.DeclareQueue(amqpx.Queue{Name: parkedQueue, Durable: true, Type: amqp.QueueTypeQuorum})
	if err != nil {
		return err
	}
	if parked.Messages == 0 {
		log.Printf("no task is parked in %s", parked.Name)
	}
	for range parked.Messages { // not more: a worker may be parking the same tasks again
		task, ok, err := get(ctx, s, parked.Name)
		if err != nil {
			return fmt.Errorf("get from queue %q: %w", parked.Name, err)
		}
		if !ok {
			return nil // Ctrl+C, or somebody else has moved the rest
		}
		// As in the loop of main.go: confirmed first, then acknowledged.
		to := amqpx.Route{Exchange: "", RoutingKey: tasks.Name, Mandatory: true}
		if err := s.PublishConfirmed(context.WithoutCancel(ctx), to, fresh(task)); err != nil {
			return err
		}
		if err := amqpx.Ack(task); err != nil {
			return err
		}
		program.Printf(" [x] Sent %s", task.Body)
	}
	return nil
}

// get takes a task out of the queue. It gives up at the end of ctx, even if the broker does not answer: then
// the end of the session, which is near, ends the goroutine.
func get(ctx context.Context, s *amqpx.Session, queue string) (amqp.Delivery, bool, error) {
	var task amqp.Delivery
	var ok bool
	answer := make(chan error, 1)
	go func() {
		var err error
		task, ok, err = s.Get(queue, false) // false: the broker keeps it until we acknowledge it
		answer <- err
	}()
	select {
	case err := <-answer:
		return task, ok, err
	case <-ctx.Done():
		return amqp.Delivery{}, false, nil
	}
}
