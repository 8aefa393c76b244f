package faults_test

import (
	"bytes"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
)

// A wire is the network between a program and its broker, for the test to cut at
// the moment that matters.
type wire struct {
	URL      string
	listener net.Listener
	broker   string
	tasks    sync.WaitGroup
	cutAtAck atomic.Bool

	mu    sync.Mutex
	conns map[net.Conn]bool
}

// newWire makes a wire to the broker at brokerURL, which ends with the test.
func newWire(t *testing.T, brokerURL string) *wire {
	t.Helper()
	u, err := url.Parse(brokerURL)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{listener: listener, broker: u.Host, conns: make(map[net.Conn]bool)}
	u.Host = listener.Addr().String()
	w.URL = u.String()
	w.tasks.Go(w.accept)
	t.Cleanup(func() {
		w.Close()
		w.tasks.Wait()
	})
	return w
}

func (w *wire) accept() {
	for {
		client, err := w.listener.Accept()
		if err != nil {
			return
		}
		broker, err := net.Dial("tcp", w.broker)
		if err != nil {
			client.Close()
			continue
		}
		w.mu.Lock()
		w.conns[client], w.conns[broker] = true, true
		w.mu.Unlock()
		w.tasks.Go(func() { w.carry(client, broker) })
		w.tasks.Go(func() { w.carry(broker, client) })
	}
}

// ack is how a basic.ack begins: frame type 1, channel 1, 13 bytes, class 60,
// method 80.
var ack = []byte{1, 0, 1, 0, 0, 0, 13, 0, 60, 0, 80}

func (w *wire) carry(from, to net.Conn) {
	defer func() {
		from.Close()
		to.Close()
		w.mu.Lock()
		delete(w.conns, from)
		delete(w.conns, to)
		w.mu.Unlock()
	}()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if bytes.Contains(buf[:n], ack) && w.cutAtAck.CompareAndSwap(true, false) {
			return
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
		if err != nil {
			return
		}
	}
}

// CutAtAck has the wire break in the place of the next acknowledgement.
func (w *wire) CutAtAck() { w.cutAtAck.Store(true) }

// Cut breaks all connections. New ones may come.
func (w *wire) Cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for conn := range w.conns {
		conn.Close()
	}
}

// Close breaks all connections. New ones are refused.
func (w *wire) Close() {
	w.listener.Close()
	w.Cut()
}
