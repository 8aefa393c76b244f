package main

import (
	"context"
	"sync"
	"sync/atomic"

	amqp "github.com/rabbitmq/amqp091-go"
	"golang.org/x/sync/errgroup"

	"rabbitmq-tutorial/internal/amqpx"
)

const (
	batchSize = 100

	// window is how many messages may be on their way at once. It bounds the memory, and
	// what there is to publish again after a lost connection.
	window = 1000
)

// A load is what each of the ways publishes: n times the same message.
type load struct {
	queue amqpx.Queue
	to    amqpx.Route
	msg   amqp.Publishing
	n     int
}

// A publishFunc publishes a load, and calls done for each message that the broker has
// confirmed, one call at a time. What is not confirmed when a session is lost is published
// again in the next one: a message may arrive twice, but none is lost.
type publishFunc func(ctx context.Context, url string, l load, done func()) error

type way struct {
	name    string
	publish publishFunc
}

func ways() []way {
	return []way{
		{"one by one", publishOneByOne},
		{"in batches", publishInBatches},
		{"asynchronously", publishAsynchronously},
	}
}

// publishOneByOne waits for the confirm of each message before it publishes the next: the
// simplest way, and the slowest, as each message waits for the network and the broker's disk.
func publishOneByOne(ctx context.Context, url string, l load, done func()) error {
	confirmed := 0
	return amqpx.Run(ctx, url, func(s *amqpx.Session) error {
		if _, err := s.DeclareQueue(l.queue); err != nil {
			return err
		}
		for confirmed < l.n {
			if err := s.PublishConfirmed(ctx, l.to, l.msg); err != nil {
				return err
			}
			confirmed++
			done()
		}
		return nil
	})
}

// publishInBatches publishes a hundred messages, each from a goroutine of its own, and then waits
// for all their confirms. The batch shares one wait, but while it waits nothing is published.
func publishInBatches(ctx context.Context, url string, l load, done func()) error {
	confirmed := 0
	return amqpx.Run(ctx, url, func(s *amqpx.Session) error {
		if _, err := s.DeclareQueue(l.queue); err != nil {
			return err
		}
		for confirmed < l.n {
			batch := min(batchSize, l.n-confirmed)
			err := publishSideBySide(ctx, s, l, batch, batch, func() { confirmed++; done() })
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// publishAsynchronously goes on publishing while confirms come in. It waits only when a
// whole window of messages is without a confirm.
func publishAsynchronously(ctx context.Context, url string, l load, done func()) error {
	confirmed := 0
	return amqpx.Run(ctx, url, func(s *amqpx.Session) error {
		if _, err := s.DeclareQueue(l.queue); err != nil {
			return err
		}
		return publishSideBySide(ctx, s, l, l.n-confirmed, window, func() { confirmed++; done() })
	})
}

// publishSideBySide publishes n messages of the load from several goroutines, each of which does what
// publishOneByOne does: publish and wait. Their messages overtake one another; where the
// order matters, there can be only one goroutine. The calls of done come one at a time.
func publishSideBySide(ctx context.Context, s *amqpx.Session, l load, n, goroutines int, done func()) error {
	var (
		left       atomic.Int64
		publishers errgroup.Group
		counting   sync.Mutex
	)
	left.Store(int64(n))
	for range goroutines {
		publishers.Go(func() error {
			for left.Add(-1) >= 0 {
				if err := s.PublishConfirmed(ctx, l.to, l.msg); err != nil {
					left.Store(0) // the others finish what is on its way
					return err
				}
				counting.Lock()
				done()
				counting.Unlock()
			}
			return nil
		})
	}
	return publishers.Wait() // the first error, nil if there was none
}
