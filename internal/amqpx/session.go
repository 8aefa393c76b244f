package amqpx

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

const (
	// The pause before the next connection doubles from minPause to maxPause. It stays
	// below two seconds, so that a consumer is back two seconds after its broker.
	minPause = 100 * time.Millisecond
	maxPause = 1500 * time.Millisecond

	// closeTimeout bounds the wait for the broker's part in a clean end. While a broker
	// has a resource alarm, it reads nothing that its publishers send, not even
	// connection.close.
	closeTimeout = time.Second

	// maxDoubts is how often in a row the broker may say something that is final only
	// if it goes on saying it.
	maxDoubts = 3
)

// A Session is an AMQP channel on a connection of its own, and ends with either of
// them. It has all methods of the channel; those that take a value of this package
// name their arguments.
//
// One goroutine declares and consumes. Any number of goroutines may publish; they have
// returned when the function that [Run] calls does.
type Session struct {
	*amqp.Channel

	conn   *amqp.Connection
	socket *socket
	closed func() *amqp.Error // waits until the channel is closed and says why
	watch  sync.WaitGroup     // goroutines that end with the connection

	consuming atomic.Bool // there is or was a consumer
	consumers []consumer
	cancelled error // why deliveries ended that nobody had stopped

	// A message goes out in several frames, and no other method may come between them.
	// amqp091-go keeps publishes and acknowledgements apart, but not the rest.
	writing    sync.Mutex
	confirming bool // the channel is in confirm mode

	filing   sync.Mutex
	returned []amqp.Return // not yet taken by the goroutines that published them
}

// Run connects to the broker at url and calls fn with the session. When the session is
// lost, Run says so on the standard logger, pauses for 0.1 seconds and later up to 1.5,
// and calls fn again with a new one: until fn is done, or ctx ends.
//
// fn is done when it returns while its session lives. A function that consumes returns
// nil when its deliveries end: Run knows whether ctx has ended or the session was lost.
//
// Run returns what fn returned, or
//   - a [*DialError] or [ErrURL] if the first connection fails;
//   - if ctx ends between two sessions: what the last call of fn could not do, or nil
//     if it left nothing undone and ctx was cancelled;
//   - an [*amqp.Error] that trying again cannot cure, such as 403 ACCESS_REFUSED, 406
//     PRECONDITION_FAILED or a wrong password. 404 NOT_FOUND must come three times in a
//     row.
//
// See https://www.rabbitmq.com/docs/connections.
func Run(ctx context.Context, url string, fn func(*Session) error) error {
	var (
		undone error // what the last call of fn could not do
		lost   error // why there is no session; nil before the first one
		told   string
		doubts int
		pause  = minPause / 2 // the last pause
	)
	for {
		s, err := open(ctx, url)
		if err != nil {
			if lost == nil || incurable(err) {
				return err
			}
			lost = err
		} else {
			if lost != nil {
				log.Print("connected again")
				told = ""
			}
			opened := time.Now()
			undone, lost = s.run(ctx, fn)
			switch {
			case lost == nil || incurable(undone):
				return undone
			case isCode(lost, amqp.AccessRefused): // of a message or an acknowledgement
				return lost
			case time.Since(opened) > maxPause:
				pause, doubts = minPause/2, 0
			}
			err = undone
		}
		if !doubtful(err) {
			doubts = 0
		} else if doubts++; doubts == maxDoubts {
			return err
		}

		if text := reason(lost); text != told && ctx.Err() == nil {
			log.Printf("%s; connecting again", text)
			told = text
		}
		pause = min(2*pause, maxPause)
		select {
		case <-time.After(pause/2 + rand.N(pause/2)): // not all clients at once
		case <-ctx.Done():
			if undone == nil && !errors.Is(ctx.Err(), context.Canceled) {
				return fmt.Errorf("%w: %w", context.Cause(ctx), lost)
			}
			return undone
		}
	}
}

