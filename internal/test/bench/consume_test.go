package bench_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"rabbitmq-tutorial/internal/amqpx"
	"rabbitmq-tutorial/internal/harness"
)

// BenchmarkConsume takes small messages out of a quorum queue that is full of them, from
// basic.consume until the broker has the last acknowledgement. A prefetch of 0 is no limit, but a
// quorum queue then still applies one of 2,000. With automatic acknowledgement there is no limit.
func BenchmarkConsume(b *testing.B) {
	vhost := harness.NewVhost(b)
	bench := func(name string, n, prefetch int, autoAck bool) {
		b.Run(name, func(b *testing.B) {
			run := func(consume func(b *testing.B, url, queue string, n, prefetch int, autoAck bool)) func(*testing.B) {
				return func(b *testing.B) {
					queue, n := declare(b, vhost, "quorum"), n*b.N
					fill(b, vhost.URL, queue, n)
					b.ResetTimer()
					consume(b, vhost.URL, queue, n, prefetch, autoAck)
					b.StopTimer()
					reportRate(b, n, "msg/s")
				}
			}
			inTurn(b, twin{"amqpx", run(consumeAmqpx)}, twin{"plain", run(consumePlain)})
		})
	}
	for _, c := range []struct{ prefetch, n int }{
		{1, 500}, {10, 4_000}, {100, 15_000}, {1000, 100_000}, {10_000, 100_000}, {0, 100_000},
	} {
		bench(fmt.Sprintf("ack=each/prefetch=%d", c.prefetch), c.n, c.prefetch, false)
	}
	bench("ack=automatic/prefetch=0", 100_000, 0, true)
}

// fill publishes n messages of 10 bytes.
func fill(b *testing.B, url, queue string, n int) {
	b.Helper()
	ch := dial(b, url)
	check(b, ch.Confirm(false))
	confirms := make(chan *amqp.DeferredConfirmation, 5*window)
	done := make(chan int)
	go func() {
		acked := 0
		for confirm := range confirms {
			if confirm.Wait() {
				acked++
			}
		}
		done <- acked
	}()
	for range n {
		confirm, err := ch.PublishWithDeferredConfirm("", queue, false, false, persistent(10))
		check(b, err)
		confirms <- confirm
	}
	close(confirms)
	if acked := <-done; acked < n {
		b.Fatalf("%d of %d messages confirmed", acked, n)
	}
}

func consumeAmqpx(b *testing.B, url, queue string, n, prefetch int, autoAck bool) {
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	check(b, amqpx.Run(ctx, url, func(s *amqpx.Session) error {
		if err := s.Qos(prefetch, 0, false); err != nil {
			return err
		}
		b.ResetTimer()
		deliveries, err := s.Consume(ctx, amqpx.Consumer{Queue: queue, AutoAck: autoAck})
		if err != nil {
			return err
		}
		taken := 0
		for d := range deliveries {
			if !autoAck {
				if err := amqpx.Ack(d); err != nil {
					return err
				}
			}
			if taken++; taken == n {
				break
			}
		}
		if taken < n {
			return errors.New("the deliveries ended")
		}
		// The broker handles a channel's methods in order: after this answer, it has the last
		// acknowledgement.
		err = s.Qos(prefetch, 0, false)
		b.StopTimer()
		return err
	}))
}

func consumePlain(b *testing.B, url, queue string, n, prefetch int, autoAck bool) {
	ch := dial(b, url)
	check(b, ch.Qos(prefetch, 0, false))
	b.ResetTimer()
	// Each delivery carries the consumer tag. amqp091-go's own is a long path, and slow.
	deliveries, err := ch.Consume(queue, "plain", autoAck, false, false, false, nil)
	check(b, err)
	taken := 0
	for d := range deliveries {
		if !autoAck {
			check(b, d.Ack(false))
		}
		if taken++; taken == n {
			break
		}
	}
	if taken < n {
		b.Fatal("the deliveries ended")
	}
	check(b, ch.Qos(prefetch, 0, false))
	b.StopTimer()
}
