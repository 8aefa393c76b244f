package bench_test

import (
	"slices"
	"testing"
	"time"

	"rabbitmq-tutorial/internal/harness"
)

// BenchmarkSend runs cmd/send from start to end, and a program that publishes the same message
// without waiting for its confirm.
func BenchmarkSend(b *testing.B) {
	const runs = 41 // a single run may be slow by chance
	vhost := harness.NewVhost(b)
	harness.Run(b, vhost.URL, 0, "send") // now the queue exists
	run := func(name string) func(*testing.B) {
		return func(b *testing.B) {
			var took []time.Duration
			for range runs {
				start := time.Now()
				harness.Run(b, vhost.URL, 0, name)
				took = append(took, time.Since(start))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[runs/2])/float64(time.Millisecond), "ms/run")
			b.ReportMetric(0, "ns/op")
		}
	}
	inTurn(b, twin{"amqpx", run("send")}, twin{"plain", run("plain_send")})
}
