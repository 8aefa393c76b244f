package amqpx

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// unlimited is what a quorum queue takes for no prefetch limit.
const unlimited = 2000

// handBackAfter is how long after the end of its ctx a loop may still be busy
// before what was delivered ahead of it goes back.
const handBackAfter = 100 * time.Millisecond

var errCancelled = errors.New("the broker cancelled the consumer: its queue was deleted, or an acknowledgement took too long")

// Qos sets the prefetch count, like the channel's own Qos, for the consumers that
// are started after it. Without it they have a prefetch count of 30.
func (s *Session) Qos(prefetchCount, prefetchSize int, global bool) error {
	s.prefetch = prefetchCount
	return s.Channel.Qos(prefetchCount, prefetchSize, global)
}

// ConsumeManualAck starts a consumer on the queue. The broker keeps each message
// until its delivery is acknowledged, and delivers it again if the session ends
// before that.
//
// The deliveries end when ctx does. What was delivered ahead of the loop then goes
// back to the queue: with the end of the session, and after 0.1 seconds even while
// the loop is still busy with the delivery in hand. RabbitMQ 3 puts it behind what
// is waiting there, and with any version another consumer may get later messages
// first. The deliveries also end with the session, and when the broker cancels the
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
	s.writing.Lock() // another consumer of the session may be about to end
	defer s.writing.Unlock()
	if s.prefetch < 0 {
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
	s.ahead += cmp.Or(s.prefetch, unlimited)
	cancelled := false
	cancel := func() bool {
		s.writing.Lock()
		defer s.writing.Unlock()
		cancelled = true
		return s.Cancel(tag, false) == nil
	}
	handBack := func() {
		for d := range deliveries {
			d.Nack(false, true) // fails only with the channel, which hands back all it holds
		}
	}
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		switch {
		case autoAck:
			cancel() // what comes until then is lost
		case !s.endsWithin(handBackAfter) && cancel():
			handBack()
		}
	})
	s.stops = append(s.stops, func() {
		if !stop() {
			<-ended
		}
		early := cancelled
		if !early && !cancel() || autoAck {
			return
		}
		if !s.done {
			handBack()
		}
		if early || !s.done {
			s.await(queue)
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
