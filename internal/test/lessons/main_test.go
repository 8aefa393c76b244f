// Package lessons tests the programs of the lessons as a learner meets them:
// built, started with arguments, and watched through what they print and through
// what the broker then holds.
package lessons_test

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"go.uber.org/goleak"

	"rabbitmq-tutorial/internal/harness"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(programs{m}) }

// programs is the tests, which need the built programs.
type programs struct{ *testing.M }

func (p programs) Run() int {
	// The tests wait for processes more than they compute: more of them than there
	// are processors can run side by side.
	flag.Set("test.parallel", "12")
	flag.Parse() // -parallel has the last word
	return harness.Main(p.M)
}

// soon is long enough for what the broker does at once; its figures lag behind
// by a second or two.
const soon = 20 * time.Second

// The first line of each consumer: it has declared and bound all it needs, and
// consumes.
const (
	waitingForMessages = " [*] Waiting for messages. To exit press CTRL+C"
	waitingForLogs     = " [*] Waiting for logs. To exit press CTRL+C"
	awaitingRequests   = " [x] Awaiting RPC requests"
)

// publishers end by themselves. With these arguments they publish their default.
var publishers = map[string][]string{
	"send":            nil,
	"new_task":        nil,
	"emit_log":        nil,
	"emit_log_direct": nil,
	"emit_log_topic":  nil,
}

// consumers run until they are stopped, and print their line when they are ready.
var consumers = map[string]struct {
	args  []string
	ready string
}{
	"receive":             {nil, waitingForMessages},
	"worker":              {nil, waitingForMessages},
	"receive_logs":        {nil, waitingForLogs},
	"receive_logs_direct": {[]string{"info"}, waitingForLogs},
	"receive_logs_topic":  {[]string{"#"}, waitingForLogs},
	"rpc_server":          {nil, awaitingRequests},
}

// startConsumer starts a consumer and waits until it consumes.
func startConsumer(t testing.TB, url, name string, args ...string) *harness.Process {
	t.Helper()
	p := harness.Start(t, url, name, args...)
	p.Await(consumers[name].ready)
	return p
}

// wantStdout compares all that the program has printed to stdout.
func wantStdout(t testing.TB, p *harness.Process, want ...string) {
	t.Helper()
	if got := p.Stdout(); !slices.Equal(got, want) {
		t.Errorf("stdout is\n%.1000q\nwant\n%.1000q", got, want)
	}
}

// wantStderr compares all that the program has printed to stderr. That it took
// half a second to stop may be the machine's fault.
func wantStderr(t testing.TB, p *harness.Process, want ...string) {
	t.Helper()
	got := slices.DeleteFunc(p.Stderr(), func(line string) bool {
		return line == stillBusy && !slices.Contains(want, line)
	})
	if !slices.Equal(got, want) {
		t.Errorf("stderr is\n%.1000q\nwant\n%.1000q", got, want)
	}
}

// connect opens a connection of a program that is none of ours.
func connect(t testing.TB, url string) *amqp.Connection {
	t.Helper()
	conn, err := amqp.Dial(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// channel opens a channel, in confirm mode, on a connection of its own.
func channel(t testing.TB, url string) *amqp.Channel {
	t.Helper()
	ch, err := connect(t, url).Channel()
	if err == nil {
		err = ch.Confirm(false)
	}
	if err != nil {
		t.Fatal(err)
	}
	return ch
}

// publish publishes a message and waits for the confirm.
func publish(t testing.TB, ch *amqp.Channel, exchange, key string, msg amqp.Publishing) {
	t.Helper()
	confirm, err := ch.PublishWithDeferredConfirm(exchange, key, false, false, msg)
	if err != nil {
		t.Fatal(err)
	}
	if !confirm.Wait() {
		t.Fatalf("publish to %q %q: refused", exchange, key)
	}
}

// text is a plain message.
func text(body string) amqp.Publishing { return amqp.Publishing{Body: []byte(body)} }

// declareQueue declares a lesson's queue exactly as the wire contract has it.
func declareQueue(t testing.TB, ch *amqp.Channel, name string) {
	t.Helper()
	_, err := ch.QueueDeclare(name, true, false, false, false, amqp.Table{"x-queue-type": "quorum"})
	if err != nil {
		t.Fatal(err)
	}
}

// awaitReady waits until the queue holds so many messages that no consumer has.
func awaitReady(t testing.TB, v *harness.Vhost, queue string, want int) {
	t.Helper()
	harness.Eventually(t, soon, fmt.Sprintf("%d messages ready in %s", want, queue),
		func() bool { return v.Queue(queue).Ready == want })
}

// get takes the next message out of the queue.
func get(t testing.TB, ch *amqp.Channel, queue string) amqp.Delivery {
	t.Helper()
	d, ok, err := ch.Get(queue, true)
	if err != nil || !ok {
		t.Fatalf("get from %s: %v, %v", queue, ok, err)
	}
	return d
}

// environ is the environment with the broker's URL, for programs that a test
// starts by other means than harness.Start.
func environ(url string) []string {
	env := slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "AMQP_URL=") })
	return append(env, "AMQP_URL="+url)
}

// awaitHeld waits until the broker reports so many messages of the queue as ready
// and so many as delivered and not acknowledged.
func awaitHeld(t testing.TB, v *harness.Vhost, queue string, ready, unacked int) {
	t.Helper()
	harness.Eventually(t, soon, fmt.Sprintf("%s has %d messages ready, %d unacknowledged", queue, ready, unacked),
		func() bool { q := v.Queue(queue); return q.Ready == ready && q.Unacked == unacked })
}

// awaitTemporaryQueue waits for a queue that the broker has named, and returns its
// name.
func awaitTemporaryQueue(t testing.TB, v *harness.Vhost) (name string) {
	t.Helper()
	harness.Eventually(t, soon, "there is a temporary queue", func() bool {
		for _, queue := range v.Queues() {
			if strings.HasPrefix(queue, "amq.gen-") {
				name = queue
			}
		}
		return name != ""
	})
	return name
}
