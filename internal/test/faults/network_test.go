package faults_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/Shopify/toxiproxy/v2/toxics"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"rabbitmq-tutorial/internal/amqpx"
	"rabbitmq-tutorial/internal/harness"
)

// A network is the way from a program to its broker: a proxy, with its faults.
type network struct {
	t     testing.TB
	proxy *toxiproxy.Proxy
}

// The directions of a network.
const (
	upstream   = "upstream"   // from the program to the broker
	downstream = "downstream" // from the broker to the program
)

// newNetwork opens a way to the broker at rawURL. The network resets its
// connections when it closes them, as a router does that has been restarted.
func newNetwork(t testing.TB, rawURL string) *network {
	t.Helper()
	toxics.Register("fault", new(fault))
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	n := &network{t: t}
	// The port must be free again after a reset. So it is none of those that
	// systems hand out by themselves.
	for try := 1; ; try++ {
		listen := fmt.Sprintf("127.0.0.1:%d", 10_000+rand.N(10_000))
		n.proxy = toxiproxy.NewProxy(server, t.Name(), listen, parseURL(t, rawURL).Host)
		// This toxic is never in force, but has the proxy close with a reset.
		for _, direction := range []string{upstream, downstream} {
			n.addToxic(toxics.ToxicWrapper{Type: "reset_peer", Stream: direction, Toxic: &toxics.ResetToxic{}})
		}
		err := n.proxy.Start()
		if err == nil {
			break
		}
		if try == 20 {
			t.Fatal(err)
		}
	}
	t.Cleanup(n.proxy.Stop)
	return n
}

// proxyLeaks are the goroutines of a connection that a fault has stopped, and of
// one with something to pass on when it was closed: the proxy never ends them.
var proxyLeaks = []goleak.Option{
	goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2.(*ToxicLink).read"),
	goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2.(*ToxicLink).write"),
	goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2/toxics.(*ToxicStub).Run"),
}

func parseURL(t testing.TB, rawURL string) *url.URL {
	t.Helper()
	u, err := url.Parse(rawURL)
	if err != nil {
		t.Fatal("the broker's URL cannot be parsed") // without the cause: it repeats the password
	}
	return u
}

// through returns rawURL with this network before the broker. query is empty or
// something like "heartbeat=2".
func (n *network) through(rawURL, query string) string {
	n.t.Helper()
	u := parseURL(n.t, rawURL)
	u.Host, u.RawQuery = n.proxy.Listen, query
	return u.String()
}

// add adds a toxic to one direction, for all connections, those that are there
// and those to come.
func (n *network) add(direction, kind string, toxic toxics.Toxic) toxics.Toxic {
	n.t.Helper()
	return n.addToxic(toxics.ToxicWrapper{Type: kind, Stream: direction, Toxicity: 1, Toxic: toxic})
}

func (n *network) addToxic(toxic toxics.ToxicWrapper) toxics.Toxic {
	n.t.Helper()
	text, err := json.Marshal(toxic)
	if err != nil {
		n.t.Fatal(err)
	}
	added, err := n.proxy.Toxics.AddToxicJson(strings.NewReader(string(text)))
	if err != nil {
		n.t.Fatal(err)
	}
	return added.Toxic
}

// fail gives one direction a fault.
func (n *network) fail(direction string, f *fault) *fault {
	n.t.Helper()
	return n.add(direction, "fault", f).(*fault)
}

// down resets all connections and refuses new ones, until up.
func (n *network) down() { n.proxy.Stop() }

func (n *network) up() {
	n.t.Helper()
	if err := n.proxy.Start(); err != nil {
		n.t.Fatal(err)
	}
}

// reset resets all connections; new ones get through.
func (n *network) reset() { n.t.Helper(); n.down(); n.up() }

// swallow makes a black hole of the connection that is there: nothing arrives any
// more, and nobody is told. New connections get through, as when a firewall has
// forgotten the connections that it let pass.
func (n *network) swallow() {
	n.t.Helper()
	n.fail(upstream, &fault{Once: true})
	n.fail(downstream, &fault{Once: true})
}

// fault is a toxic that ends the flow after so many bytes of a connection. The
// sender is not told: what it sends fills the buffers, until its writes block.
type fault struct {
	After int64 `json:"after"`
	Cut   bool  `json:"cut"`  // close the connection, instead of letting it hang
	Once  bool  `json:"once"` // only one connection has this fault: the one that is there, or the next

	met    atomic.Int32 // connections with this fault
	lifted atomic.Bool  // new connections have it no more
}

