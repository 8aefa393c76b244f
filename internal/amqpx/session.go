// Package amqpx is what the programs of this tutorial share: connecting, coming
// back after a lost connection, declaring, consuming until the program is asked to
// stop, and publishing with publisher confirms.
//
// Its centre is [Run]. Run opens a [Session], which is an AMQP channel on a
// connection of its own, and calls the program's function with it. A lost session
// takes everything that belonged to it with it: its deliveries end, its acknowledgements
// fail without harm, and Run calls the function again with a new session. That is
// safe because declaring is idempotent, and it is the whole recovery: a consumer
// is a function that declares, binds and consumes.
//
// The RabbitMQ guides that it follows:
//
//   - consumers: https://www.rabbitmq.com/docs/consumers
//   - acknowledgements and confirms: https://www.rabbitmq.com/docs/confirms
//   - connections and their recovery: https://www.rabbitmq.com/docs/connections
package amqpx

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"rabbitmq-tutorial/internal/socket"
)

// The pause before the next connection doubles from minPause to maxPause. It stays below two
// seconds, so that a consumer is back two seconds after its broker.
const minPause, maxPause = 100 * time.Millisecond, 1500 * time.Millisecond

// maxDoubt is how long Run tries again after doubtful errors alone.
const maxDoubt = 10 * time.Second

// A Session is an AMQP channel on a connection of its own, and ends with either of
// them. It has all methods of the channel. Those that it does not have in a form of its
// own, such as QueueDelete, must not be called while another goroutine publishes.
//
// One goroutine declares and consumes, any number may publish. Wait for those that use
// PublishConfirmed before the function that [Run] calls returns.
type Session struct {
	*amqp.Channel

	conn   *amqp.Connection
	socket *socket.Conn
	closed func() *amqp.Error // waits until the channel is closed and says why
	watch  sync.WaitGroup     // goroutines that end with the connection

	ends      []func(handBack bool) // each ends a consumer
	cancelled error                 // set when deliveries end without our doing

	ctx        context.Context // Run's, for methods that take none
	writing    chan struct{}   // holds an element while somebody writes to the channel
	confirming bool            // the channel is in confirm mode
	confirmed  atomic.Bool     // the broker has confirmed a message

	filing   sync.Mutex
	returned []amqp.Return // not yet taken by the goroutines that published them
}

