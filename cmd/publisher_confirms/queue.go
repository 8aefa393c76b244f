package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"rabbitmq-tutorial/internal/amqpx"
)

const patience = 30 * time.Second

// publishOrGiveUp calls publish, and gives up after half a minute without a confirm.
func publishOrGiveUp(parent context.Context, publish publishFunc, url string, l load, done func()) error {
	ctx, giveUp := context.WithCancelCause(parent)
	defer giveUp(nil)
	stalled := time.AfterFunc(patience, func() { giveUp(fmt.Errorf("gave up after %v without a confirm", patience)) })
	defer stalled.Stop()
	err := publish(ctx, url, l, func() {
		stalled.Reset(patience)
		done()
	})
	if cause := context.Cause(ctx); err != nil && parent.Err() == nil && cause != nil && !errors.Is(err, cause) {
		return fmt.Errorf("%w: %w", cause, err) // err: why the last session was lost
	}
	return err
}

// checkEmpty returns an error if the queue has messages: the program counts only its own.
func checkEmpty(ctx context.Context, url string, queue amqpx.Queue) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return amqpx.Run(ctx, url, func(s *amqpx.Session) error {
		q, err := s.DeclareQueue(queue)
		if err == nil && q.Messages > 0 {
			err = fmt.Errorf("there are %d messages in the queue %q: wait until the other run has ended, or delete "+
				"what one has left: make ctl ARGS='delete_queue %s'", q.Messages, q.Name, q.Name)
		}
		return err
	})
}

// deleteQueue deletes the queue and returns how many messages were in it. After Ctrl+C,
// it waits for the broker for two seconds at most.
func deleteQueue(ctx context.Context, url, queue string) (messages int, err error) {
	deleting, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(2*time.Second, cancel) })()
	err = amqpx.Run(deleting, url, func(s *amqpx.Session) error {
		messages, err = s.QueueDelete(queue, false, false, false)
		return err
	})
	if err != nil {
		log.Printf("the queue %q could not be deleted; delete it: make ctl ARGS='delete_queue %s'", queue, queue)
	}
	return messages, err
}