type faultState struct {
	left int64
	cut  bool
}

// NewState is called for each connection.
func (f *fault) NewState() any {
	if f.lifted.Load() {
		return &faultState{left: math.MaxInt64}
	}
	f.met.Add(1)
	f.lifted.Store(f.Once)
	return &faultState{f.After, f.Cut}
}

func (f *fault) Pipe(stub *toxics.ToxicStub) {
	state := stub.State.(*faultState)
	for state.left > 0 {
		select {
		case <-stub.Interrupt:
			return
		case chunk := <-stub.Input:
			if chunk == nil {
				stub.Close()
				return
			}
			chunk.Data = chunk.Data[:min(int64(len(chunk.Data)), state.left)]
			state.left -= int64(len(chunk.Data))
			stub.Output <- chunk
		}
	}
	if state.cut {
		stub.Close()
		return
	}
	<-stub.Interrupt
}

// lifetime is how long a connection may stay silent: one and a half intervals of
// the heartbeat, two at most.
const (
	heartbeat = "heartbeat=2"
	lifetime  = 2 * 2 * time.Second
)

// dialTimeout bounds the log-in, and slack what a busy machine adds to it.
const (
	dialTimeout = 5 * time.Second
	slack       = 2 * time.Second
)

// A consumer is a program that consumes, with a message for it.
type consumer struct {
	program       string
	args          []string
	exchange, key string
	prints        string // followed by the message
}

var consumers = []consumer{
	{"receive", nil, "", "hello", " [x] Received "},
	{"worker", nil, "", "task_queue", " [x] Received "},
	{"receive_logs", nil, "logs", "", " [x] "},
	{"receive_logs_direct", []string{"info"}, "direct_logs", "info", " [x] info:"},
	{"receive_logs_topic", []string{"kern.*"}, "topic_logs", "kern.info", " [x] kern.info:"},
	{"rpc_server", []string{"-prefetch=10"}, "", "rpc_queue", " [.] fib("},
}

// start starts the consumer and waits until it consumes.
func (c consumer) start(t testing.TB, url string) *harness.Process {
	t.Helper()
	p := harness.Start(t, url, c.program, c.args...)
	c.awaitReady(p)
	return p
}

func (c consumer) awaitReady(p *harness.Process) harness.Line {
	if c.program == "rpc_server" {
		return p.Await(" [x] Awaiting RPC requests")
	}
	return p.Await(" [*] Waiting for ")
}

// deliver publishes a message, a small number, directly at the broker, and waits
// until the consumer has printed it.
func (c consumer) deliver(t testing.TB, direct *amqp.Channel, p *harness.Process, message string) {
	t.Helper()
	msg := amqp.Publishing{Body: []byte(message), ReplyTo: "nobody"} // which is for rpc_server
	if err := direct.PublishWithContext(t.Context(), c.exchange, c.key, false, false, msg); err != nil {
		t.Fatal(err)
	}
	p.Await(c.prints + message)
}

// wantStderr waits for a line on stderr, wherever it stands among the others.
func wantStderr(t testing.TB, p *harness.Process, text string) {
	t.Helper()
	harness.Eventually(t, 10*time.Second, "a line on stderr: "+text, func() bool {
		return strings.Contains(strings.Join(p.Stderr(), "\n"), text)
	})
}

// wantFailure expects what the contract has for a run that failed: status 1, and
// one line on stderr, which it returns.
func wantFailure(t testing.TB, p *harness.Process) string {
	t.Helper()
	if status := p.Wait(); status != 1 || len(p.Stderr()) != 1 || !strings.HasPrefix(p.Stderr()[0], " [!] ") {
		t.Fatalf("want exit status 1 and one line on stderr, not %d and\n%s", status, p.Output())
	}
	return p.Stderr()[0]
}

func TestConsumersComeBackAfterAReset(t *testing.T) {
	t.Parallel()
	for _, c := range consumers {
		t.Run(c.program, func(t *testing.T) {
			t.Parallel()
			vhost := harness.NewVhost(t)
			direct := channel(t, vhost.URL)
			n := newNetwork(t, vhost.URL)
			p := c.start(t, n.through(vhost.URL, ""))
			c.deliver(t, direct, p, "1")

			n.reset()
			p.Await("connection lost: ")
			c.awaitReady(p)
			c.deliver(t, direct, p, "2")
			wantStderr(t, p, " [!] connected again")
			p.Stop()
		})
	}
}

