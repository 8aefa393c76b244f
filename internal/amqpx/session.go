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
	// The pause before connecting again doubles from minPause to maxPause. It
	// stays below two seconds so that a consumer is back at work within two
	// seconds of its broker.
	minPause = 100 * time.Millisecond
	maxPause = 1500 * time.Millisecond

	// closeTimeout bounds the wait for the broker's part in a clean end. A broker
	// with a resource alarm does not read what its publishers say, not even
	// connection.close, until the alarm clears.
	closeTimeout = time.Second

	// A queue may hold more than the memory does. Until the program calls Qos, the
	// broker sends at most so many deliveries ahead of the acknowledgements: fewer
	// than the 32 that a channel has under way to a quorum queue; see close.
	defaultPrefetch = 30
)

// A Session is one connection with one channel on it, and ends with either of
// them. It is the channel, with the lessons' helpers beside the channel's own
// methods; like a channel it belongs to one goroutine at a time, except that a
// second one may publish while the first ranges over deliveries.
type Session struct {
	*amqp.Channel

	conn     *amqp.Connection
	socket   *socket
	watch    sync.WaitGroup
	closed   func() *amqp.Error // waits until the channel is closed and says why
	cutShort error              // why deliveries ended that nobody had stopped
	returns  chan amqp.Return   // nil until the channel is in confirm mode
	stops    []func()           // each ends a consumer, or what gathers acknowledgements
	ending   chan struct{}      // is closed when fn has returned
	done     bool               // it returned without an error

	prefetch  int         // that Qos was called with, before that -1
	ahead     int         // how many deliveries all consumers together may hold
	consuming atomic.Bool // there is or was a consumer

	// A message goes out in several frames, and no other method may come between
	// them. amqp091-go keeps its publishes and acknowledgements apart, but not
	// the rest; the consumers' Cancel comes from another goroutine.
	writing sync.Mutex
}

// Run connects to the broker at url and calls fn with the session. When the
// session is lost, Run says so on the standard logger, connects again after a
// pause that grows from 0.1 to 1.5 seconds, and calls fn anew: until fn is done
// or ctx ends.
//
// fn is done when it returns while its session lives. A fn that consumes
// returns nil when its deliveries end, and Run knows whether that was because
// ctx ended or because the session was lost.
//
// Run returns what fn returned, or
//   - a [*DialError] or [ErrURL] if the first connection fails;
//   - what the last call of fn could not do if ctx ends between two sessions, or
//     nil if it has left nothing undone and ctx was cancelled;
//   - a refusal that trying again cannot cure, such as 403 ACCESS_REFUSED, 406
//     PRECONDITION_FAILED or a wrong password, as an [*amqp.Error]. Something that
//     does not exist (404 NOT_FOUND) is asked for in three sessions.
//
// See https://www.rabbitmq.com/docs/connections.
func Run(ctx context.Context, url string, fn func(*Session) error) error {
	var (
		undone  error          // what the last call of fn could not do
		lost    error          // why there is no session, nil before the first one
		told    string         // the last of these reasons that the user has read
		refused int            // log-ins refused in a row
		missing int            // sessions in a row that ended with 404 NOT_FOUND
		pause   = minPause / 2 // the last pause
	)
	for {
		s, err := open(ctx, url)
		switch {
		case err == nil:
			if lost != nil {
				log.Print("connected again")
				told = ""
			}
			opened := time.Now()
			undone, lost = s.run(ctx, fn)
			if lost == nil || incurable(undone) {
				return undone
			}
			// A channel that the broker has closed by itself is another matter: only 403
			// is incurable. 406 there is an acknowledgement that came too late.
			if isCode(lost, amqp.AccessRefused) {
				return lost
			}
			if time.Since(opened) > maxPause {
				pause, missing = minPause/2, 0
			}
			if isCode(undone, amqp.NotFound) {
				missing++ // what fn declares, somebody may delete before it is used
			}
			if refused = 0; missing == 3 {
				return undone
			}
		case lost == nil:
			return err
		case errors.Is(err, amqp.ErrCredentials) && refused < 2:
			// On a slow network dial may take a connection that breaks during the
			// log-in for a refusal. Only a broker that goes on refusing means it.
			refused++
		case errors.Is(err, amqp.ErrCredentials) || incurable(err):
			return err
		default:
			lost, refused = err, 0
		}

		if text := reason(lost); text != told && ctx.Err() == nil {
			log.Printf("%s; connecting again", text)
			told = text
		}
		pause = min(2*pause, maxPause)
		select {
		case <-time.After(pause/2 + rand.N(pause/2)): // not all clients at once
		case <-ctx.Done():
			switch {
			case undone != nil:
				return undone
			case errors.Is(ctx.Err(), context.Canceled):
				return nil
			}
			return fmt.Errorf("%w: %w", context.Cause(ctx), lost)
		}
	}
}

