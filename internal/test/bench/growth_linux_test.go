package bench_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"rabbitmq-tutorial/internal/harness"
)

// BenchmarkGrowth measures time and memory as one thing grows, with everything else as in
// BenchmarkPublish and BenchmarkConsume: windows and prefetches of 1000, and messages of 10 bytes.
func BenchmarkGrowth(b *testing.B) {
	vhost := harness.NewVhost(b)
	growMessages(b, vhost)
	for _, size := range []int{10, 100, 1_000, 10_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprintf("bytes=%d", size), func(b *testing.B) {
			queue, _ := declare(b, vhost)
			n := min(20_000, 100_000_000/size)
			inTurn(b,
				twin{"amqpx", func(b *testing.B) { publishers(b, 1, "amqpx", vhost.URL, queue, n, size) }},
				twin{"plain", func(b *testing.B) { publishers(b, 1, "plain", vhost.URL, queue, n, size) }})
		})
	}
	for _, count := range []int{1, 2, 4, 8} {
		b.Run(fmt.Sprintf("publishers=%d", count), func(b *testing.B) {
			queue, _ := declare(b, vhost)
			inTurn(b,
				twin{"amqpx", func(b *testing.B) { publishers(b, count, "amqpx", vhost.URL, queue, 15_000, 10) }},
				twin{"plain", func(b *testing.B) { publishers(b, count, "plain", vhost.URL, queue, 15_000, 10) }})
		})
	}
	for _, count := range []int{1, 10, 100, 1000} {
		b.Run(fmt.Sprintf("sessions=%d", count), func(b *testing.B) {
			queue, _ := declare(b, vhost)
			inTurn(b,
				twin{"amqpx", func(b *testing.B) { sessions(b, count, openUnwatched, vhost.URL, queue) }},
				twin{"plain", func(b *testing.B) { sessions(b, count, openPlain, vhost.URL, queue) }})
		})
	}
}

// growMessages lets a queue grow. At each step it measures a publisher that has published all of it
// so far, a consumer, and the program worker.
func growMessages(b *testing.B, vhost *harness.Vhost) {
	const queue, taken = "task_queue", 5000
	harness.DeclareQueue(b, dial(b, vhost.URL), queue)
	publisher := golang(b, "amqpx", vhost.URL)
	have := 0
	for _, count := range []int{10_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprintf("messages=%d/program=publisher", count), func(b *testing.B) {
			publisher.publish(b, queue, count-have, 10, 1000).report(b)
			b.ReportMetric(peak(b, publisher.pid), "peak-MiB")
		})
		b.Run(fmt.Sprintf("messages=%d/program=consumer", count), func(b *testing.B) {
			consumer := golang(b, "amqpx", vhost.URL)
			consumer.consume(b, queue, taken, 1000, "each").report(b)
			b.ReportMetric(peak(b, consumer.pid), "peak-MiB")
		})
		have = count - taken
		b.Run(fmt.Sprintf("messages=%d/program=worker", count), func(b *testing.B) {
			worker := harness.Start(b, vhost.URL, "worker")
			start := time.Now()
			for range 500 {
				worker.Await("Done")
			}
			b.ReportMetric(500/time.Since(start).Seconds(), "msg/s")
			b.ReportMetric(peak(b, worker.Pid()), "peak-MiB")
			b.ReportMetric(0, "ns/op")
			worker.Stop()
		})
		have -= 500
	}
}

// publishers measures several publishers side by side, each a process.
func publishers(b *testing.B, count int, by, url, queue string, n, size int) {
	b.Helper()
	all := make([]*client, count)
	ends := make([]func() run, count)
	for i := range all {
		all[i] = golang(b, by, url)
		all[i].publish(b, queue, 1, size, 1) // it is ready
	}
	for i, c := range all {
		ends[i] = c.begin(b, "publish", queue, n, "%d 1000", size)
	}
	var rate, cpu, memory float64
	for i, c := range all {
		r := ends[i]()
		rate += float64(n) / r.seconds
		cpu += r.cpu
		memory += peak(b, c.pid)
	}
	b.ReportMetric(rate, "msg/s")
	b.ReportMetric(cpu/float64(n*count)*1e6, "µs/msg")
	b.ReportMetric(memory, "peak-MiB")
	b.ReportMetric(0, "ns/op")
}

// sessions measures what each of many consumers costs, with a connection of its own in one process.
func sessions(b *testing.B, count int, open func(b *testing.B, url, queue string) (close func()), url, queue string) {
	b.Helper()
	memory := func() float64 { // what is in use
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return float64(m.HeapInuse + m.StackInuse)
	}
	memoryBefore, goroutinesBefore, start := memory(), runtime.NumGoroutine(), time.Now()
	for range count {
		defer open(b, url, queue)()
	}
	took := time.Since(start)
	b.ReportMetric(float64(took)/float64(time.Millisecond)/float64(count), "ms/session")
	b.ReportMetric((memory()-memoryBefore)/1000/float64(count), "kB/session")
	b.ReportMetric(float64(runtime.NumGoroutine()-goroutinesBefore)/float64(count), "goroutines/session")
	b.ReportMetric(0, "ns/op")
}

func openUnwatched(b *testing.B, url, queue string) (close func()) {
	return openAmqpx(b, url, queue, func(int64) {})
}

func openPlain(b *testing.B, url, queue string) (close func()) {
	conn, err := amqp.Dial(url)
	check(b, err)
	ch, err := conn.Channel()
	check(b, err)
	_, err = ch.Consume(queue, "", false, false, false, false, nil)
	check(b, err)
	return func() { conn.Close() }
}

// peak is the most memory that a process has had resident, in MiB.
func peak(b *testing.B, pid int) float64 {
	b.Helper()
	status, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	check(b, err)
	m := regexp.MustCompile(`(?m)^VmHWM:\s+(\d+) kB$`).FindSubmatch(status)
	if m == nil {
		b.Fatalf("no VmHWM in %q", status)
	}
	kB, err := strconv.ParseFloat(string(m[1]), 64)
	check(b, err)
	return kB / 1024
}