// A connection that has become a black hole looks alive. The heartbeats that do
// not arrive tell, within two intervals.
func TestConsumersComeBackOutOfABlackHole(t *testing.T) {
	t.Parallel()
	for _, c := range consumers {
		t.Run(c.program, func(t *testing.T) {
			t.Parallel()
			vhost := harness.NewVhost(t)
			direct := channel(t, vhost.URL)
			n := newNetwork(t, vhost.URL)
			p := c.start(t, n.through(vhost.URL, heartbeat))
			c.deliver(t, direct, p, "1")

			n.swallow()
			start := time.Now()
			if found := p.Await("connection lost: ").At.Sub(start); found > lifetime {
				t.Errorf("the black hole was found after %v, want at most %v", found, lifetime)
			}
			c.awaitReady(p)
			c.deliver(t, direct, p, "2")
			p.Stop()
		})
	}
}

// A publisher that is blocked in a write holds locks that amqp091-go wants for the
// end of the connection. See socket in package amqpx.
func TestBlockedPublisherComesBackOutOfABlackHole(t *testing.T) {
	t.Parallel()
	vhost := harness.NewVhost(t)
	n := newNetwork(t, vhost.URL)
	n.fail(upstream, &fault{After: 20e6, Once: true}) // in the second message
	p := harness.Start(t, n.through(vhost.URL, heartbeat), "publisher_confirms", "-n=3", "-size=12000000")
	harness.Eventually(t, time.Minute, "the first message is in the queue", func() bool {
		return vhost.HasQueue("publisher_confirms") && vhost.Queue("publisher_confirms").Ready == 1
	})

	n.fail(downstream, &fault{Once: true})
	start := time.Now()
	if found := p.Await("connection lost: ").At.Sub(start); found > lifetime {
		t.Errorf("the black hole was found after %v, want at most %v", found, lifetime)
	}
	p.Await(" [x] one by one:")
	p.Interrupt()
	if status := p.Wait(); status != 0 {
		t.Errorf("exit status %d after Ctrl+C", status)
	}
}

// Five goroutines have a message on its way each when their session is blocked.
func TestPublishersComeBackOutOfABlackHole(t *testing.T) {
	t.Parallel()
	vhost := harness.NewVhost(t)
	n := newNetwork(t, vhost.URL)
	n.fail(upstream, &fault{After: 20e6, Once: true}) // in the third message
	confirmed := make(map[string]bool)
	published := make(chan error, 1)
	go func() {
		published <- publishSideBySide(t.Context(), n.through(vhost.URL, heartbeat), "hello", 5,
			numberedMessages(5, make([]byte, 8e6)), func(msg *amqp.Publishing) { confirmed[msg.MessageId] = true })
	}()
	harness.Eventually(t, time.Minute, "two messages are in the queue", func() bool {
		return vhost.HasQueue("hello") && vhost.Queue("hello").Ready == 2
	})

	n.fail(downstream, &fault{Once: true})
	start := time.Now()
	if err := <-published; err != nil {
		t.Error(err)
	}
	if took := time.Since(start); took > lifetime+2*slack { // and five messages of 8 MB
		t.Errorf("published after %v, want at most %v", took, lifetime+2*slack)
	}
	ids := make(map[string]bool)
	for _, d := range messages(t, channel(t, vhost.URL), "hello") {
		ids[d.MessageId] = true
	}
	if len(confirmed) != 5 || len(ids) != 5 {
		t.Errorf("%d messages confirmed, %d received, want 5", len(confirmed), len(ids))
	}
}

// messages takes all messages out of a queue.
func messages(t testing.TB, ch *amqp.Channel, queue string) (all []amqp.Delivery) {
	t.Helper()
	for {
		d, ok, err := ch.Get(queue, true)
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return all
		}
		all = append(all, d)
	}
}