// isCode reports whether err is the broker's refusal with that reply code.
func isCode(err error, code int) bool {
	var e *amqp.Error
	return errors.As(err, &e) && e.Server && e.Code == code
}

// incurable reports whether the broker will refuse again what it has refused.
func incurable(err error) bool {
	var e *amqp.Error
	if !errors.As(err, &e) || !e.Server {
		return false
	}
	switch e.Code {
	case amqp.AccessRefused, amqp.ResourceLocked, amqp.PreconditionFailed, amqp.NotImplemented:
		return true
	case amqp.NotAllowed:
		// A virtual host may still be starting, and a limit of connections may count
		// one that is already dead.
		return !strings.HasSuffix(e.Reason, "is down") && !strings.HasSuffix(e.Reason, "is reached")
	}
	return false
}

// doubtful reports whether the broker may think better of what it said. What fn has
// declared, somebody may have deleted before it was used. And on a slow network, a
// connection that breaks during the log-in looks like a refused one.
func doubtful(err error) bool {
	return isCode(err, amqp.NotFound) || errors.Is(err, amqp.ErrCredentials)
}

// reason says why there is no session, in the broker's words if it gave any.
func reason(lost error) string {
	var e *amqp.Error
	if errors.As(lost, &e) {
		return "connection lost: " + e.Reason
	}
	return lost.Error()
}

// open makes a session.
func open(ctx context.Context, url string) (*Session, error) {
	conn, socket, err := dial(ctx, url)
	if err != nil {
		return nil, err
	}
	// amqp091-go waits for ever if the broker does not answer now: it misses no heartbeat
	// before a first frame has arrived.
	ctx, cancel := context.WithTimeoutCause(ctx, dialTimeout, errNoAnswer)
	defer cancel()
	defer context.AfterFunc(ctx, socket.cut)()

	s := &Session{conn: conn, socket: socket}
	blocked := conn.NotifyBlocked(make(chan amqp.Blocking, 1))
	s.watch.Go(func() {
		for b := range blocked { // is closed with the connection
			if b.Active {
				log.Printf("the broker is blocking publishers: %s", b.Reason)
			} else {
				log.Print("the broker takes messages again")
			}
		}
	})
	if s.Channel, err = conn.Channel(); err != nil {
		s.close(false)
		addr, _, _ := parse(url) // as dial has
		return nil, &DialError{addr, fmt.Errorf("open a channel: %w", cmp.Or(context.Cause(ctx), err))}
	}
	closed := s.NotifyClose(make(chan *amqp.Error, 1))
	s.closed = sync.OnceValue(func() *amqp.Error { return <-closed })
	return s, nil
}

// run calls fn and closes the session. It returns what fn could not do, and why the
// session was lost: nil if it was there to the end, or is no longer needed.
func (s *Session) run(ctx context.Context, fn func(*Session) error) (undone, lost error) {
	defer func() { s.close(undone == nil) }()
	// When ctx ends, fn may be waiting for a broker that does not answer. A consumer,
	// however, may be busy with its last delivery.
	defer context.AfterFunc(ctx, func() {
		time.AfterFunc(closeTimeout, func() {
			if !s.consuming.Load() {
				s.socket.cut()
			}
		})
	})()
	undone = fn(s)
	if undone != nil || s.cancelled != nil {
		lost = cmp.Or(s.broken(), s.cancelled)
	}
	return undone, lost
}

// broken says why the connection or the channel is closed, nil if they are open.
func (s *Session) broken() error {
	if !s.IsClosed() && s.socket.failure.Load() == nil {
		return nil
	}
	if e := s.closed(); e != nil {
		return e
	}
	return amqp.ErrClosed
}

// close ends the consumers and the connection: within a second, even if the broker does
// not answer.
func (s *Session) close(done bool) {
	defer time.AfterFunc(closeTimeout, s.socket.cut).Stop()
	s.endConsumers(done)
	s.conn.Close() // fails if the connection is lost, which closes it as well
	s.watch.Wait()
}
