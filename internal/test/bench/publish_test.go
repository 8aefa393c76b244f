package bench_test

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
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
				{"batches", batchesAmqpx, batchesPlain, [3]int{10_000, 10_000, 1_000}},
				{"async", asyncAmqpx, asyncPlain, [3]int{50_000, 30_000, 2_000}},
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

// Each function first publishes a few messages that it does not measure, because connecting and
// the first message take longer.
const warmUp = 20

func oneByOneAmqpx(b *testing.B, url, queue string, n int, msg amqp.Publishing) {
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	check(b, amqpx.Run(ctx, url, func(s *amqpx.Session) error {
		for i := range warmUp + n {
			if i == warmUp {
				b.ResetTimer()
			}
			if err := s.PublishConfirmed(ctx, amqpx.Route{RoutingKey: queue, Mandatory: true}, msg); err != nil {
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

// batchesAmqpx has a goroutine for each message of a batch, as lesson 7 has.
func batchesAmqpx(b *testing.B, url, queue string, n int, msg amqp.Publishing) {
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	check(b, amqpx.Run(ctx, url, func(s *amqpx.Session) error {
		if err := sideBySide(ctx, s, queue, msg, warmUp, warmUp); err != nil {
			return err
		}
		b.ResetTimer()
		for range n / batchSize {
			if err := sideBySide(ctx, s, queue, msg, batchSize, batchSize); err != nil {
				return err
			}
		}
		b.StopTimer()
		return nil
	}))
}

// sideBySide publishes n messages from several goroutines.
func sideBySide(ctx context.Context, s *amqpx.Session, queue string, msg amqp.Publishing, n, goroutines int) error {
	var left atomic.Int64
	left.Store(int64(n))
	failures := make(chan error, goroutines)
	var publishers sync.WaitGroup
	for range goroutines {
		publishers.Go(func() {
			for left.Add(-1) >= 0 {
				if err := s.PublishConfirmed(ctx, amqpx.Route{RoutingKey: queue, Mandatory: true}, msg); err != nil {
					failures <- err
					return
				}
			}
		})
	}
	publishers.Wait()
	close(failures)
	return <-failures
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

// asyncAmqpx has a thousand goroutines that publish and wait, as lesson 7 has.
func asyncAmqpx(b *testing.B, url, queue string, n int, msg amqp.Publishing) {
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	check(b, amqpx.Run(ctx, url, func(s *amqpx.Session) error {
		if err := sideBySide(ctx, s, queue, msg, warmUp, warmUp); err != nil {
			return err
		}
		b.ResetTimer()
		err := sideBySide(ctx, s, queue, msg, n, window)
		b.StopTimer()
		return err
	}))
}

// asyncPlain publishes in one goroutine and waits for the confirms, in order, in another. Messages
// have ids, because only an id shows which message the broker has returned.
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
		inFlight <- outgoing{msg, confirm} // blocks while the window is full
	}
	<-all
	b.StopTimer()
	if len(refused) > 0 {
		b.Fatal("refused: ", refused)
	}
}