// Something accepts the connection and never says a word.
func TestNobodyAnswers(t *testing.T) {
	t.Parallel()
	vhost := harness.NewVhost(t)
	n := newNetwork(t, vhost.URL)
	n.fail(upstream, &fault{})
	n.fail(downstream, &fault{})
	plain := n.through(vhost.URL, "")
	secure := strings.Replace(plain, "amqp:", "amqps:", 1)
	for _, test := range []struct {
		program string
		url     string
	}{
		{"send", plain},
		{"send", secure},
		{"receive", plain},
		{"rpc_client", plain},
		{"rpc_server", plain},
		{"publisher_confirms", plain},
	} {
		t.Run(test.program+" "+parseURL(t, test.url).Scheme, func(t *testing.T) {
			t.Parallel()
			start := time.Now()
			args := []string{}
			if test.program == "rpc_client" {
				args = []string{"-timeout=30s"}
			}
			p := harness.Start(t, test.url, test.program, args...)
			line := wantFailure(t, p)
			if took := time.Since(start); took < dialTimeout || took > dialTimeout+slack {
				t.Errorf("ended after %v, want %v", took, dialTimeout)
			}
			if !strings.Contains(line, "no answer within 5s. Check that AMQP_URL or -url names a RabbitMQ") {
				t.Errorf("the line is %q", line)
			}
		})
	}
}

// login measures the log-in: how many bytes the broker sends until connection.open-ok.
func login(t testing.TB, url string) int64 {
	t.Helper()
	var counter *countingConn
	conn, err := amqp.DialConfig(url, amqp.Config{Dial: func(network, addr string) (net.Conn, error) {
		c, err := net.Dial(network, addr)
		counter = &countingConn{Conn: c}
		return counter, err
	}})
	if err != nil {
		t.Fatal(err)
	}
	received := counter.received.Load()
	conn.Close()
	return received
}

type countingConn struct {
	net.Conn
	received atomic.Int64
}

func (c *countingConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.received.Add(int64(n))
	return n, err
}

// A connection that ends in the middle of the log-in, or of a frame soon after it,
// is a broken network: no wrong password, and no end for a consumer.
func TestConsumerComesBackAfterACut(t *testing.T) {
	t.Parallel()
	testReconnection(t, true)
}

// The same, but the connection falls silent. Before the first heartbeat only a
// deadline can tell.
func TestConsumerComesBackAfterASilence(t *testing.T) {
	t.Parallel()
	testReconnection(t, false)
}

// testReconnection resets a consumer's connection, and lets the next one end, or
// hang, after so many bytes.
func testReconnection(t *testing.T, cut bool) {
	opened := login(t, harness.NewVhost(t).URL)
	const tune, openOk, channelOpenOk = 20, 13, 16 // bytes of these frames
	for _, test := range []struct {
		direction string
		after     int64
	}{
		{downstream, 1},                      // in the type of connection.start
		{downstream, 100},                    // in the middle of it
		{downstream, opened - openOk - tune}, // after it: the log-in is on its way
		{downstream, opened - openOk - 1},    // in connection.tune
		{downstream, opened - openOk},        // before connection.open-ok
		{downstream, opened},                 // after it
		{downstream, opened + 1},             // in channel.open-ok
		{downstream, opened + channelOpenOk}, // after it
		{upstream, 4},                        // in the protocol header
		{upstream, 8},                        // after it
		{upstream, 100},                      // in connection.start-ok
		{upstream, 500},                      // at the end of the log-in
	} {
		t.Run(fmt.Sprintf("%s %d", test.direction, test.after), func(t *testing.T) {
			t.Parallel()
			vhost := harness.NewVhost(t)
			c := consumers[0]
			n := newNetwork(t, vhost.URL)
			p := c.start(t, n.through(vhost.URL, heartbeat))
			n.down()
			p.Await("connection lost: ")
			n.fail(test.direction, &fault{After: test.after, Cut: cut, Once: true})
			n.up()
			c.awaitReady(p)
			c.deliver(t, channel(t, vhost.URL), p, "1")
			p.Stop()
		})
	}
}

// However often a connection breaks during the log-in: that is no wrong password.
func TestBrokenLogInIsNoRefusal(t *testing.T) {
	t.Parallel()
	vhost := harness.NewVhost(t)
	opened := login(t, vhost.URL)
	c := consumers[0]
	n := newNetwork(t, vhost.URL)
	p := c.start(t, n.through(vhost.URL, ""))
	n.down()
	p.Await("connection lost: ")
	broken := n.fail(downstream, &fault{After: opened - 33, Cut: true}) // after connection.start
	n.up()
	harness.Eventually(t, time.Minute, "six log-ins have failed", func() bool { return broken.met.Load() >= 6 })
	broken.lifted.Store(true)
	c.awaitReady(p)
	c.deliver(t, channel(t, vhost.URL), p, "1")
	p.Stop()
}

