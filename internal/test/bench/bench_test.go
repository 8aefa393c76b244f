// Package bench_test measures amqpx and the programs on a real broker, each beside a twin
// that does the same work with plain amqp091-go. `make bench` runs it and holds the figures to
// the project's targets.
//
// One operation is a fixed amount of work, large enough to measure: run it with -benchtime 1x.
// The figure is the rate or the time in the benchmark's own unit. Twins run one right after the
// other, in random order, because a shared machine gets faster and slower.
package bench_test

import (
	"context"
	"flag"
	"math/rand/v2"
	"sync"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"rabbitmq-tutorial/internal/amqpx"
	"rabbitmq-tutorial/internal/harness"
)

var rounds = flag.Int("rounds", 1, "how often the clients take turns")

// A twin does the same work as its twin, with another client.
type twin struct {
	by  string
	run func(b *testing.B)
}

// inTurn runs twins one after the other, in random order.
func inTurn(b *testing.B, twins ...twin) {
	b.Helper()
	rand.Shuffle(len(twins), func(i, j int) { twins[i], twins[j] = twins[j], twins[i] })
	for _, t := range twins {
		b.Run("by="+t.by, t.run)
	}
}

func check(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// dial opens a connection with one channel.
func dial(b *testing.B, url string) *amqp.Channel {
	b.Helper()
	conn, err := amqp.Dial(url)
	check(b, err)
	b.Cleanup(func() { conn.Close() })
	ch, err := conn.Channel()
	check(b, err)
	return ch
}

// declare makes an empty quorum queue on the vhost, until the end of b.
func declare(b *testing.B, vhost *harness.Vhost) (queue string, ch *amqp.Channel) {
	b.Helper()
	ch = dial(b, vhost.URL)
	harness.DeclareQueue(b, ch, "bench")
	b.Cleanup(func() {
		_, err := ch.QueueDelete("bench", false, false, false)
		check(b, err)
	})
	return "bench", ch
}

// openAmqpx opens a session that consumes, and waits until it does. It calls changed with 1 whenever the
// session consumes, and with -1 when it no longer does.
func openAmqpx(b *testing.B, url, queue string, changed func(int64)) (close func()) {
	b.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	first := make(chan struct{}, 1)
	var session sync.WaitGroup
	session.Go(func() {
		err := amqpx.Run(ctx, url, func(s *amqpx.Session) error {
			deliveries, err := s.Consume(ctx, amqpx.Consumer{Queue: queue})
			if err != nil {
				return err
			}
			changed(1)
			select {
			case first <- struct{}{}:
			default: // nobody waits for a later session
			}
			for range deliveries {
			}
			changed(-1)
			return nil
		})
		if err != nil {
			b.Error(err)
			cancel()
		}
	})
	select {
	case <-first:
	case <-ctx.Done():
	}
	return func() {
		cancel()
		session.Wait()
	}
}
