// Package harness gives tests a real RabbitMQ, as net/http/httptest gives them a real server.
//
// NewVhost is for most tests: a virtual host of the test's own, on the broker that `make test`
// started for all of them. Tests run in parallel on it and never see each other's queues.
//
//	vhost := harness.NewVhost(t)
//	conn, err := amqp.Dial(vhost.URL)
//
// Start is for tests that stop, kill or freeze a broker: a node of the test's own, as
// scripts/broker.sh makes it.
//
//	broker := harness.StartBroker(t)
//	broker.Kill()
//	broker.Up()
//
// Both are gone when the test ends. What goes wrong ends the test.
package harness

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// Broker is a running RabbitMQ: the one that all tests share, or one of a test's own.
type Broker struct {
	t          testing.TB
	amqpURL    string
	management string   // URL of the management API, with its credentials
	tlsPort    int      // 0: no TLS
	env        []string // what tells scripts/broker.sh which broker is meant
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
		env:        os.Environ(),
		shared:     true,
	}
	if b.amqpURL == "" || b.management == "" {
		t.Fatal("TEST_AMQP_URL and TEST_MANAGEMENT_URL name no broker: run `make test`")
	}
	return b
}

// An Option is for StartBroker.
type Option func(*options)

type options struct {
	config []string
	tls    string
}

// Config adds lines to the broker's rabbitmq.conf.
func Config(lines ...string) Option {
	return func(o *options) { o.config = append(o.config, lines...) }
}

// TLS makes the broker speak TLS on a port of its own (Broker.TLSAddress). The folder dir holds
// its ca.pem, cert.pem and key.pem, readable for everybody. Config("ssl_options.verify =
// verify_peer", "ssl_options.fail_if_no_peer_cert = true") makes it ask for a client certificate.
func TLS(dir string) Option {
	return func(o *options) { o.tls = dir }
}

// StartBroker starts a broker for this test alone, waits until it answers (4 to 8 s), and removes it
// with its data when the test ends. It is of the kind that `make test` uses: BROKER and
// RABBITMQ_ROOT mean what they mean to scripts/broker.sh.
func StartBroker(t testing.TB, opts ...Option) *Broker {
	t.Helper()
	var o options
	for _, option := range opts {
		option(&o)
	}
	// Free ports can be lost to somebody else before the broker has them.
	for attempt := 1; ; attempt++ {
		b, err := startBroker(t, o)
		if err == nil {
			t.Cleanup(func() {
				if t.Failed() {
					t.Logf("the broker's log ends:\n%s", b.logTail())
				}
				b.script("destroy")
			})
			return b
		}
		if attempt == 3 || !errors.Is(err, errPortTaken) {
			t.Fatalf("start a broker: %v", err)
		}
	}
}

