package bench_test

import (
	"errors"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"rabbitmq-tutorial/internal/amqpx"
	"rabbitmq-tutorial/internal/harness"
	"rabbitmq-tutorial/internal/test/bench/latency"
)

// BenchmarkLatency measures how long a confirmed publish to a quorum queue takes.
func BenchmarkLatency(b *testing.B) {
	b.Run("of=confirm", func(b *testing.B) {
		vhost := harness.NewVhost(b)
		queue, ch := declare(b, vhost)
		check(b, ch.Confirm(false))
		msg := amqp.Publishing{DeliveryMode: amqp.Persistent, ContentType: "text/plain", Body: []byte("0123456789")}
		returns := ch.NotifyReturn(make(chan amqp.Return, 1))
		plain := func() error {
			confirm, err := ch.PublishWithDeferredConfirm("", queue, true, false, msg)
			if err == nil && (!confirm.Wait() || len(returns) > 0) {
				err = errors.New("refused")
			}
			return err
		}
		ctx := b.Context()
		check(b, amqpx.Run(ctx, vhost.URL, func(s *amqpx.Session) error {
			latency.Compare(b, 1000, func() error {
				return s.PublishConfirmed(ctx, amqpx.Route{RoutingKey: queue, Mandatory: true}, msg)
			}, plain)
			return nil
		}))
	})
}
