// Package faults_test breaks what the programs stand on: the broker, the
// connection, the programs themselves. What must come out of it is in the name
// of each test. The short forms run with all other tests; -soak runs the full
// ones.
package faults_test

import (
	"flag"
	"strconv"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"go.uber.org/goleak"

	"rabbitmq-tutorial/internal/harness"
)

var soak = flag.Bool("soak", false, "run the fault tests at full size, which takes minutes")

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(programs{m}, proxyLeaks...)
}

// programs builds the programs before the tests run.
type programs struct{ *testing.M }

func (p programs) Run() int {
	flag.Parse()
	flag.Set("test.parallel", "8") // these tests wait more than they compute
	return harness.Main(p.M)
}

// size is the short or the full size of a test.
func size(short, full int) int {
	if *soak {
		return full
	}
	return short
}

// channel opens a plain connection with a channel on it, which ends with the test.
func channel(t *testing.T, url string) *amqp.Channel {
	t.Helper()
	conn, err := amqp.DialConfig(url, amqp.Config{Dial: amqp.DefaultDial(30 * time.Second)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	return ch
}

// declare declares a quorum queue, as the programs do.
func declare(t *testing.T, ch *amqp.Channel, queue string) {
	t.Helper()
	if _, err := ch.QueueDeclare(queue, true, false, false, false, amqp.Table{amqp.QueueTypeArg: amqp.QueueTypeQuorum}); err != nil {
		t.Fatal(err)
	}
}

// publish declares the queue, publishes persistent messages to it, and waits for
// their confirms.
func publish(t *testing.T, ch *amqp.Channel, queue string, bodies ...string) {
	t.Helper()
	declare(t, ch, queue)
	if err := ch.Confirm(false); err != nil {
		t.Fatal(err)
	}
	confirms := make([]*amqp.DeferredConfirmation, len(bodies))
	for i, body := range bodies {
		var err error
		confirms[i], err = ch.PublishWithDeferredConfirm("", queue, true, false, amqp.Publishing{
			DeliveryMode: amqp.Persistent,
			Body:         []byte(body),
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for i, confirm := range confirms {
		if !confirm.Wait() {
			t.Fatalf("%s was not confirmed", bodies[i])
		}
	}
}

// consume consumes from a queue, prefetch messages at a time.
func consume(t *testing.T, ch *amqp.Channel, queue string, prefetch int) <-chan amqp.Delivery {
	t.Helper()
	if err := ch.Qos(prefetch, 0, false); err != nil {
		t.Fatal(err)
	}
	deliveries, err := ch.Consume(queue, "", false, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	return deliveries
}

// next waits for the next delivery.
func next(t *testing.T, deliveries <-chan amqp.Delivery) amqp.Delivery {
	t.Helper()
	select {
	case d, ok := <-deliveries:
		if !ok {
			t.Fatal("the deliveries have ended")
		}
		return d
	case <-time.After(time.Minute):
		t.Fatal("no delivery within a minute")
	}
	panic("not reached")
}

// numbered returns n texts: prefix1, prefix2, ...
func numbered(prefix string, n int) []string {
	texts := make([]string, n)
	for i := range texts {
		texts[i] = prefix + strconv.Itoa(i+1)
	}
	return texts
}

// received returns the task that a worker's line tells of, and whether it was
// marked as redelivered.
func received(line string) (task string, redelivered, ok bool) {
	task, ok = strings.CutPrefix(line, " [x] Received ")
	task, redelivered = strings.CutSuffix(task, " (redelivered)")
	return task, redelivered, ok
}