func startBroker(t testing.TB, o options) (*Broker, error) {
	t.Helper()
	ports := freePorts(t, 5)
	b := &Broker{
		t:          t,
		amqpURL:    fmt.Sprintf("amqp://guest:guest@localhost:%d/", ports[0]),
		management: fmt.Sprintf("http://guest:guest@localhost:%d", ports[1]),
	}
	// The name says whose it is: destroying the shared broker also destroys brokers that an
	// interrupted test run left.
	b.env = append(os.Environ(),
		"BROKER_NAME="+sharedName()+"-"+randomHex(),
		fmt.Sprintf("AMQP_PORT=%d", ports[0]),
		fmt.Sprintf("MANAGEMENT_PORT=%d", ports[1]),
		fmt.Sprintf("DIST_PORT=%d", ports[2]),
		fmt.Sprintf("ERL_EPMD_PORT=%d", ports[3]),
	)
	if o.tls != "" {
		b.tlsPort = ports[4]
		b.env = append(b.env, fmt.Sprintf("TLS_PORT=%d", b.tlsPort))
		o.config = append([]string{
			"ssl_options.cacertfile = " + filepath.Join(o.tls, "ca.pem"),
			"ssl_options.certfile = " + filepath.Join(o.tls, "cert.pem"),
			"ssl_options.keyfile = " + filepath.Join(o.tls, "key.pem"),
		}, o.config...)
	}
	if len(o.config) > 0 {
		// The files that the lines name must lie beside them to be seen in a container.
		dir := o.tls
		if dir == "" {
			dir = t.TempDir()
		}
		file := filepath.Join(dir, "rabbitmq.conf")
		if err := os.WriteFile(file, []byte(strings.Join(o.config, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		b.env = append(b.env, "BROKER_CONFIG="+file)
	}
	_, err := b.run("up")
	if err != nil {
		err = fmt.Errorf("%w\n%s", err, b.logTail())
		b.script("destroy")
	}
	return b, err
}

// URL returns the broker's AMQP URL, with guest's credentials and the default virtual host.
func (b *Broker) URL() string { return b.amqpURL }

// ManagementURL returns the URL of the broker's management API, with guest's credentials.
func (b *Broker) ManagementURL() string { return b.management }

// TLSAddress returns the host and port where a broker with the option TLS speaks it.
func (b *Broker) TLSAddress() string { return fmt.Sprintf("localhost:%d", b.tlsPort) }

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
func (b *Broker) Kill() { b.t.Helper(); b.own("kill") }

// Stop shuts the broker down in order; it tells its clients. RabbitMQ 3.10 takes 6 s for it.
func (b *Broker) Stop() { b.t.Helper(); b.own("down") }

// Up starts the broker again after Kill or Stop, on its ports and with its data, and waits
// until it answers.
func (b *Broker) Up() { b.t.Helper(); b.own("up") }

// Pause freezes the broker: its connections stay open, and nothing answers on them.
func (b *Broker) Pause() { b.t.Helper(); b.own("pause") }

// Resume lets a frozen broker go on.
func (b *Broker) Resume() { b.t.Helper(); b.own("resume") }

func (b *Broker) own(command string) {
	b.t.Helper()
	if b.shared {
		b.t.Fatalf("%s the broker that all tests share? Start one for this test", command)
	}
	b.script(command)
}

// Ctl runs rabbitmqctl on the broker and returns what it prints. It takes about half a second.
func (b *Broker) Ctl(args ...string) string {
	b.t.Helper()
	return b.script(append([]string{"ctl"}, args...)...)
}

// script runs scripts/broker.sh and returns its standard output.
func (b *Broker) script(args ...string) string {
	b.t.Helper()
	out, err := b.run(args...)
	if err != nil {
		b.t.Fatal(err)
	}
	return out
}

var errPortTaken = errors.New("a port is taken")

func (b *Broker) run(args ...string) (string, error) {
	b.t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := exec.Command(scriptPath(b.t), args...)
	cmd.Env = b.env
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if err != nil {
		if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.ExitCode() == 3 {
			err = errPortTaken
		}
		err = fmt.Errorf("broker.sh %s: %w\n%s%s", strings.Join(args, " "), err, &stdout, &stderr)
	}
	return stdout.String(), err
}

// logTail returns the end of the log of a native node, but for the comings and goings of its clients,
// or "" where there is none.
func (b *Broker) logTail() string {
	home, name := "", ""
	for _, variable := range b.env {
		if value, ok := strings.CutPrefix(variable, "BROKER_HOME="); ok {
			home = value
		}
		if value, ok := strings.CutPrefix(variable, "BROKER_NAME="); ok {
			name = value
		}
	}
	if home == "" {
		home = filepath.Join(filepath.Dir(filepath.Dir(scriptPath(b.t))), ".broker")
	}
	log, err := os.ReadFile(filepath.Join(home, name, "rabbitmq.log"))
	if err != nil {
		return ""
	}
	log = chatter.ReplaceAll(log, nil)
	return string(log[max(0, len(log)-4000):])
}

var chatter = regexp.MustCompile(`(?m)^.*\[info\].*\b(accepting AMQP connection|authenticated|closing AMQP connection|client-provided name)\b.*\n`)

// scriptPath finds scripts/broker.sh from the folder of the tests, which is where they run.
func scriptPath(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		path := filepath.Join(dir, "scripts", "broker.sh")
		if _, err := os.Stat(path); err == nil {
			return path
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Fatal("no scripts/broker.sh above the folder of this test")
		}
		dir = parent
	}
}

// sharedName is the name by which scripts/broker.sh knows the broker that all tests share.
func sharedName() string {
	if name := os.Getenv("BROKER_NAME"); name != "" {
		return name
	}
	return "test"
}

// freePorts returns TCP ports that nobody listens on at the moment. They are from
// below the range of which the system takes ports for outgoing connections: a
// broker takes seconds to start, and a client could have the port by then.
func freePorts(t testing.TB, n int) []int {
	t.Helper()
	var ports []int
	for tries := 0; len(ports) < n; tries++ {
		port := 23_000 + mathrand.IntN(6000)
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			if tries == 1000 {
				t.Fatal(err)
			}
			continue
		}
		defer l.Close() // only now, so that all of them differ
		ports = append(ports, port)
	}
	return ports
}

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
