package amqpx

import (
	"context"
	"errors"
	"fmt"
	"iter"

	amqp "github.com/rabbitmq/amqp091-go"
)

// A Consumer is what to consume, and how.
type Consumer struct {
	Queue   string
	AutoAck bool // the broker forgets each message as it sends it: do not acknowledge then
}

// Qos limits how many deliveries the broker sends to a consumer ahead of its acknowledgements:
// to prefetch, 0 for no limit. Call it before Consume.
//
// See https://www.rabbitmq.com/docs/consumer-prefetch.
func (s *Session) Qos(prefetch int) error {
	return s.call("set the prefetch count", func() error { return s.Channel.Qos(prefetch, 0, false) })
}

// Consume starts a consumer and returns its deliveries. They end with ctx, with the
// session, and when the broker cancels the consumer, for instance because its queue
// was deleted. Unless ctx ended, [Run] then calls its function again with a new session.
//
// Call Qos first: to a consumer without a limit, the broker sends the whole queue. When
// the session ends, the deliveries that the loop has not taken go back to the queue.
// RabbitMQ 3 puts them behind the messages that wait there; with any version, another
// consumer may get later messages first. If the queue does not exist, the error is the
// broker's 404 NOT_FOUND, an [*amqp.Error].
//
// See https://www.rabbitmq.com/docs/consumers.
func (s *Session) Consume(ctx context.Context, c Consumer) (iter.Seq[amqp.Delivery], error) {
	tag := fmt.Sprintf("%s-%d", programName(), len(s.ends)+1)
	var deliveries <-chan amqp.Delivery
	err := s.call(fmt.Sprintf("consume from queue %q", c.Queue), func() (err error) {
		deliveries, err = s.Channel.Consume(c.Queue, tag, c.AutoAck, false, false, false, nil)
		return err
	})
	if err != nil {
		return nil, err
	}
	s.ends = append(s.ends, func(handBack bool) {
		if s.Cancel(tag, false) == nil && !handBack && !c.AutoAck {
			for d := range deliveries {
				d.Nack(false, true) // fails only if the channel is closed, which hands back all deliveries
			}
		}
	})

	return func(yield func(amqp.Delivery) bool) {
		for {
			select {
			case <-ctx.Done():
				return
			case d, ok := <-deliveries:
				if !ok {
					s.cancelled = errors.New("the broker cancelled the consumer: its queue was deleted, or an acknowledgement took too long")
				}
				if !ok || !yield(d) || ctx.Err() != nil {
					return
				}
			}
		}
	}, nil
}

// Ack acknowledges one delivery, on the channel that delivered it: the broker may forget the
// message. Call it when the message has been dealt with. An error says that the session is
// lost; the broker delivers the message again in the next one.
//
// See https://www.rabbitmq.com/docs/confirms#acknowledgement-modes.
func Ack(d amqp.Delivery) error {
	return annotate(d.Ack(false), "acknowledge")
}