// isCode reports whether err is the broker's refusal with that reply code.
func isCode(err error, code int) bool {
	var e *amqp.Error
	return errors.As(err, &e) && e.Server && e.Code == code
}

// incurable reports whether the broker has refused something that it will
// refuse again, however often it is asked.
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
		// one that is dead already.
		return !strings.HasSuffix(e.Reason, "is down") && !strings.HasSuffix(e.Reason, "is reached")
	}
	return false
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
	// What follows waits for the broker, and amqp091-go may do so for ever: it
	// misses no heartbeat before a frame has arrived.
	ctx, cancel := context.WithTimeoutCause(ctx, dialTimeout, errNoAnswer)
	defer cancel()
	defer context.AfterFunc(ctx, socket.cut)()

	s := &Session{conn: conn, socket: socket, ending: make(chan struct{}), prefetch: -1}
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
		s.close()
		addr, _ := Redact(url) // dial has parsed it
		return nil, &DialError{addr, fmt.Errorf("open a channel: %w", cmp.Or(context.Cause(ctx), err))}
	}
	closed := s.NotifyClose(make(chan *amqp.Error, 1))
	s.closed = sync.OnceValue(func() *amqp.Error { return <-closed })
	return s, nil
}

// run calls fn and closes the session. It returns what fn returned, and why the
// session was lost: nil if it was there to the end, or is no longer needed.
func (s *Session) run(ctx context.Context, fn func(*Session) error) (err, lost error) {
	defer s.close()
	// When ctx ends, fn may be waiting for a broker that does not answer. But a
	// consumer may be busy with its last delivery.
	defer context.AfterFunc(ctx, func() {
		time.AfterFunc(closeTimeout, func() {
			if !s.consuming.Load() {
				s.socket.cut()
			}
		})
	})()
	err = fn(s)
	s.done = err == nil
	if err != nil || s.cutShort != nil {
		lost = s.lost()
	}
	return err, lost
}

// lost says why the session is no longer of use, nil if it is.
func (s *Session) lost() error {
	if !s.IsClosed() && s.socket.failure.Load() == nil {
		return s.cutShort
	}
	if e := s.closed(); e != nil {
		return e
	}
	return amqp.ErrClosed
}

// close ends the consumers and the connection, within a second if the broker
// does not answer.
//
// RabbitMQ passes 32 acknowledgements at a time on to a quorum queue, and forgets
// the others if the channel closes meanwhile. It answers basic.cancel when the
// queue has had those, so a consumer is cancelled after the last acknowledgement.
//
// What is left then was delivered ahead, and is handed back: in one go if fn has
// done its work, else one by one, as the delivery in hand must come back from the
// closing channel. RabbitMQ 4 counts that as a failed attempt to deal with it.
func (s *Session) close() {
	defer time.AfterFunc(closeTimeout, s.socket.cut).Stop()
	close(s.ending)
	for _, stop := range s.stops {
		stop()
	}
	if s.done && s.consuming.Load() {
		s.Nack(0, true, true) // 0: all that are not acknowledged
	}
	s.conn.Close() // fails if the connection is lost, which closes it as well
	s.watch.Wait()
}

// await waits until the queue has had all acknowledgements, if there can be more
// than 32, where a consumer was cancelled too early for that. The queue answers
// basic.get in its turn; the message that it may give goes back.
func (s *Session) await(queue string) {
	if s.ahead <= defaultPrefetch {
		return
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	if d, ok, err := s.Get(queue, false); err == nil && ok {
		d.Nack(false, true)
	}
}

// endsWithin waits for a while, and reports whether fn returned meanwhile.
func (s *Session) endsWithin(while time.Duration) bool {
	select {
	case <-s.ending:
		return true
	case <-time.After(while):
		return false
	}
}
