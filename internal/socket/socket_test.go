package socket

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"rabbitmq-tutorial/internal/harness"
)

// slack is what a busy machine may take longer.
const slack = 2 * time.Second

// pair returns a Conn and its peer, which reads nothing by itself.
func pair(t *testing.T, ctx context.Context) (*Conn, *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	peer, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	s := New(ctx, c)
	t.Cleanup(func() {
		s.Cut()
		peer.Close()
	})
	return s, peer.(*net.TCPConn)
}

// fill has several goroutines write until none of them gets on, and returns a function that
// waits for their errors.
func fill(t *testing.T, s *Conn) (failures func() []error) {
	t.Helper()
	var (
		writers sync.WaitGroup
		written atomic.Int64 // how often one of them has
		mu      sync.Mutex
		all     []error
	)
	for _, size := range []int{100, 1000, 100_000} { // the last is not gathered
		writers.Go(func() {
			piece := make([]byte, size)
			for {
				_, err := s.Write(piece)
				written.Add(1)
				if err != nil {
					mu.Lock()
					all = append(all, err)
					mu.Unlock()
					return
				}
			}
		})
	}
	last, since := int64(-1), time.Now()
	harness.Eventually(t, time.Minute, "nothing gets on", func() bool {
		if n := written.Load(); n != last {
			last, since = n, time.Now()
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.busy && len(s.gathered) >= enough && time.Since(since) > 200*time.Millisecond
	})
	return func() []error {
		writers.Wait()
		return all
	}
}

func TestCloseSendsWhatHasGathered(t *testing.T) {
	s, peer := pair(t, t.Context())
	var want []byte
	for i := range uint32(1000) {
		p := binary.BigEndian.AppendUint32(nil, i)
		want = append(want, p...)
		if _, err := s.Write(p); err != nil {
			t.Fatal(err)
		}
		clear(p) // Write keeps nothing of it
	}
	s.Close()
	if got, err := io.ReadAll(peer); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the peer got %d bytes of %d, or others, and %v", len(got), len(want), err)
	}
	if _, err := s.Write([]byte("more")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Write = %v after Close", err)
	}
}

// held is a connection whose first write waits until it is released. It counts the writes.
type held struct {
	net.Conn
	writes           atomic.Int32
	waiting, release chan struct{}
}

func (h *held) Write(p []byte) (int, error) {
	if h.writes.Add(1) == 1 {
		close(h.waiting)
		<-h.release
	}
	return h.Conn.Write(p)
}

func TestWhatWaitsIsSentTogetherAndBeforeALargeWrite(t *testing.T) {
	plain, peer := pair(t, t.Context())
	h := &held{Conn: plain, waiting: make(chan struct{}), release: make(chan struct{})}
	s := New(t.Context(), h)
	want := []byte("first")
	s.Write(want)
	<-h.waiting
	for range 100 {
		s.Write([]byte("small"))
		want = append(want, "small"...)
	}
	large := bytes.Repeat([]byte("L"), enough)
	want = append(want, large...)
	written := make(chan struct{})
	go func() {
		defer close(written)
		s.Write(large)
	}()
	select {
	case <-written:
		t.Error("the large write overtook what waits")
	case <-time.After(100 * time.Millisecond): // time to overtake
	}
	close(h.release)
	got := make([]byte, len(want))
	if _, err := io.ReadFull(peer, got); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the peer got other bytes, or %v", err)
	}
	<-written
	if n := h.writes.Load(); n != 3 {
		t.Errorf("it took %d writes: the first, those that waited, and the large one are 3", n)
	}
	s.Cut()
}

func TestWhoCanWriteDoesSoBeforeAnythingIsSent(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // goroutines run one after the other
	plain, peer := pair(t, t.Context())
	h := &held{Conn: plain, waiting: make(chan struct{}), release: make(chan struct{})}
	close(h.release)
	s := New(t.Context(), h)
	var writers sync.WaitGroup
	for range 100 {
		writers.Go(func() { s.Write([]byte("small")) })
	}
	writers.Wait()
	s.Close()
	if got, err := io.ReadAll(peer); err != nil || len(got) != 500 {
		t.Errorf("the peer got %d bytes, and %v", len(got), err)
	}
	if n := h.writes.Load(); n > 10 {
		t.Errorf("a hundred who could write at once took %d writes", n)
	}
}

func TestASlowReaderGetsEverythingInOrder(t *testing.T) {
	s, peer := pair(t, t.Context())
	const words = 1 << 20
	go func() {
		for i := uint32(0); i < words; i += 1024 {
			var p []byte
			for j := range uint32(1024) {
				p = binary.BigEndian.AppendUint32(p, i+j)
			}
			s.Write(p)
		}
	}()
	p := make([]byte, 4)
	for i := range uint32(words) { // a system call for each
		if _, err := io.ReadFull(peer, p); err != nil || binary.BigEndian.Uint32(p) != i {
			t.Fatalf("word %d is %x: %v", i, p, err)
		}
	}
}

func TestAFailedWriteReachesAllWhoWrite(t *testing.T) {
	s, peer := pair(t, t.Context())
	failures := fill(t, s)
	peer.SetLinger(0)
	peer.Close() // a reset
	for _, err := range failures() {
		if err != s.Failure() || errors.Is(err, net.ErrClosed) {
			t.Errorf("a write that waited failed with %v, want the first failure, %v", err, s.Failure())
		}
	}
	if _, err := s.Write([]byte("more")); err == nil || err != s.Failure() {
		t.Errorf("the next write failed with %v, want %v", err, s.Failure())
	}
}

func TestNoWriteIsStuckWhenItsContextHasEnded(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s, _ := pair(t, ctx)
	failures := fill(t, s)
	if err := s.Failure(); err != nil {
		t.Fatalf("it failed before the end of its context: %v", err)
	}
	start := time.Now()
	cancel()
	failures()
	if took := time.Since(start); took < Patience || took > Patience+slack {
		t.Errorf("the writes were stuck for %v", took)
	}
}

func TestCloseWaitsASecondForAPeerThatDoesNotRead(t *testing.T) {
	s, _ := pair(t, t.Context())
	failures := fill(t, s)
	start := time.Now()
	s.Close()
	if took := time.Since(start); took < Patience || took > Patience+slack {
		t.Errorf("Close took %v", took)
	}
	failures()
}

func TestCutFreesAllWhoWriteAtOnce(t *testing.T) {
	s, _ := pair(t, t.Context())
	failures := fill(t, s)
	start := time.Now()
	s.Cut()
	failures()
	if took := time.Since(start); took > slack {
		t.Errorf("the writes were stuck for %v", took)
	}
}