// A program whose first connection is cut off says so, and does not look for the
// fault in the password. One that was logged in by then publishes again.
func TestPublisherIsCutOff(t *testing.T) {
	t.Parallel()
	opened := login(t, harness.NewVhost(t).URL)
	for _, direction := range []string{upstream, downstream} {
		var afters []int64
		for after := int64(0); after < opened; after += 70 {
			afters = append(afters, after)
		}
		for after := opened; after < opened+150; after += 11 {
			afters = append(afters, after)
		}
		for _, after := range append(afters, 50_000) {
			t.Run(fmt.Sprintf("%s %d", direction, after), func(t *testing.T) {
				t.Parallel()
				vhost := harness.NewVhost(t)
				n := newNetwork(t, vhost.URL)
				n.fail(direction, &fault{After: after, Cut: true, Once: true})
				p := harness.Start(t, n.through(vhost.URL, ""), "new_task", strings.Repeat("x", 100_000))
				if p.Wait() == 0 {
					if !vhost.HasQueue("task_queue") || vhost.Queue("task_queue").Ready == 0 {
						t.Errorf("the message is lost; new_task printed:\n%s", p.Output())
					}
					return
				}
				if strings.Contains(p.Output(), "connection lost") {
					// RabbitMQ 3.10 refuses what comes for a queue that it is still making,
					// as the connection asked for that was cut off.
					lines := p.Stderr()
					if last := lines[len(lines)-1]; last != ` [!] publish to queue "task_queue": the broker refused the message` {
						t.Errorf("new_task printed:\n%s", p.Output())
					}
					return
				}
				line := wantFailure(t, p)
				if !strings.HasPrefix(line, " [!] connect to amqp://127.0.0.1:") || strings.Contains(line, "password") {
					t.Errorf("the line is %q", line)
				}
			})
		}
	}
}

// The broker falls silent while a program declares its queue. A program that
// nobody needs any more does not wait for the heartbeats to find out.
func TestCtrlCWhileTheBrokerIsSilent(t *testing.T) {
	t.Parallel()
	opened := login(t, harness.NewVhost(t).URL)
	const channelOpenOk, qosOk = 16, 12
	for _, program := range []string{"send", "receive", "rpc_client", "publisher_confirms"} {
		t.Run(program, func(t *testing.T) {
			t.Parallel()
			vhost := harness.NewVhost(t)
			n := newNetwork(t, vhost.URL)
			n.fail(downstream, &fault{After: opened + channelOpenOk + qosOk})
			p := harness.Start(t, n.through(vhost.URL, ""), program)
			harness.Eventually(t, 20*time.Second, "the program declares a queue", func() bool {
				return len(vhost.Queues()) > 0
			})
			p.Interrupt()
			start := time.Now()
			if status := p.Wait(); status != 0 {
				t.Errorf("exit status %d", status)
			}
			want := time.Second
			if program == "publisher_confirms" {
				want += 3 * time.Second // in which it wants to delete its queue
			}
			if took := time.Since(start); took > want+slack {
				t.Errorf("Ctrl+C took %v, want %v", took, want)
			}
		})
	}
}

// Client and server lose their connections, in every way, while calls are on
// their way. Every call gets its answer.
func TestRPCOverABrokenNetwork(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		breakIt func(*network)
	}{
		{"reset", (*network).reset},
		{"black hole", (*network).swallow},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			vhost := harness.NewVhost(t)
			ofClient, ofServer := newNetwork(t, vhost.URL), newNetwork(t, vhost.URL)
			client := harness.Start(t, ofClient.through(vhost.URL, heartbeat), "rpc_client", "-timeout=50s", "10", "20", "30")
			harness.Eventually(t, time.Minute, "the requests are in the queue", func() bool {
				return vhost.HasQueue("rpc_queue") && vhost.Queue("rpc_queue").Ready == 3
			})
			test.breakIt(ofClient)
			wantStderr(t, client, "connected again")

			server := harness.Start(t, ofServer.through(vhost.URL, heartbeat), "rpc_server")
			server.Await(" [.] fib(")
			test.breakIt(ofServer)
			if status := client.Wait(); status != 0 {
				t.Errorf("exit status %d", status)
			}
			for _, want := range []string{" [.] Got 55", " [.] Got 6765", " [.] Got 832040"} {
				if !slices.Contains(client.Stdout(), want) {
					t.Errorf("no line %q in\n%s", want, client.Output())
				}
			}
			server.Await("connected again")
			server.Stop()
		})
	}
}

