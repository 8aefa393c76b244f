// Package faults_test breaks the broker, the connection and the programs themselves. The
// name of each test says what must happen then. Some tests have a short form, which runs
// with all other tests; -soak runs the full one.
package faults_test

import (
	"flag"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"go.uber.org/goleak"

	"rabbitmq-tutorial/internal/harness"
)

var soak = flag.Bool("soak", false, "run the fault tests at full size, which takes minutes")

func TestMain(m *testing.M) {
	flag.Set("test.parallel", "8") // these tests mostly wait
	goleak.VerifyTestMain(m, proxyLeaks...)
}

// size returns the short or the full size of a test.
func size(short, full int) int {
	if *soak {
		return full
	}
	return short
}

// lifetime is how long a connection may stay silent: one and a half intervals of
// the heartbeat, two at most.
const (
	heartbeat = "heartbeat=2"
	lifetime  = 2 * 2 * time.Second
)

// dialTimeout bounds the log-in; slack is what a busy machine may add.
const (
	dialTimeout = 5 * time.Second
	slack       = 2 * time.Second
)

// deliver publishes a message, a small number, and waits until the consumer has
// printed it.
func deliver(t testing.TB, ch *amqp.Channel, c harness.Consumer, p *harness.Process, message string) {
	t.Helper()
	harness.PublishMessages(t, ch, c.Exchange, c.Key, forAll(message))
	p.Await(c.Prints + message)
}

// forAll returns a message that every consumer understands, if the body is a small number.
func forAll(body string) amqp.Publishing {
	return amqp.Publishing{
		Body:    []byte(body),
		ReplyTo: "nobody",                   // for rpc_server
		Headers: amqp.Table{"n": int32(10)}, // for pipeline_collect
	}
}

// wantStderr waits for a line on stderr, wherever it stands among the others.
func wantStderr(t testing.TB, p *harness.Process, text string) {
	t.Helper()
	harness.Eventually(t, 10*time.Second, "a line on stderr: "+text, func() bool {
		return strings.Contains(strings.Join(p.Stderr(), "\n"), text)
	})
}
