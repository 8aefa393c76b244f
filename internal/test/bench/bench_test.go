// Package bench_test measures amqpx and the programs on a real broker, each beside a twin
// that does the same work with plain amqp091-go. `make bench` runs it and holds the figures to
// the project's targets.
//
// One operation is a fixed amount of work, large enough to measure: run it with -benchtime 1x.
// The figure is the rate or the time in the benchmark's own unit. Twins run one right after the
// other, in random order, because a shared machine gets faster and slower.
package bench_test

import (
	"math/rand/v2"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"rabbitmq-tutorial/internal/harness"
)

// window is how many messages an asynchronous publisher has on their way.
const window = 1000

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

// reportRate reports n things per second of what the benchmark has timed.
func reportRate(b *testing.B, n int, unit string) {
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), unit)
	b.ReportMetric(0, "ns/op") // an operation is many messages, so its time would be misread
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

// declare makes an empty durable queue of a type ("quorum" or "classic") on the vhost.
func declare(b *testing.B, vhost *harness.Vhost, kind string) (queue string) {
	b.Helper()
	ch := dial(b, vhost.URL)
	_, err := ch.QueueDeclare("bench", true, false, false, false, amqp.Table{amqp.QueueTypeArg: kind})
	check(b, err)
	b.Cleanup(func() {
		_, err := ch.QueueDelete("bench", false, false, false)
		check(b, err)
	})
	return "bench"
}

// persistent returns a persistent message of size bytes.
func persistent(size int) amqp.Publishing {
	return amqp.Publishing{
		DeliveryMode: amqp.Persistent,
		ContentType:  "application/octet-stream",
		Body:         make([]byte, size),
	}
}

// deadline is how long anything here may take.
const deadline = 5 * time.Minute
