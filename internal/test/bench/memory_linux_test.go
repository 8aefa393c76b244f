package bench_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"rabbitmq-tutorial/internal/harness"
)

// BenchmarkMemory measures the memory of an asynchronous publisher that has published many
// messages, and of a worker that takes some of them out.
func BenchmarkMemory(b *testing.B) {
	vhost := harness.NewVhost(b)
	counts := []string{"10000", "100000", "1000000"}
	publisher := exec.Command(harness.Path("publisher"), counts...)
	publisher.Env = append(os.Environ(), "AMQP_URL="+vhost.URL)
	publisher.Stderr = os.Stderr
	stdin, err := publisher.StdinPipe()
	check(b, err)
	stdout, err := publisher.StdoutPipe()
	check(b, err)
	check(b, publisher.Start())
	defer publisher.Process.Kill()

	reached := bufio.NewScanner(stdout)
	for _, count := range counts {
		if !reached.Scan() || reached.Text() != count {
			b.Fatalf("the publisher printed %q, not %s", reached.Text(), count)
		}
		b.Run("program=publisher/queued="+count, func(b *testing.B) {
			reportMemory(b, publisher.Process.Pid)
		})
		b.Run("program=worker/queued="+count, func(b *testing.B) {
			worker := harness.Start(b, vhost.URL, "worker")
			for range 500 {
				worker.Await("Done")
			}
			reportMemory(b, worker.Pid())
			worker.Stop()
		})
		fmt.Fprintln(stdin)
	}
	check(b, publisher.Wait())
}

// reportMemory reports a process's resident memory, now and at its peak.
func reportMemory(b *testing.B, pid int) {
	b.Helper()
	status, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	check(b, err)
	for _, m := range regexp.MustCompile(`(?m)^Vm(RSS|HWM):\s+(\d+) kB$`).FindAllSubmatch(status, -1) {
		kB, err := strconv.ParseFloat(string(m[2]), 64)
		check(b, err)
		b.ReportMetric(kB/1024, map[string]string{"RSS": "resident-MiB", "HWM": "peak-MiB"}[string(m[1])])
	}
	b.ReportMetric(0, "ns/op")
}
