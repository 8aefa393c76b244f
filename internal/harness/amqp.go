package harness

import (
	"context"
	"fmt"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// This file is a client for the tests: plain amqp091-go, without amqpx.

// Channel opens a channel in confirm mode, on a connection of its own that is closed when the
// test ends.
func Channel(t testing.TB, url string) *amqp.Channel {
	t.Helper()
	conn, ch := open(t, url)
	t.Cleanup(func() { conn.Close() })
	if err := ch.Confirm(false); err != nil {
		t.Fatalf("ask for confirms: %v", err)
	}
	return ch
}

func open(t testing.TB, url string) (*amqp.Connection, *amqp.Channel) {
	t.Helper()
	conn, err := amqp.Dial(url)
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	ch, err := conn.Channel()
	if err != nil {
		t.Fatalf("open a channel: %v", err)
	}
	return conn, ch
}

// DeclareQueue declares a queue as lessons 1, 2 and 6 do in every language: durable, of type quorum.
func DeclareQueue(t testing.TB, ch *amqp.Channel, name string) {
	t.Helper()
	_, err := ch.QueueDeclare(name, true, false, false, false, amqp.Table{amqp.QueueTypeArg: amqp.QueueTypeQuorum})
	if err != nil {
		t.Fatalf("declare queue %q: %v", name, err)
	}
}

// DeclareExchange declares an exchange as lessons 3 to 5 do in every language: not durable.
func DeclareExchange(t testing.TB, ch *amqp.Channel, name, kind string) {
	t.Helper()
	if err := ch.ExchangeDeclare(name, kind, false, false, false, false, nil); err != nil {
		t.Fatalf("declare exchange %q: %v", name, err)
	}
}

// Publish publishes a persistent message for each body and waits for all confirms.
func Publish(t testing.TB, ch *amqp.Channel, exchange, key string, bodies ...string) {
	t.Helper()
	messages := make([]amqp.Publishing, len(bodies))
	for i, body := range bodies {
		messages[i] = amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte(body)}
	}
	PublishMessages(t, ch, exchange, key, messages...)
}

// PublishMessages is Publish for messages with properties.
func PublishMessages(t testing.TB, ch *amqp.Channel, exchange, key string, messages ...amqp.Publishing) {
	t.Helper()
	confirms := make([]*amqp.DeferredConfirmation, len(messages))
	for i, msg := range messages {
		var err error
		if confirms[i], err = ch.PublishWithDeferredConfirm(exchange, key, false, false, msg); err != nil {
			t.Fatalf("publish to %q %q: %v", exchange, key, err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	for i, confirm := range confirms {
		if acked, err := confirm.WaitContext(ctx); err != nil || !acked {
			t.Fatalf("publish to %q %q: confirmed %v, %v: %.100q", exchange, key, acked, err, messages[i].Body)
		}
	}
}

// Get takes the next message out of a queue. If there is none, the test fails.
func Get(t testing.TB, ch *amqp.Channel, queue string) amqp.Delivery {
	t.Helper()
	d, ok, err := ch.Get(queue, true)
	if err != nil || !ok {
		t.Fatalf("get from queue %q: there is a message: %v, %v", queue, ok, err)
	}
	return d
}

// Consume consumes from a queue. Acknowledge its deliveries. A prefetch of 0 is no limit.
func Consume(t testing.TB, ch *amqp.Channel, queue string, prefetch int) <-chan amqp.Delivery {
	t.Helper()
	if err := ch.Qos(prefetch, 0, false); err != nil {
		t.Fatalf("set the prefetch count: %v", err)
	}
	deliveries, err := ch.Consume(queue, "", false, false, false, false, nil)
	if err != nil {
		t.Fatalf("consume from queue %q: %v", queue, err)
	}
	return deliveries
}

// Next waits for the next delivery, up to a minute.
func Next(t testing.TB, deliveries <-chan amqp.Delivery) amqp.Delivery {
	t.Helper()
	select {
	case d, ok := <-deliveries:
		if ok {
			return d
		}
		t.Fatal("the deliveries have ended")
	case <-time.After(deadline):
		t.Fatalf("no delivery within %v", deadline)
	}
	panic("not reached")
}

// Drain takes all that is in a queue, on a connection of its own.
func (v *Vhost) Drain(queue string) []amqp.Delivery {
	t := v.broker.t
	t.Helper()
	ch := Channel(t, v.URL)
	Publish(t, ch, "", queue, "the end")
	deliveries := Consume(t, ch, queue, 100)
	var all []amqp.Delivery
	for {
		d := Next(t, deliveries)
		if err := d.Ack(false); err != nil {
			t.Fatalf("acknowledge: %v", err)
		}
		if string(d.Body) == "the end" {
			return all
		}
		all = append(all, d)
	}
}

// AwaitReady waits, up to a minute, until the queue exists and has this many messages ready.
func (v *Vhost) AwaitReady(queue string, ready int) {
	t := v.broker.t
	t.Helper()
	Eventually(t, deadline, fmt.Sprintf("%d messages ready in %s", ready, queue),
		func() bool { return v.HasQueue(queue) && v.Queue(queue).Ready == ready })
}

// AwaitQueue waits, up to a minute, until the broker reports this many messages of the queue as ready
// and this many as unacknowledged. Its figures are about a second old: see Queue.
func (v *Vhost) AwaitQueue(queue string, ready, unacked int) {
	t := v.broker.t
	t.Helper()
	Eventually(t, deadline, fmt.Sprintf("%s has %d messages ready and %d unacknowledged", queue, ready, unacked),
		func() bool { q := v.Queue(queue); return q.Ready == ready && q.Unacked == unacked })
}
