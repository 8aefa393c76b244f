package amqpx

import (
	"context"
	"errors"
	"fmt"
	"iter"

	amqp "github.com/rabbitmq/amqp091-go"
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
// The deliveries end when ctx does. What was delivered ahead of the loop goes
// back to the queue at once, while the loop may still be busy with the delivery
// in hand. They also end with the session, and when the broker cancels the
// consumer, for instance because the queue was deleted; [Run] then starts anew.
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
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		s.writing.Lock()
		err := s.Cancel(tag, false)
		s.writing.Unlock()
		if err != nil {
			return // the channel is gone, and with it its hold on the messages
		}
		for d := range deliveries {
			if !autoAck {
				d.Nack(false, true) // fails only with the channel, as above
			}
		}
	})
	s.stops = append(s.stops, func() {
		if !stop() {
			<-stopped
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
