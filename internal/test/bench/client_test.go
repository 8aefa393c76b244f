package bench_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"rabbitmq-tutorial/internal/harness"
)

// A client is a process that publishes and consumes: testdata/client says how. It measures each run
// by itself.
type client struct {
	by    string
	share int // it gets this part of the messages: a slow client needs no more for a good figure
	stdin io.Writer
	lines *bufio.Scanner
	pid   int
}

// start starts a client and returns it with what it calls itself.
func start(b *testing.B, by string, share int, url string, command ...string) (c *client, version string) {
	b.Helper()
	cmd := exec.CommandContext(b.Context(), command[0], command[1:]...) // ends with b
	cmd.Env = append(os.Environ(), "AMQP_URL="+url)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	check(b, err)
	stdout, err := cmd.StdoutPipe()
	check(b, err)
	check(b, cmd.Start())
	b.Cleanup(func() { cmd.Wait() })
	c = &client{by, share, stdin, bufio.NewScanner(stdout), cmd.Process.Pid}
	if !c.lines.Scan() {
		b.Fatalf("%q does not start", command)
	}
	return c, c.lines.Text()
}

// golang starts testdata/client.
func golang(b *testing.B, by, url string) *client {
	b.Helper()
	c, _ := start(b, by, 1, url, harness.Path("client"), by)
	return c
}

// clients starts those in Go, and of those in other languages all that can run here.
func clients(b *testing.B, url string) []*client {
	b.Helper()
	all := []*client{golang(b, "amqpx", url), golang(b, "plain", url)}
	for _, peer := range []struct {
		by, language, program string
		share                 int
	}{
		{"amqplib", "node", "peer.js", 1}, {"java", "java", "Peer.java", 1}, {"pika", "python", "peer.py", 4},
	} {
		command, err := exec.Command("../../../scripts/interop.sh", peer.language).Output()
		if err != nil {
			fmt.Printf("%s: %[1]s is left out, as it is not on this machine\n", peer.by)
			continue
		}
		c, version := start(b, peer.by, peer.share, url, append(strings.Fields(string(command)), "peers/"+peer.program)...)
		fmt.Printf("%s: %s\n", peer.by, version)
		all = append(all, c)
	}
	return all
}

// A run is what a client has measured.
type run struct {
	n                   int
	seconds, cpu, began float64 // began is not known of clients in other languages
}

// begin begins a run. The format and its arguments say what follows the number of messages.
func (c *client) begin(b *testing.B, role, queue string, n int, format string, args ...any) (end func() run) {
	b.Helper()
	_, err := fmt.Fprintf(c.stdin, "%s %s %d %s\n", role, queue, n, fmt.Sprintf(format, args...))
	check(b, err)
	return func() run {
		b.Helper()
		r := run{n: n}
		if !c.lines.Scan() {
			b.Fatalf("%s has ended", c.by)
		}
		if n, err := fmt.Sscan(c.lines.Text(), &r.seconds, &r.cpu, &r.began); n < 2 {
			b.Fatal(err)
		}
		return r
	}
}

func (c *client) publish(b *testing.B, queue string, n, size, window int) run {
	b.Helper()
	return c.begin(b, "publish", queue, n, "%d %d", size, window)()
}

func (c *client) consume(b *testing.B, queue string, n, prefetch int, ack string) run {
	b.Helper()
	return c.begin(b, "consume", queue, n, "%d %s", prefetch, ack)()
}

func (r run) report(b *testing.B) {
	b.ReportMetric(float64(r.n)/r.seconds, "msg/s")
	b.ReportMetric(r.cpu/float64(r.n)*1e6, "µs/msg")
	b.ReportMetric(0, "ns/op") // an operation is many messages, so its time would be misread
}

// compare has the clients do the same work, again and again in turn. They first do some of it
// unmeasured, because all is slower at first, above all in Java.
func compare(b *testing.B, clients []*client, n int, work func(c *client, n int) run) {
	b.Helper()
	var twins []twin
	for _, c := range clients {
		work(c, max(1, n/2/c.share))
		twins = append(twins, twin{c.by, func(b *testing.B) { work(c, max(1, n/c.share)).report(b) }})
	}
	for range *rounds {
		inTurn(b, twins...)
	}
}

// BenchmarkPublish publishes persistent, mandatory messages to a quorum queue, from one goroutine. At most a
// window of messages is on its way without a confirm.
func BenchmarkPublish(b *testing.B) {
	vhost := harness.NewVhost(b)
	clients := clients(b, vhost.URL)
	for _, c := range []struct{ window, size, n int }{
		{1, 10, 500}, {1, 1_000, 500}, {1, 100_000, 200},
		{100, 10, 12_000}, {100, 1_000, 10_000}, {100, 100_000, 500},
		{1000, 10, 40_000}, {1000, 1_000, 20_000}, {1000, 100_000, 1_000},
	} {
		b.Run(fmt.Sprintf("window=%d/bytes=%d", c.window, c.size), func(b *testing.B) {
			queue, ch := declare(b, vhost)
			compare(b, clients, c.n, func(client *client, n int) run {
				_, err := ch.QueuePurge(queue, false)
				check(b, err)
				return client.publish(b, queue, n, c.size, c.window)
			})
		})
	}
}

// BenchmarkPublishers does the same from many goroutines of one client. Each publishes a message, waits for
// its confirm, and goes on with the next, as lesson 7's asynchronous way does.
func BenchmarkPublishers(b *testing.B) {
	vhost := harness.NewVhost(b)
	clients := []*client{golang(b, "amqpx", vhost.URL), golang(b, "plain", vhost.URL)}
	for _, c := range []struct{ goroutines, n int }{{10, 4_000}, {100, 12_000}, {1000, 20_000}} {
		b.Run(fmt.Sprintf("goroutines=%d", c.goroutines), func(b *testing.B) {
			queue, ch := declare(b, vhost)
			compare(b, clients, c.n, func(client *client, n int) run {
				_, err := ch.QueuePurge(queue, false)
				check(b, err)
				return client.begin(b, "publishers", queue, n, "%d %d", 10, c.goroutines)()
			})
		})
	}
}

// BenchmarkConsume empties a quorum queue of messages of 10 bytes, from basic.consume until the broker
// has the last acknowledgement. With automatic acknowledgement the broker ignores the prefetch.
func BenchmarkConsume(b *testing.B) {
	vhost := harness.NewVhost(b)
	clients := clients(b, vhost.URL)
	publisher := golang(b, "amqpx", vhost.URL)
	for _, c := range []struct {
		prefetch, n int
		ack         string
	}{
		{1, 500, "each"}, {30, 8_000, "each"}, {1000, 60_000, "each"}, {1000, 80_000, "automatic"},
	} {
		b.Run(fmt.Sprintf("prefetch=%d/ack=%s", c.prefetch, c.ack), func(b *testing.B) {
			queue, _ := declare(b, vhost)
			compare(b, clients, c.n, func(client *client, n int) run {
				publisher.publish(b, queue, n, 10, 1000)
				return client.consume(b, queue, n, c.prefetch, c.ack)
			})
		})
	}
}
