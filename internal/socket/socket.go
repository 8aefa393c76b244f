// Package socket makes a network connection cheaper and safer for a client that writes much
// and in small pieces, as amqp091-go does.
//
// amqp091-go writes each message and each acknowledgement with a system call of its own. A
// [Conn] gathers them: while its goroutine sends, later writes wait together and are sent
// together. Nothing waits longer than it takes that goroutine to run.
package socket

import (
	"bufio"
	"bytes"
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// Patience is how long a write may be stuck when it is no longer wanted, and how long
	// Close may take.
	Patience = time.Second

	// waiting is how many writes may wait to be sent, and buffered how many bytes are sent
	// at once.
	waiting  = 128
	buffered = 64 << 10
)

// A Conn is a network connection that gathers what is written to it, and that closes itself
// when a read or a write fails.
//
// The closing matters where heartbeats stay away. amqp091-go fails the read and then shuts
// its channels down, for which it needs each channel's lock. A publisher that is stuck in a
// write to the dead connection holds that lock, and both would wait for ever. The closed
// connection fails the write.
type Conn struct {
	net.Conn
	bound    atomic.Pointer[context.Context]
	gathered chan []byte // nil asks for the end
	closed   chan struct{}
	failure  atomic.Pointer[error]
	sending  sync.WaitGroup
}

// New makes a Conn of c, whose writes ctx bounds. Close it, or cut it.
func New(ctx context.Context, c net.Conn) *Conn {
	s := &Conn{Conn: c, gathered: make(chan []byte, waiting), closed: make(chan struct{})}
	s.Bound(ctx)
	s.sending.Go(s.send)
	return s
}

// send sends what gathers, until the connection is closed.
func (s *Conn) send() {
	out := bufio.NewWriterSize(s.Conn, buffered)
	for {
		select {
		case <-s.closed:
			return
		case p := <-s.gathered:
			out.Write(p)
			if len(s.gathered) > 0 {
				continue
			}
			if err := out.Flush(); err != nil { // or an error of out.Write
				s.fail(err)
			} else if p == nil {
				s.Cut()
			}
		}
	}
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

// Write returns before p is sent; an error is that of an earlier write. While the peer does
// not read, Write waits.
func (s *Conn) Write(p []byte) (int, error) {
	select {
	case s.gathered <- bytes.Clone(p):
	default:
		defer s.CutAfter(*s.bound.Load())()
		select {
		case s.gathered <- bytes.Clone(p):
		case <-s.closed:
		}
	}
	if err := s.Failure(); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Bound has ctx bound the writes that begin from now on: a second after its end, one that is
// stuck cuts the connection.
func (s *Conn) Bound(ctx context.Context) { s.bound.Store(&ctx) }

// Close sends what has gathered, for at most a second, and closes the connection.
func (s *Conn) Close() error {
	s.SetWriteDeadline(time.Now().Add(Patience))
	s.Write(nil)
	s.sending.Wait()
	return nil
}

// Cut closes the connection at once. What has gathered is lost.
func (s *Conn) Cut() { s.fail(net.ErrClosed) }

// CutAfter cuts the connection a second after the end of ctx, unless stop is called before.
// Nothing else frees a goroutine that waits for a peer that does not read.
func (s *Conn) CutAfter(ctx context.Context) (stop func()) {
	stopped := make(chan struct{})
	forget := context.AfterFunc(ctx, func() {
		select {
		case <-stopped:
		case <-time.After(Patience):
			s.Cut()
		}
	})
	return func() {
		forget()
		close(stopped)
	}
}

// Failure returns why the connection is closed, nil while it is open. It is the first
// failure: after a failed write, a read says no more than that the connection is closed.
func (s *Conn) Failure() error {
	if failure := s.failure.Load(); failure != nil {
		return *failure
	}
	return nil
}

func (s *Conn) fail(err error) {
	if s.failure.CompareAndSwap(nil, &err) {
		close(s.closed)
		s.Conn.Close()
	}
}
