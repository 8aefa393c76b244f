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
// basic.consume until the broker has the last acknowledgement. A prefetch of 0 is no limit, for
// which a quorum queue takes 2000; with automatic acknowledgement there never is another.
//
// A coalesced acknowledgement is for 100 deliveries or a tenth of the prefetch count, and for at most
// half of it: more would keep the broker waiting.
func BenchmarkConsume(b *testing.B) {
	vhost := harness.NewVhost(b)
	bench := func(name string, n, prefetch, every int) {
		b.Run(name, func(b *testing.B) {
			run := func(consume func(b *testing.B, url, queue string, n, prefetch, every int)) func(*testing.B) {
				return func(b *testing.B) {
					queue, n := declare(b, vhost, "quorum"), n*b.N
					fill(b, vhost.URL, queue, n)
					b.ResetTimer()
					consume(b, vhost.URL, queue, n, prefetch, every)
					b.StopTimer()
					reportRate(b, n, "msg/s")
				}
			}
			inTurn(b, twin{"amqpx", run(consumeAmqpx)}, twin{"plain", run(consumePlain)})
		})
	}
	for _, c := range []struct{ prefetch, n, every int }{
		{1, 500, 1}, {10, 4_000, 5}, {100, 15_000, 50}, {1000, 100_000, 100},
		{10_000, 100_000, 1000}, {0, 100_000, 100},
	} {
		bench(fmt.Sprintf("ack=each/prefetch=%d", c.prefetch), c.n, c.prefetch, 1)
		if c.every > 1 {
			bench(fmt.Sprintf("ack=coalesced/prefetch=%d", c.prefetch), c.n, c.prefetch, c.every)
		}
	}
	bench("ack=automatic/prefetch=0", 100_000, 0, 0)
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

func consumeAmqpx(b *testing.B, url, queue string, n, prefetch, every int) {
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	check(b, amqpx.Run(ctx, url, func(s *amqpx.Session) error {
		if err := s.Qos(prefetch, 0, false); err != nil {
			return err
		}
		consume := s.ConsumeManualAck
		if every == 0 {
			consume = s.ConsumeAutoAck
		}
		var acks *amqpx.Acks
		if every > 1 {
			acks = s.CoalesceAcks(every)
		}
		b.ResetTimer()
		deliveries, err := consume(ctx, queue)
		if err != nil {
			return err
		}
		taken := 0
		for d := range deliveries {
			switch {
			case every > 1:
				err = acks.Ack(d)
			case every == 1:
				err = d.Ack(false)
			}
			if err != nil {
				return err
			}
			if taken++; taken == n {
				break
			}
		}
		if taken < n {
			return errors.New("the deliveries ended")
		}
		// A channel's methods are answered in order: after this the broker has the last
		// acknowledgement.
		err = s.Qos(prefetch, 0, false)
		b.StopTimer()
		return err
	}))
}

func consumePlain(b *testing.B, url, queue string, n, prefetch, every int) {
	ch := dial(b, url)
	check(b, ch.Qos(prefetch, 0, false))
	b.ResetTimer()
	// Each delivery carries the consumer tag; amqp091-go's own would be a path, and slow.
	deliveries, err := ch.Consume(queue, "plain", every == 0, false, false, false, nil)
	check(b, err)
	taken := 0
	for d := range deliveries {
		taken++
		switch {
		case every > 1 && taken%every == 0:
			check(b, d.Ack(true))
		case every == 1:
			check(b, d.Ack(false))
		}
		if taken == n {
			break
		}
	}
	if taken < n {
		b.Fatal("the deliveries ended")
	}
	check(b, ch.Qos(prefetch, 0, false))
	b.StopTimer()
}