// A slow network is no broken one.
func TestSlowNetworks(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, kind string
		toxic      toxics.Toxic
	}{
		{"500 ms latency", "latency", &toxics.LatencyToxic{Latency: 500}},
		{"10 kB a second", "bandwidth", &toxics.BandwidthToxic{Rate: 10}},
		{"a few bytes a packet", "slicer", &toxics.SlicerToxic{AverageSize: 50, SizeVariation: 30, Delay: 10}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			vhost := harness.NewVhost(t)
			n := newNetwork(t, vhost.URL)
			n.add(upstream, test.kind, test.toxic)
			n.add(downstream, test.kind, test.toxic)
			url := n.through(vhost.URL, "")
			task := strings.Repeat("x", 100_000)

			worker := harness.Start(t, url, "worker")
			server := harness.Start(t, url, "rpc_server")
			worker.Await(" [*] Waiting for messages")
			server.Await(" [x] Awaiting RPC requests")
			client := harness.Start(t, url, "rpc_client", "-timeout=50s", "10", "20", "30")
			if line := harness.Run(t, url, 0, "new_task", task).Stdout()[0]; line != " [x] Sent "+task {
				t.Errorf("the line is %.50q", line)
			}
			worker.Await(" [x] Received " + task)
			worker.Await(" [x] Done")
			if status := client.Wait(); status != 0 {
				t.Errorf("rpc_client: exit status %d", status)
			}
			for _, p := range []*harness.Process{server, worker} {
				p.Stop()
				if strings.Contains(p.Output(), "connection lost") {
					t.Errorf("a slow network is taken for a broken one:\n%s", p.Output())
				}
			}
		})
	}
}

// Every connection of the publisher and of the consumer is cut off after a while,
// wherever in a frame that is.
func TestFlakyNetworkLosesNoConfirmedMessage(t *testing.T) {
	t.Parallel()
	const count = 2000
	vhost := harness.NewVhost(t)
	declare(t, channel(t, vhost.URL), "hello") // RabbitMQ 3.10 refuses messages while it makes a queue
	ofPublisher, ofConsumer := newNetwork(t, vhost.URL), newNetwork(t, vhost.URL)
	publishing := ofPublisher.fail(upstream, &fault{After: 300_007, Cut: true})
	ofPublisher.fail(downstream, &fault{After: 4_001, Cut: true})
	consuming := ofConsumer.fail(downstream, &fault{After: 200_003, Cut: true})

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	received := make(map[string]int)
	consumed := make(chan error, 1)
	allReceived := make(chan struct{})
	go func() {
		consumed <- amqpx.Run(ctx, ofConsumer.through(vhost.URL, ""), func(s *amqpx.Session) error {
			deliveries, err := s.Consume(ctx, amqpx.Consumer{Queue: "hello"})
			if err != nil {
				return err
			}
			for d := range deliveries {
				received[d.MessageId]++
				if received[d.MessageId] == 1 && len(received) == count {
					close(allReceived)
				}
				if err := amqpx.Ack(d); err != nil {
					return err
				}
			}
			return nil
		})
	}()

	confirmed := make(map[string]bool)
	err := publishSideBySide(ctx, ofPublisher.through(vhost.URL, ""), "hello", 100,
		numberedMessages(count, make([]byte, 1000)), func(msg *amqp.Publishing) { confirmed[msg.MessageId] = true })
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-allReceived:
	case <-time.After(time.Minute):
	}
	cancel()
	if err := <-consumed; err != nil {
		t.Error(err)
	}
	lost, doubled := 0, 0
	for id := range confirmed {
		if received[id] == 0 {
			lost++
		}
		doubled += max(0, received[id]-1)
	}
	cuts := publishing.met.Load() + consuming.met.Load()
	t.Logf("%d connections, %d messages confirmed, %d received, %d doubled, lost = %d", cuts, len(confirmed), len(received), doubled, lost)
	if lost > 0 || len(confirmed) != count || len(received) != count {
		t.Error("want all messages confirmed and received")
	}
}