// Run connects to the broker at url and calls fn with the session. When the session is
// lost, Run says so on the standard logger, pauses for up to 0.1 seconds and later up to 1.5,
// and calls fn again with a new one: until fn is done, or ctx ends.
//
// url may have several URLs, with commas between them: nodes of a cluster. Run takes the first
// that answers, beginning at a random one. Later it begins with the last good one, and ends
// with those that failed.
//
// fn is done when it returns while its session lives, but not with an [ErrNacked]. A function
// that consumes returns nil when its deliveries end: Run knows whether ctx has ended or the
// session was lost. When ctx ends, what waits for the broker has a second left, and a consumer
// may finish the delivery in hand.
//
// Run returns what fn returned, or
//   - [ErrURL], or [ErrConnect] if there is no first connection;
//   - if ctx ends between two sessions: the error that fn returned last, or nil if it
//     returned none and ctx was cancelled;
//   - an [*amqp.Error] that trying again cannot cure, such as 403 ACCESS_REFUSED or 406
//     PRECONDITION_FAILED;
//   - 404 NOT_FOUND, an [ErrNacked] or a refused log-in, if for ten seconds there was no other error
//     and no confirm.
//
// See https://www.rabbitmq.com/docs/connections.
func Run(ctx context.Context, url string, fn func(*Session) error) error {
	var (
		undone  error // what fn returned last
		lost    error // why there is no session; nil before the first one
		told    string
		doubted time.Time      // since when there were only doubtful errors, and no confirm
		pause   = minPause / 2 // the last pause
	)
	all, err := parseAll(url)
	if err != nil {
		return err
	}
	for {
		s, err := all.open(ctx)
		if err != nil {
			if lost == nil || incurable(err) {
				return err
			}
			lost = err
		} else {
			if lost != nil && !errors.Is(lost, ErrNacked) { // then Run itself closed the session
				log.Printf("connected again, to %s", all[0].host)
				told = ""
			}
			opened := time.Now()
			undone, lost = s.run(fn)
			switch {
			case lost == nil && !errors.Is(undone, ErrNacked) || incurable(undone):
				return undone
			case incurable(lost): // the broker refused what fn does not wait for, such as an acknowledgement
				return lost
			case time.Since(opened) > maxPause:
				pause, told = minPause/2, ""
			}
			if s.confirmed.Load() {
				doubted = time.Time{}
			}
			err, lost = undone, cmp.Or(lost, undone)
		}
		if doubtful(err) {
			all.putOff() // another broker may do what this one does not
			if doubted = cmp.Or(doubted, time.Now()); time.Since(doubted) > maxDoubt {
				return err
			}
		} else {
			doubted = time.Time{}
		}

		text := lost.Error()
		if e := (*amqp.Error)(nil); errors.As(lost, &e) && errors.Is(lost, ErrConnect) {
			text = strings.Replace(text, e.Error(), e.Reason, 1) // in the broker's words
		} else if e != nil {
			text = "connection lost: " + e.Reason
		}
		if text != told && ctx.Err() == nil {
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

// isCode reports whether err is the broker's refusal with one of these reply codes.
func isCode(err error, codes ...int) bool {
	var e *amqp.Error
	return errors.As(err, &e) && e.Server && slices.Contains(codes, e.Code)
}

// incurable reports whether the broker will refuse again what it has refused. Three such refusals
// are temporary: a virtual host that is down may be starting, a limit that is reached may count
// a connection that is already dead, and an acknowledgement may have come too late.
func incurable(err error) bool {
	var e *amqp.Error
	temporary := errors.As(err, &e) && (strings.HasSuffix(e.Reason, "is down") || strings.HasSuffix(e.Reason, "is reached") ||
		strings.Contains(e.Reason, "delivery acknowledgement on channel"))
	return !temporary && isCode(err, amqp.AccessRefused, amqp.ResourceLocked, amqp.PreconditionFailed, amqp.NotImplemented, amqp.NotAllowed)
}

// doubtful reports whether the error may pass, or may stay: Run tries for maxDoubt. What fn has
// declared, somebody may have deleted before it was used. On a slow network, a connection that
// breaks during the log-in looks like a refused one. And a queue refuses messages while it has
// no leader, which is until its replicas have elected one.
func doubtful(err error) bool {
	return isCode(err, amqp.NotFound) || errors.Is(err, amqp.ErrCredentials) || errors.Is(err, ErrNacked)
}

// run calls fn and closes the session. It returns what fn could not do, and why the
// session was lost: nil if it was there to the end, or is no longer needed.
func (s *Session) run(fn func(*Session) error) (undone, lost error) {
	handBack := false // and stays so if fn panics
	defer func() { s.close(handBack) }()
	undone = fn(s)
	// If the broker refuses a result, its delivery is not to blame.
	handBack = undone == nil || errors.Is(undone, ErrNacked)
	if undone != nil || s.cancelled != nil {
		lost = cmp.Or(s.broken(), s.cancelled)
	}
	return undone, lost
}

// broken says why the connection or the channel is closed, nil if they are open. When the broker
// closes the connection, there is a moment in which its channel does not know yet.
func (s *Session) broken() error {
	if !s.IsClosed() && !s.conn.IsClosed() && s.socket.Failure() == nil {
		return nil
	}
	return s.closed()
}

// close cancels the consumers, hands back what was delivered ahead, and closes the
// connection: within a second, even if the broker does not answer. While it has a resource
// alarm, it reads nothing that its publishers send, not even connection.close.
//
// Without the cancelling, acknowledgements could be lost: RabbitMQ passes at most 32 at a time
// on to a quorum queue, and a closing channel drops the others. It answers basic.cancel when
// the queue has had them all.
//
// With handBack, all deliveries without an acknowledgement go back at once, with a nack, which RabbitMQ 4.3
// does not count towards the delivery limit. Otherwise the delivery at which the function failed
// goes back with the closing channel, and that counts.
func (s *Session) close(handBack bool) {
	defer time.AfterFunc(socket.Patience, s.socket.Cut).Stop()
	s.writing <- struct{}{} // the cut frees whoever is stuck in a write
	defer func() { <-s.writing }()
	for _, end := range s.ends {
		end(handBack)
	}
	if handBack {
		s.Nack(0, true, true) // 0: every delivery without an acknowledgement
	}
	s.conn.Close() // fails if the connection is lost, which closes it as well
	s.watch.Wait()
}
