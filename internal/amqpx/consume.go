package amqpx

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

const (
	// A loop that is still busy so long after the end of its ctx keeps its last
	// delivery only. What was delivered ahead goes back a few at a time, so that an
	// acknowledgement finds room among the 32 under way; see close.
	handBackAfter  = 100 * time.Millisecond
	handBackAtOnce = 16
	handBackPause  = 20 * time.Millisecond
)

var errCancelled = errors.New("the broker cancelled the consumer: its queue was deleted, or an acknowledgement took too long")

// Qos sets the prefetch count, like the channel's own Qos, for the consumers that
// are started after it. Without it they have a prefetch count of 30.
func (s *Session) Qos(prefetchCount, prefetchSize int, global bool) error {
	s.prefetch = true
	return s.Channel.Qos(prefetchCount, prefetchSize, global)
}

// ConsumeManualAck starts a consumer on the queue. The broker keeps each message
// until its delivery is acknowledged, and delivers it again if the session ends
// before that.
//
// The deliveries end when ctx does. What was delivered ahead of the loop then goes
// back to the queue: with the end of the session, and after 0.1 seconds even while
// the loop is still busy with the delivery in hand. They also end with the
// session, and when the broker cancels the consumer, for instance because the
// queue was deleted; [Run] then starts anew.
//
// Declare, bind and set Qos before: from here on the session may use the
// channel to end the consumer. See https://www.rabbitmq.com/docs/consumers.
func (s *Session) ConsumeManualAck(ctx context.Context, queue string) (iter.Seq[amqp.Delivery], error) {
	return s.consume(ctx, queue, false)
}

// ConsumeAutoAck is [Session.ConsumeManualAck] without acknowledgements: the
// broker forgets a message as soon as it has sent it, whatever becomes of it.
func (s *Session) ConsumeAutoAck(ctx context.Context, queue string) (iter.Seq[amqp.Delivery], error) {
	return s.consume(ctx, queue, true)
}

func (s *Session) consume(ctx context.Context, queue string, autoAck bool) (iter.Seq[amqp.Delivery], error) {
	if !s.prefetch {
		if err := s.Qos(defaultPrefetch, 0, false); err != nil {
			return nil, fmt.Errorf("set the prefetch count: %w", err)
		}
	}
	tag := fmt.Sprintf("%s-%d", programName(), len(s.stops)+1)
	deliveries, err := s.Consume(queue, tag, autoAck, false, false, false, nil)
	if err != nil {
		return nil, fmt.Errorf("consume from queue %q: %w", queue, err)
	}

	s.consuming.Store(true)
	cancel := sync.OnceValue(func() error {
		s.writing.Lock()
		defer s.writing.Unlock()
		return s.Cancel(tag, false)
	})
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		if s.endsWithin(handBackAfter) || cancel() != nil || autoAck {
			return
		}
		n := 0
		for d := range deliveries {
			d.Nack(false, true) // fails only with the channel, which hands back all it holds
			if n++; n%handBackAtOnce == 0 && s.endsWithin(handBackPause) {
				return
			}
		}
	})
	s.stops = append(s.stops, func() {
		if !stop() {
			<-ended
		}
		if cancel() != nil || s.done || autoAck {
			return
		}
		for d := range deliveries {
			d.Nack(false, true)
		}
	})

	return func(yield func(amqp.Delivery) bool) {
		for ctx.Err() == nil {
			select {
			case <-ctx.Done():
			case d, ok := <-deliveries:
				if !ok {
					if ctx.Err() == nil {
						s.cutShort = errCancelled // or worse: see lost
					}
					return
				}
				if !yield(d) {
					return
				}
			}
		}
	}, nil
}
