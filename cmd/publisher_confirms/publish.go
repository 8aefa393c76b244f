package main

import (
	"cmp"
	"context"
	"fmt"
	"log"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"rabbitmq-tutorial/internal/amqpx"
)

const (
	// batchSize is how many messages a batch has. If one of them is refused, the
	// publisher learns it only at the end of the batch.
	batchSize = 100

	// window is how many messages the asynchronous publisher has on their way. It
	// bounds what there is to publish again after a lost connection.
	window = 1000
)

// A way publishes n messages and calls done for each that the broker has.
type way func(ctx context.Context, url string, n int, msg amqp.Publishing, done func()) error

// publishOneByOne waits for the confirm of each message before it publishes the
// next: the simplest way, and the slowest, as each message waits for a round trip
// and for the broker's disk.
func publishOneByOne(ctx context.Context, url string, n int, msg amqp.Publishing, done func()) error {
	published := 0
	return amqpx.Run(ctx, url, func(s *amqpx.Session) error {
		if _, err := s.DeclareQuorumQueue(queue); err != nil {
			return err
		}
		for published < n {
			if err := s.PublishConfirmed(ctx, "", queue, msg); err != nil {
				return err
			}
			published++
			done()
		}
		return nil
	})
}

// publishInBatches publishes a number of messages and then waits for all their
// confirms. A batch shares one wait, but while it waits nothing is published.
func publishInBatches(ctx context.Context, url string, n int, msg amqp.Publishing, done func()) error {
	published := 0
	return amqpx.Run(ctx, url, func(s *amqpx.Session) error {
		if _, err := s.DeclareQuorumQueue(queue); err != nil {
			return err
		}
		if err := s.Confirm(false); err != nil { // the broker confirms from here on
			return err
		}
		returns := s.NotifyReturn(make(chan amqp.Return, batchSize))
		for published < n {
			confirms := make([]*amqp.DeferredConfirmation, min(batchSize, n-published))
			for i := range confirms {
				var err error
				if confirms[i], err = s.PublishDeferred(ctx, "", queue, msg); err != nil {
					return err
				}
			}
			for _, confirm := range confirms {
				acked, err := confirm.WaitContext(ctx)
				if err != nil {
					return context.Cause(ctx)
				}
				if len(returns) > 0 {
					return amqpx.ErrUnroutable
				}
				if !acked && s.IsClosed() { // the next session publishes the whole batch again
					return cmp.Or(context.Cause(ctx), amqpx.ErrUnconfirmed)
				}
				if !acked {
					return amqpx.ErrNacked
				}
			}
			published += len(confirms)
			for range confirms {
				done()
			}
		}
		return nil
	})
}

// publishAsynchronously goes on publishing while the confirms come in. Only when
// a whole window of messages is without a confirm does it wait.
func publishAsynchronously(ctx context.Context, url string, n int, msg amqp.Publishing, done func()) error {
	var refused error
	publisher := amqpx.NewPublisher(ctx, url, window,
		func(s *amqpx.Session) error {
			_, err := s.DeclareQuorumQueue(queue)
			return err
		},
		func(msg amqp.Publishing, err error) { // the fate of each message
			if err != nil {
				refused = fmt.Errorf("message %s: %w", msg.MessageId, err)
				return
			}
			done()
		})
	for range n {
		if err := publisher.Publish("", queue, msg); err != nil {
			break // Close says why
		}
	}
	if err := publisher.Close(); err != nil {
		return err
	}
	return refused
}

// publishOrGiveUp ends when half a minute has passed without a confirm.
func publishOrGiveUp(ctx context.Context, publish way, url string, n int, msg amqp.Publishing, done func()) error {
	const patience = 30 * time.Second
	ctx, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	stalled := time.AfterFunc(patience, func() { giveUp(fmt.Errorf("gave up after %v without a confirm", patience)) })
	defer stalled.Stop()
	return publish(ctx, url, n, msg, func() {
		stalled.Reset(patience)
		done()
	})
}

// checkQueueIsEmpty makes sure that the messages to be counted are this program's.
func checkQueueIsEmpty(ctx context.Context, url string) error {
	ctx, cancel := amqpx.WithPublishTimeout(ctx)
	defer cancel()
	return amqpx.Run(ctx, url, func(s *amqpx.Session) error {
		q, err := s.DeclareQuorumQueue(queue)
		if err == nil && q.Messages > 0 {
			err = fmt.Errorf("there are %d messages in the queue %q: wait until the other run has ended, or remove "+
				"what one has left: make ctl ARGS='delete_queue %s'", q.Messages, queue, queue)
		}
		return err
	})
}

// deleteQueue removes the lesson's queue, also after Ctrl+C, if the broker does it
// within two seconds then. It returns how many messages were in the queue.
func deleteQueue(ctx context.Context, url string) (messages int, err error) {
	deleting, cancel := amqpx.WithPublishTimeout(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(2*time.Second, cancel) })()
	err = amqpx.Run(deleting, url, func(s *amqpx.Session) error {
		messages, err = s.QueueDelete(queue, false, false, false)
		return err
	})
	if err != nil {
		log.Printf("the queue %q could not be deleted; remove it: make ctl ARGS='delete_queue %s'", queue, queue)
	}
	return messages, err
}
