package bench_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"rabbitmq-tutorial/internal/harness"
)

// BenchmarkDispatch measures how long two workers take from the first task to the last "Done". The
// odd tasks are heavy (four dots), the even ones light (one dot). At best, each worker does half of
// the work.
func BenchmarkDispatch(b *testing.B) {
	const (
		tasks = 16
		unit  = 100 * time.Millisecond
		best  = (tasks/2*4 + tasks/2*1) * unit / 2
	)
	run := func(prefetch int) func(*testing.B) {
		return func(b *testing.B) {
			b.StopTimer()
			for range b.N {
				dispatch(b, prefetch, unit, tasks)
			}
			b.ReportMetric(b.Elapsed().Seconds()/float64(b.N), "s/run")
			b.ReportMetric(float64(b.Elapsed())/float64(b.N)/float64(best), "x-best")
			b.ReportMetric(0, "ns/op")
		}
	}
	b.Run("prefetch=1", run(1))
	b.Run("prefetch=0", run(0))
}

func dispatch(b *testing.B, prefetch int, unit time.Duration, tasks int) {
	b.Helper()
	vhost := harness.NewVhost(b)
	workers := make([]*harness.Process, 2)
	for i := range workers {
		workers[i] = harness.StartConsumer(b, vhost.URL, "worker",
			fmt.Sprintf("-prefetch=%d", prefetch), fmt.Sprintf("-unit=%v", unit))
	}

	bodies := slices.Repeat([]string{"....", "."}, tasks/2)
	ch := harness.Channel(b, vhost.URL)
	b.StartTimer()
	harness.Publish(b, ch, "", "task_queue", bodies...)
	harness.Eventually(b, time.Minute, "all tasks are done", func() bool {
		done := 0
		for _, worker := range workers {
			done += strings.Count(worker.Output(), "Done")
		}
		return done == tasks
	})
	b.StopTimer()
	for _, worker := range workers {
		worker.Stop()
	}
}
