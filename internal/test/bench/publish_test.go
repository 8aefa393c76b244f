package bench_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"rabbitmq-tutorial/internal/amqpx"
	"rabbitmq-tutorial/internal/harness"
)

const batchSize = 100

// BenchmarkPublish publishes persistent, mandatory messages to a durable queue and waits for
// their confirms, in the three ways of lesson 7.
func BenchmarkPublish(b *testing.B) {
	type publish func(b *testing.B, url, queue string, n int, msg amqp.Publishing)
	type way struct {
		name         string
		amqpx, plain publish
		n            [3]int // by the size of the messages
	}
	vhost := harness.NewVhost(b)
	for _, kind := range []string{"quorum", "classic"} {
		for i, size := range []int{10, 1_000, 100_000} {
			for _, way := range []way{
				{"one_by_one", oneByOneAmqpx, oneByOnePlain, [3]int{1_000, 1_000, 500}},
				{"batches", batchesAmqpx, batchesPlain, [3]int{4_000, 4_000, 400}},
				{"async", asyncAmqpx, asyncPlain, [3]int{10_000, 10_000, 400}},
			} {
				b.Run(fmt.Sprintf("queue=%s/bytes=%d/way=%s", kind, size, way.name), func(b *testing.B) {
					run := func(publish publish) func(*testing.B) {
						return func(b *testing.B) {
							queue, n := declare(b, vhost, kind), way.n[i]*b.N
							publish(b, vhost.URL, queue, n, persistent(size))
							b.StopTimer()
							reportRate(b, n, "msg/s")
						}
					}
					inTurn(b, twin{"amqpx", run(way.amqpx)}, twin{"plain", run(way.plain)})
				})
			}
		}
	}
}

// Each function publishes a few messages first, so that connecting and what the first message
// makes the broker do are not measured.
const warmUp = 20

func oneByOneAmqpx(b *testing.B, url, queue string, n int, msg amqp.Publishing) {
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	check(b, amqpx.Run(ctx, url, func(s *amqpx.Session) error {
		for i := range warmUp + n {
			if i == warmUp {
				b.ResetTimer()
			}
			if err := s.PublishConfirmed(ctx, "", queue, msg); err != nil {
				return err
			}
		}
		b.StopTimer()
		return nil
	}))
}

func oneByOnePlain(b *testing.B, url, queue string, n int, msg amqp.Publishing) {
	ch := dial(b, url)
	check(b, ch.Confirm(false))
	returns := ch.NotifyReturn(make(chan amqp.Return, 1))
	for i := range warmUp + n {
		if i == warmUp {
			b.ResetTimer()
		}
		confirm, err := ch.PublishWithDeferredConfirm("", queue, true, false, msg)
		check(b, err)
		if !confirm.Wait() || len(returns) > 0 {
			b.Fatal("refused")
		}
	}
	b.StopTimer()
}

func batchesAmqpx(b *testing.B, url, queue string, n int, msg amqp.Publishing) {
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	check(b, amqpx.Run(ctx, url, func(s *amqpx.Session) error {
		if err := s.Confirm(false); err != nil {
			return err
		}
		returns := s.NotifyReturn(make(chan amqp.Return, batchSize))
		batch := func(n int) error {
			confirms := make([]*amqp.DeferredConfirmation, n)
			for i := range confirms {
				var err error
				if confirms[i], err = s.PublishDeferred(ctx, "", queue, msg); err != nil {
					return err
				}
			}
			for _, confirm := range confirms {
				if acked, err := confirm.WaitContext(ctx); err != nil || !acked || len(returns) > 0 {
					return errors.Join(amqpx.ErrNacked, err)
				}
			}
			return nil
		}
		if err := batch(warmUp); err != nil {
			return err
		}
		b.ResetTimer()
		for range n / batchSize {
			if err := batch(batchSize); err != nil {
				return err
			}
		}
		b.StopTimer()
		return nil
	}))
}

func batchesPlain(b *testing.B, url, queue string, n int, msg amqp.Publishing) {
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	ch := dial(b, url)
	check(b, ch.Confirm(false))
	returns := ch.NotifyReturn(make(chan amqp.Return, batchSize))
	batch := func(n int) {
		confirms := make([]*amqp.DeferredConfirmation, n)
		for i := range confirms {
			var err error
			confirms[i], err = ch.PublishWithDeferredConfirm("", queue, true, false, msg)
			check(b, err)
		}
		for _, confirm := range confirms {
			if acked, err := confirm.WaitContext(ctx); err != nil || !acked || len(returns) > 0 {
				b.Fatal("refused", err)
			}
		}
	}
	batch(warmUp)
	b.ResetTimer()
	for range n / batchSize {
		batch(batchSize)
	}
	b.StopTimer()
}

func asyncAmqpx(b *testing.B, url, queue string, n int, msg amqp.Publishing) {
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	warm, all := make(chan struct{}), make(chan struct{})
	var confirmed int
	var refused error
	p := amqpx.NewPublisher(ctx, url, window,
		func(*amqpx.Session) error { return nil }, // the queue is there
		func(_ amqp.Publishing, err error) {
			if err != nil {
				refused = err
			}
			switch confirmed++; confirmed {
			case warmUp:
				close(warm)
			case warmUp + n:
				close(all)
			}
		})
	for i := range warmUp + n {
		if i == warmUp {
			<-warm
			b.ResetTimer()
		}
		check(b, p.Publish("", queue, msg))
	}
	<-all
	b.StopTimer()
	check(b, p.Close())
	check(b, refused)
}

// asyncPlain has one goroutine publish and another wait for the confirms in order. Messages
// have ids, as only these tell which message the broker has returned.
func asyncPlain(b *testing.B, url, queue string, n int, msg amqp.Publishing) {
	type outgoing struct {
		msg     amqp.Publishing
		confirm *amqp.DeferredConfirmation
	}
	ch := dial(b, url)
	check(b, ch.Confirm(false))
	returns := ch.NotifyReturn(make(chan amqp.Return, window))
	inFlight := make(chan outgoing, window)
	warm, all := make(chan struct{}), make(chan struct{})
	var refused []string
	go func() {
		returned := make(map[string]bool)
		for confirmed := 1; confirmed <= warmUp+n; confirmed++ {
			out := <-inFlight
			acked := out.confirm.Wait()
			for len(returns) > 0 {
				r := <-returns
				returned[r.MessageId] = true
			}
			if !acked || returned[out.msg.MessageId] {
				refused = append(refused, out.msg.MessageId)
			}
			if confirmed == warmUp {
				close(warm)
			}
		}
		close(all)
	}()
	for i := range warmUp + n {
		if i == warmUp {
			<-warm
			b.ResetTimer()
		}
		msg := msg
		msg.MessageId = strconv.Itoa(i)
		confirm, err := ch.PublishWithDeferredConfirm("", queue, true, false, msg)
		check(b, err)
		inFlight <- outgoing{msg, confirm} // waits while the window is full
	}
	<-all
	b.StopTimer()
	if len(refused) > 0 {
		b.Fatal("refused: ", refused)
	}
}
