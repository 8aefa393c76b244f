// Package socket makes a network connection cheaper and safer for a client that writes much
// and in small pieces, as amqp091-go does.
//
// amqp091-go writes each message and each acknowledgement with a system call of its own. A
// [Conn] gathers them: while its goroutine sends, later writes wait together and are sent
// together. A write waits only until that goroutine gets to run.
package socket

import (
	"context"
	"net"
	"runtime"
	"sync"
	"time"
)

const (
	// Patience is how long a write may be stuck when it is no longer wanted, and how long
	// Close may take.
	Patience = time.Second

	// enough is how many bytes gather before a write has to wait. A write of so many is not
	// gathered: to copy it would cost more than to send it.
	enough = 64 << 10
)

// A Conn is a network connection that gathers what is written to it, and that closes itself
// when a read or a write fails.
//
// The closing matters when heartbeats stop coming. amqp091-go fails the read and then shuts
// its channels down, for which it needs each channel's lock. A publisher that is stuck in a
// write to the dead connection holds that lock, and both would wait for ever. The closed
// connection fails the write.
type Conn struct {
	net.Conn
	sending sync.WaitGroup

	mu       sync.Mutex
	changed  sync.Cond // of mu: something below has changed
	bound    context.Context
	gathered []byte
	busy     bool  // somebody sends
	failure  error // the first
}

// New makes a Conn of c. A write that is stuck a second after the end of ctx cuts it. Close it, or
// cut it.
func New(ctx context.Context, c net.Conn) *Conn {
	s := &Conn{Conn: c, bound: ctx}
	s.changed.L = &s.mu
	s.sending.Go(s.send)
	return s
}

// send sends what gathers, until the connection is closed.
func (s *Conn) send() {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []byte
	for s.failure == nil {
		if s.busy || len(s.gathered) == 0 {
			s.changed.Wait()
			continue
		}
		// Let whoever can write do so first. Otherwise the first message goes out alone,
		// then those that came meanwhile, and there are ten times as many system calls.
		s.mu.Unlock()
		runtime.Gosched()
		s.mu.Lock()
		out, s.gathered = s.gathered, out[:0]
		s.transmit(out) // a large write waits while there is something gathered, so nobody else sends
	}
}

// transmit sends p. Its caller holds mu, which is free meanwhile, and nobody else sends.
func (s *Conn) transmit(p []byte) {
	s.busy = true
	s.changed.Broadcast()
	s.mu.Unlock()
	if _, err := s.Conn.Write(p); err != nil {
		s.fail(err)
	}
	s.mu.Lock()
	s.busy = false
	s.changed.Broadcast()
}

// Read reads from the connection.
func (s *Conn) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	if err != nil {
		s.fail(err)
		err = s.Failure()
	}
	return n, err
}

// Write returns before p is sent, unless p is large; an error may be that of an earlier
// write. While too much has gathered, because the peer does not read, Write waits.
func (s *Conn) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	large := len(p) >= enough
	if large || len(s.gathered) >= enough {
		defer s.CutAfter(s.bound)()
	}
	for s.failure == nil && (len(s.gathered) >= enough || large && (s.busy || len(s.gathered) > 0)) {
		s.changed.Wait()
	}
	if s.failure == nil && large {
		s.transmit(p)
	} else if s.failure == nil {
		s.gathered = append(s.gathered, p...)
		s.changed.Broadcast()
	}
	if s.failure != nil {
		return 0, s.failure
	}
	return len(p), nil
}

// Bound has ctx bound the writes that begin from now on: a second after its end, one that is
// stuck cuts the connection.
func (s *Conn) Bound(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bound = ctx
}

// Close sends what has gathered, for at most a second, and closes the connection.
func (s *Conn) Close() error {
	s.SetWriteDeadline(time.Now().Add(Patience))
	s.mu.Lock()
	for s.failure == nil && (s.busy || len(s.gathered) > 0) {
		s.changed.Wait()
	}
	s.mu.Unlock()
	s.Cut()
	s.sending.Wait()
	return nil
}

// Cut closes the connection at once. What has gathered is lost.
func (s *Conn) Cut() { s.fail(net.ErrClosed) }

// CutAfter cuts the connection a second after the end of ctx, unless stop is called before.
// Nothing else frees a goroutine that waits for a peer that does not read.
func (s *Conn) CutAfter(ctx context.Context) (stop func()) {
	stopped := make(chan struct{})
	disarm := context.AfterFunc(ctx, func() {
		select {
		case <-stopped:
		case <-time.After(Patience):
			s.Cut()
		}
	})
	return func() {
		disarm()
		close(stopped)
	}
}

// Failure returns why the connection is closed, nil while it is open. It is the first
// failure: after a failed write, a read says no more than that the connection is closed.
func (s *Conn) Failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failure
}

func (s *Conn) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failure == nil {
		s.failure = err
		s.changed.Broadcast()
		s.Conn.Close()
	}
}
