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
	AutoAck bool // the broker forgets each message as it sends it, and takes no acknowledgement
}

// consumer is a consumer that was started.
type consumer struct {
	Consumer
	tag        string
	deliveries <-chan amqp.Delivery
}

// Consume starts a consumer and returns its deliveries. They end with ctx, with the
// session, and when the broker cancels the consumer, for instance because its queue
// was deleted: [Run] knows which, and starts anew after the last two.
//
// Call Qos before: a consumer without a prefetch count has a whole queue sent to it.
// What was delivered ahead of the loop goes back to the queue when the session ends.
// RabbitMQ 3 puts it behind what waits there; with any version another consumer may
// get later messages first. If the queue does not exist, the error is the broker's
// 404 NOT_FOUND, an [*amqp.Error].
//
// See https://www.rabbitmq.com/docs/consumers.
func (s *Session) Consume(ctx context.Context, c Consumer) (iter.Seq[amqp.Delivery], error) {
	tag := fmt.Sprintf("%s-%d", programName(), len(s.consumers)+1)
	deliveries, err := s.Channel.Consume(c.Queue, tag, c.AutoAck, false, false, false, nil)
	if err != nil {
		return nil, fmt.Errorf("consume from queue %q: %w", c.Queue, err)
	}
	s.consuming.Store(true)
	s.consumers = append(s.consumers, consumer{c, tag, deliveries})

	return func(yield func(amqp.Delivery) bool) {
		for {
			select {
			case <-ctx.Done():
				return
			case d, ok := <-deliveries:
				if !ok {
					s.cancelled = errors.New("the broker cancelled the consumer: its queue was deleted, or an acknowledgement took too long")
					return
				}
				if !yield(d) || ctx.Err() != nil {
					return
				}
			}
		}
	}, nil
}

// Ack acknowledges one delivery: the broker may forget its message. It goes out on the
// channel that delivered it, as delivery tags are counted by channel. An error says that
// this session is lost; the message will be delivered again in the next one.
//
// See https://www.rabbitmq.com/docs/confirms#acknowledgement-modes.
func Ack(d amqp.Delivery) error {
	if err := d.Ack(false); err != nil {
		return fmt.Errorf("acknowledge: %w", err)
	}
	return nil
}

// endConsumers cancels the consumers after the last acknowledgement, and hands back what
// was delivered ahead.
//
// The cancelling loses no acknowledgement: RabbitMQ has 32 of them on their way to a quorum
// queue and keeps the rest waiting; if the channel closed now, it would forget those. It
// answers basic.cancel when the queue has had them all.
//
// A function that is done leaves nothing in hand, so all goes back at once. One that failed
// leaves the delivery that it failed at to the closing channel: RabbitMQ 4 counts that, and
// not what goes back with a nack, towards the delivery limit.
func (s *Session) endConsumers(done bool) {
	s.writing.Lock()
	defer s.writing.Unlock()
	for _, c := range s.consumers {
		if s.Cancel(c.tag, false) == nil && !done && !c.AutoAck {
			for d := range c.deliveries {
				d.Nack(false, true) // fails only with the channel, which hands back all it has
			}
		}
	}
	if done && len(s.consumers) > 0 {
		s.Nack(0, true, true) // 0: every delivery without an acknowledgement
	}
}
