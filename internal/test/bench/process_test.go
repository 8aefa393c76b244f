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
	vhost := harness.NewVhost(b)
	harness.Run(b, vhost.URL, 0, "send") // now the queue exists
	run := func(name string) func(*testing.B) {
		return func(b *testing.B) {
			var took []time.Duration
			for range runs * b.N {
				start := time.Now()
				harness.Run(b, vhost.URL, 0, name)
				took = append(took, time.Since(start))
			}
			reportMedian(b, took)
		}
	}
	inTurn(b, twin{"amqpx", run("send")}, twin{"plain", run("plain_send")})
}

// BenchmarkReceive starts a consumer and waits until it says that it waits for messages.
func BenchmarkReceive(b *testing.B) {
	vhost := harness.NewVhost(b)
	harness.Run(b, vhost.URL, 0, "send")
	run := func(name string) func(*testing.B) {
		return func(b *testing.B) {
			var took []time.Duration
			for range runs * b.N {
				start := time.Now()
				receive := harness.Start(b, vhost.URL, name)
				receive.Await("Waiting for messages")
				took = append(took, time.Since(start))
				receive.Kill()
			}
			reportMedian(b, took)
		}
	}
	inTurn(b, twin{"amqpx", run("receive")}, twin{"plain", run("plain_receive")})
}

// runs is odd, so that the median is one of the runs. A single run may be slow by chance.
const runs = 41

func reportMedian(b *testing.B, took []time.Duration) {
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2])/float64(time.Millisecond), "ms/run")
	b.ReportMetric(0, "ns/op")
}
