// Package harness gives tests a real RabbitMQ, as net/http/httptest gives them a real server, and
// runs the programs of the lessons as a learner does in a terminal. The demos run them with it as well.
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
// Both are gone when the test ends. What goes wrong ends the test.
package harness

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"rabbitmq-tutorial/internal/broker"
)

// Broker is a running RabbitMQ: the one that all tests share, or one of a test's own.
type Broker struct {
	t          testing.TB
	amqpURL    string
	management string       // URL of the management API, with its credentials
	node       *broker.Node // of the broker that all tests share: nil if `make test` did not start it
	shared     bool
}

// SharedBroker returns the broker that `make test` started. It is everybody's: a test may look at it
// and ask rabbitmqctl about it, but not stop it.
func SharedBroker(t testing.TB) *Broker {
	t.Helper()
	b := &Broker{
		t:          t,
		amqpURL:    os.Getenv("TEST_AMQP_URL"),
		management: strings.TrimSuffix(os.Getenv("TEST_MANAGEMENT_URL"), "/"),
		shared:     true,
	}
	if b.amqpURL == "" || b.management == "" {
		t.Fatal("TEST_AMQP_URL and TEST_MANAGEMENT_URL name no broker: run `make test`")
	}
	if dir := os.Getenv("TEST_BROKER"); dir != "" {
		node, err := broker.Open(broker.Config{Dir: dir})
		if err != nil {
			t.Fatalf("TEST_BROKER: %v", err)
		}
		b.node = node
	}
	return b
}

// An Option is for StartBroker.
type Option func(*broker.Config)

// Config adds lines to the broker's rabbitmq.conf.
func Config(lines ...string) Option {
	return func(c *broker.Config) { c.Lines = append(c.Lines, lines...) }
}

// TLS makes the broker speak TLS on a port of its own (Broker.TLSAddress). The folder dir holds
// its ca.pem, cert.pem and key.pem, readable for everybody. Config("ssl_options.verify =
// verify_peer", "ssl_options.fail_if_no_peer_cert = true") makes it ask for a client certificate.
func TLS(dir string) Option {
	return func(c *broker.Config) { c.TLS = dir }
}

// StartBroker starts a broker for this test alone, waits until it answers (4 to 8 s), and removes it
// with its data when the test ends. It is of the kind that `make test` uses: BROKER, RABBITMQ_ROOT
// and BROKER_CONFIG mean what they mean there.
func StartBroker(t testing.TB, opts ...Option) *Broker {
	t.Helper()
	wish, err := broker.FromEnv()
	if err != nil {
		t.Fatal(err)
	}
	config := wish.Config
	// The name says whose it is: what an interrupted test run leaves is removed with the shared broker.
	config.Dir = os.Getenv("TEST_BROKER")
	if config.Dir == "" {
		config.Dir = filepath.Join(filepath.Dir(wish.Dir), "test")
	}
	config.Dir += "-" + randomHex()
	config.AMQPPort, config.ManagementPort = 0, 0
	for _, option := range opts {
		option(&config)
	}
	node, err := broker.Open(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the broker's log ends:\n%s", logTail(node))
		}
		if err := node.Destroy(context.Background()); err != nil {
			t.Errorf("remove the broker: %v", err)
		}
	})
	if err := node.Start(context.Background()); err != nil {
		t.Fatalf("start a broker: %v", err)
	}
	return &Broker{t: t, amqpURL: node.URL(), management: node.ManagementURL(), node: node}
}

// URL returns the broker's AMQP URL, with guest's credentials and the default virtual host.
func (b *Broker) URL() string { return b.amqpURL }

// ManagementURL returns the URL of the broker's management API, with guest's credentials.
func (b *Broker) ManagementURL() string { return b.management }

// TLSAddress returns the host and port where a broker with the option TLS speaks it.
func (b *Broker) TLSAddress() string { return fmt.Sprintf("localhost:%d", b.node.TLSPort) }

// SaveQueues has the broker write down which quorum queues it has. By itself RabbitMQ (3.10 and
// 4.3) does so up to a second after a quorum queue is declared, and a node that is killed before
// loses what is in the queue, confirmed or not. A test that kills a broker for another reason
// calls SaveQueues between its declarations and Kill.
func (b *Broker) SaveQueues() {
	b.t.Helper()
	b.Ctl("eval", "ok = dets:sync(ra_directory_reverse).")
}

// Kill ends the broker as kill -9 does. Its clients see their connections reset.
// See SaveQueues for quorum queues that were declared just before.
func (b *Broker) Kill() { b.t.Helper(); b.own((*broker.Node).Kill) }

// Stop shuts the broker down in order; it tells its clients. RabbitMQ 3.10 takes 6 s for it.
func (b *Broker) Stop() { b.t.Helper(); b.own((*broker.Node).Stop) }

// Up starts the broker again after Kill or Stop, on its ports and with its data, and waits
// until it answers.
func (b *Broker) Up() { b.t.Helper(); b.own((*broker.Node).Start) }

// Pause freezes the broker: its connections stay open, and nothing answers on them.
func (b *Broker) Pause() { b.t.Helper(); b.own((*broker.Node).Pause) }

// Resume lets a frozen broker go on.
func (b *Broker) Resume() { b.t.Helper(); b.own((*broker.Node).Resume) }

// own does something to a broker of the test's own.
func (b *Broker) own(do func(*broker.Node, context.Context) error) {
	b.t.Helper()
	if b.shared {
		b.t.Fatal("all tests share this broker: start one for this test")
	}
	if err := do(b.node, context.Background()); err != nil {
		b.t.Fatal(err)
	}
}

// Ctl runs rabbitmqctl on the broker and returns what it prints. It takes about half a second.
func (b *Broker) Ctl(args ...string) string {
	b.t.Helper()
	if b.node == nil {
		b.t.Fatal("TEST_BROKER names no broker that was started here: run `make test`")
	}
	out, err := b.node.Ctl(context.Background(), args...)
	if err != nil {
		b.t.Fatal(err)
	}
	return out
}

// logTail returns the end of a broker's log, but for the comings and goings of its clients.
func logTail(node *broker.Node) []byte {
	log := chatter.ReplaceAll(node.Log(), nil)
	return log[max(0, len(log)-4000):]
}

var chatter = regexp.MustCompile(`(?m)^.*\[info\].*\b(accepting AMQP connection|authenticated|closing AMQP connection|client-provided name)\b.*\n`)

func randomHex() string {
	b := make([]byte, 4)
	rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// Eventually waits until condition holds, and ends the test when it does not within timeout.
// what says what was waited for. It asks every 20 ms; a condition may take longer to answer.
func Eventually(t testing.TB, timeout time.Duration, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(timeout)
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for !condition() {
		if time.Now().After(deadline) {
			t.Fatalf("after %v still not: %s", timeout, what)
		}
		<-ticker.C
	}
}

// withPath returns an AMQP URL for a virtual host of the same broker, and for another user
// where one is given.
func withPath(t testing.TB, amqpURL string, user *url.Userinfo, vhost string) string {
	t.Helper()
	u, err := url.Parse(amqpURL)
	if err != nil {
		t.Fatal("TEST_AMQP_URL is not a URL") // without the cause: it repeats the password
	}
	if user != nil {
		u.User = user
	}
	u.Path = "/" + vhost
	return u.String()
}
