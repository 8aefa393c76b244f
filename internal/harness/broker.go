// Package harness gives tests a real RabbitMQ, as net/http/httptest gives them a real server. It also
// runs the programs of the lessons as a learner does in a terminal, for the tests and for the demos.
//
// NewVhost is for most tests: a virtual host of the test's own, on the broker that `make test`
// started for all of them. Tests run in parallel on it and never see each other's queues.
//
//	vhost := harness.NewVhost(t)
//	conn, err := amqp.Dial(vhost.URL)
//
// StartBroker is for tests that stop, kill or freeze a broker: a node of the test's own.
//
//	broker := harness.StartBroker(t)
//	broker.Kill()
//	broker.Up()
//
// The harness removes both when the test ends. If something in it fails, it fails the test.
package harness

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"testing"
	"time"

	"rabbitmq-tutorial/internal/broker"
)

// Broker is a running RabbitMQ: the one that all tests share, or one of a test's own.
type Broker struct {
	t      testing.TB
	node   *broker.Node
	shared bool
}

// SharedBroker returns the broker that `make test` started for all tests. A test may ask it and
// rabbitmqctl for information, but must not stop it.
func SharedBroker(t testing.TB) *Broker {
	t.Helper()
	node, err := broker.Open(broker.Config{Dir: sharedDir(t)})
	if err != nil {
		t.Fatal(err)
	}
	return &Broker{t, node, true}
}

func sharedDir(t testing.TB) string {
	t.Helper()
	dir := os.Getenv("TEST_BROKER")
	if dir == "" {
		t.Fatal("TEST_BROKER names no broker: run `make test`, or scripts/test.sh with go test's arguments")
	}
	return dir
}

// StartBroker starts a broker for this test alone, waits until it answers (4 to 8 s), and removes it
// with its data when the test ends. change may change its configuration.
func StartBroker(t testing.TB, change ...func(*broker.Config)) *Broker {
	t.Helper()
	config := OwnConfig(t)
	for _, change := range change {
		change(&config)
	}
	node, err := broker.Open(config)
	if err != nil {
		t.Fatal(err)
	}
	removeAtEnd(t, node)
	b := &Broker{t, node, false}
	b.Up()
	return b
}

// OwnConfig returns the configuration of a broker for this test alone. BROKER, RABBITMQ_ROOT and
// BROKER_CONFIG choose its kind, as for `make test`.
func OwnConfig(t testing.TB) broker.Config {
	t.Helper()
	wish, err := broker.FromEnv()
	if err != nil {
		t.Fatal(err)
	}
	// The name begins like the shared broker's: if the run is interrupted, both are removed together.
	wish.Dir = sharedDir(t) + "-" + randomHex()
	wish.AMQPPort, wish.ManagementPort = 0, 0
	return wish.Config
}

func removeAtEnd(t testing.TB, node *broker.Node) {
	t.Cleanup(func() {
		if t.Failed() {
			log := chatter.ReplaceAll(node.Log(), nil)
			t.Logf("the log of %s ends:\n%s", node.Name(), log[max(0, len(log)-4000):])
		}
		if err := node.Destroy(context.Background()); err != nil {
			t.Errorf("remove the broker: %v", err)
		}
	})
}

// chatter matches what a broker logs when clients come and go.
var chatter = regexp.MustCompile(`(?m)^.*\[info\].*\b(accepting AMQP connection|authenticated|closing AMQP connection|client-provided name)\b.*\n`)

// URL returns the broker's AMQP URL, with guest's credentials and the default virtual host.
func (b *Broker) URL() string { return b.node.URL() }

// ManagementURL returns the URL of the broker's management API, with guest's credentials.
func (b *Broker) ManagementURL() string { return b.node.ManagementURL() }

// TLSPort returns the port where a broker speaks TLS that is configured to do so.
func (b *Broker) TLSPort() int { return b.node.TLSPort }

// SaveQueues makes the broker write its table of quorum queues to the disk. By itself, RabbitMQ (3.10
// and 4.3) does so up to a second after it has declared a quorum queue. If it is killed before that,
// it loses what is in the queue, confirmed or not. Call SaveQueues between a declaration and Kill,
// unless that loss is what you test.
func (b *Broker) SaveQueues() {
	b.t.Helper()
	b.Ctl("eval", "ok = dets:sync(ra_directory_reverse).")
}

// Stop shuts the broker down in order, as make down does; its data stays.
func (b *Broker) Stop() { b.t.Helper(); b.own((*broker.Node).Stop) }

// Kill ends the broker as kill -9 does. Its clients see their connections reset.
func (b *Broker) Kill() { b.t.Helper(); b.own((*broker.Node).Kill) }

// Up starts the broker again after Stop or Kill, on its ports and with its data, and waits until it answers.
func (b *Broker) Up() { b.t.Helper(); b.own((*broker.Node).Start) }

// Pause freezes the broker: its connections stay open, and nothing answers on them.
func (b *Broker) Pause() { b.t.Helper(); b.own((*broker.Node).Pause) }

// Resume lets a frozen broker go on.
func (b *Broker) Resume() { b.t.Helper(); b.own((*broker.Node).Resume) }

// own calls do with the test's own broker.
func (b *Broker) own(do func(*broker.Node, context.Context) error) {
	b.t.Helper()
	if b.shared {
		b.t.Fatal("all tests share this broker: start one for this test")
	}
	if err := do(b.node, context.Background()); err != nil {
		b.t.Fatal(err)
	}
}

// Ctl runs rabbitmqctl on the broker (about half a second) and returns what it prints.
func (b *Broker) Ctl(args ...string) string {
	b.t.Helper()
	out, err := b.node.Ctl(context.Background(), args...)
	if err != nil {
		b.t.Fatal(err)
	}
	return out
}

func randomHex() string { return fmt.Sprintf("%08x", rand.Uint32()) }

// Eventually waits until condition holds, and fails the test if it does not within timeout. what
// describes the condition. Eventually pauses for 20 ms between two checks.
func Eventually(t testing.TB, timeout time.Duration, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(timeout); !condition(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("after %v still not: %s", timeout, what)
		}
	}
}
