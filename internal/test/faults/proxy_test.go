package faults_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/Shopify/toxiproxy/v2/toxics"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"rabbitmq-tutorial/internal/harness"
)

// A network is a proxy between a program and its broker, with faults.
type network struct {
	t     testing.TB
	proxy *toxiproxy.Proxy
}

// The directions of a network.
const (
	upstream   = "upstream"   // from the program to the broker
	downstream = "downstream" // from the broker to the program
)

// newNetwork returns a network to the broker at rawURL. When it closes connections, it
// resets them, as a restarted router does.
func newNetwork(t testing.TB, rawURL string) *network {
	t.Helper()
	toxics.Register("fault", new(fault))
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	n := &network{t: t}
	// The port must be free again after a reset, so it is not one that the system gives to
	// clients.
	for try := 1; ; try++ {
		listen := fmt.Sprintf("127.0.0.1:%d", 10_000+rand.N(10_000))
		n.proxy = toxiproxy.NewProxy(server, t.Name(), listen, parseURL(t, rawURL).Host)
		// This toxic never acts, but makes the proxy close connections with a reset.
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

// proxyLeaks are goroutines that the proxy never ends: those of a connection that a fault has
// stopped, and of one that was closed before it had passed everything on.
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

// through returns rawURL, changed to lead through this network. query is empty or something
// like "heartbeat=2".
func (n *network) through(rawURL, query string) string {
	n.t.Helper()
	u := parseURL(n.t, rawURL)
	u.Host, u.RawQuery = n.proxy.Listen, query
	return u.String()
}

// add adds a toxic to one direction of all connections, present and future.
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
	added, err := n.proxy.Toxics.AddToxicJson(bytes.NewReader(text))
	if err != nil {
		n.t.Fatal(err)
	}
	return added.Toxic
}

// fail adds a fault to one direction.
func (n *network) fail(direction string, f *fault) *fault {
	n.t.Helper()
	return n.add(direction, "fault", f).(*fault)
}

// down resets all connections and refuses new ones, until up.
func (n *network) down() { n.proxy.Stop() }

// up may have to wait for its port: a program that was just being started may have inherited the socket.
func (n *network) up() {
	n.t.Helper()
	harness.Eventually(n.t, 10*time.Second, "the network is up", func() bool { return n.proxy.Start() == nil })
}

// reset resets all connections; new ones get through.
func (n *network) reset() { n.t.Helper(); n.down(); n.up() }

// swallow makes a black hole of the present connection: nothing arrives any more, and neither
// side is told. New connections get through, as when a firewall has forgotten its old ones.
func (n *network) swallow() {
	n.t.Helper()
	n.fail(upstream, &fault{Once: true})
	n.fail(downstream, &fault{Once: true})
}

// fault is a toxic that ends the flow after a number of bytes of a connection. The sender is
// not told: what it sends fills the buffers, until its writes block.
type fault struct {
	After  int64  `json:"after"`
	Before []byte `json:"before"` // if not nil, the flow ends before these bytes, and After is ignored
	Cut    bool   `json:"cut"`    // close the connection, instead of letting it hang
	Once   bool   `json:"once"`   // only one connection has this fault: the present one, or the next

	met    atomic.Int32 // how many connections have met this fault
	passed atomic.Int64 // how many bytes it has let through
	lifted atomic.Bool  // new connections do not have it any more
}

// faultState is what a fault remembers of a connection.
type faultState struct {
	left   int64 // bytes until the flow ends
	before []byte
	cut    bool
}

// NewState is called for each connection.
func (f *fault) NewState() any {
	state := &faultState{left: math.MaxInt64}
	if f.lifted.Load() {
		return state
	}
	f.met.Add(1)
	f.lifted.Store(f.Once)
	state.cut, state.before = f.Cut, f.Before
	if f.Before == nil {
		state.left = f.After
	}
	return state
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
			if i := bytes.Index(chunk.Data, state.before); state.before != nil && i >= 0 {
				state.left = int64(i)
			}
			chunk.Data = chunk.Data[:min(int64(len(chunk.Data)), state.left)]
			state.left -= int64(len(chunk.Data))
			f.passed.Add(int64(len(chunk.Data)))
			stub.Output <- chunk
		}
	}
	if state.cut {
		stub.Close()
		return
	}
	<-stub.Interrupt
}
