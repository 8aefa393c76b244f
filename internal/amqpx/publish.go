package amqpx

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// lastConfirm is how long the result of a delivery in hand may wait for its confirm after the end of Run's ctx.
const lastConfirm = 5 * time.Second

var (
	// ErrUnroutable says that no queue took a mandatory message: it is gone.
	ErrUnroutable = errors.New("no queue took the message")

	// ErrNacked says that the broker could not take the message, for instance
	// because the queue is full.
	ErrNacked = errors.New("the broker refused the message")

	// ErrUnconfirmed says that the wait for the confirm was cut short. The broker
	// may have the message or not; to publish it again may double it.
	ErrUnconfirmed = errors.New("no confirm from the broker: whether it has the message is unknown")
)

// A Route says where a message goes, and whether somebody must get it.
type Route struct {
	Exchange   string // "", the default exchange, leads to the queue named by the routing key
	RoutingKey string // at most 255 bytes
	Mandatory  bool   // the broker returns a message that no queue takes, instead of dropping it
}

func (to Route) String() string {
	if to.Exchange == "" {
		return fmt.Sprintf("queue %q", to.RoutingKey)
	}
	return fmt.Sprintf("exchange %q", to.Exchange)
}

// PublishConfirmed publishes a message and waits until the broker confirms that it is
// responsible for it: a persistent message in a durable queue is then on disk. Any
// number of goroutines may call it at once. (Give messages that differ in nothing but their
// headers a MessageId each: a returned one is told apart by exchange, routing key, MessageId
// and body.)
//
// The error wraps
//   - [ErrUnroutable] if the message was mandatory and no queue took it;
//   - [ErrNacked] if the broker could not take it;
//   - an [*amqp.Error] if the broker refused it with a reason: 403 ACCESS_REFUSED, or 404 NOT_FOUND
//     for the exchange;
//   - [ErrUnconfirmed] if ctx or the session ended while it was on its way;
//   - the cause of ctx's end if that came first, or the library's error for headers that AMQP
//     cannot carry: nothing was sent.
//
// Return the error to [Run], and after a lost session the message is published again in the
// next one. The end of ctx costs the session only if a second later this message is still being
// written, or the session's first request for confirms has no answer.
//
// To publish the result of a delivery in hand, pass [context.WithoutCancel] of Run's ctx. Once
// Run's ctx has ended, the wait is bounded to five seconds: a broker that blocks publishers may
// never confirm.
//
// See https://www.rabbitmq.com/docs/confirms#publisher-confirms.
func (s *Session) PublishConfirmed(ctx context.Context, to Route, msg amqp.Publishing) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("publish to %s: %w", to, err)
		}
	}()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if ctx.Done() == nil { // without an end
		var cancel context.CancelCauseFunc
		ctx, cancel = context.WithCancelCause(ctx)
		defer cancel(nil)
		defer context.AfterFunc(s.ctx, func() { time.AfterFunc(lastConfirm, func() { cancel(context.DeadlineExceeded) }) })()
	}
	confirm, err := s.publishDeferred(ctx, to, msg)
	if err != nil {
		if broken := s.broken(); broken != nil {
			return s.unconfirmed(ctx, to, broken)
		}
		return err
	}
	select {
	case <-confirm.Done():
	case <-ctx.Done():
		s.watch.Go(func() { // if it still comes back, no later caller may take it for its own
			<-confirm.Done()
			s.takeReturned(to, msg)
		})
		return s.unconfirmed(ctx, to, nil)
	}
	unroutable := s.takeReturned(to, msg)
	if confirm.Acked() {
		s.confirmed.Store(true)
		return unroutable
	}
	if broken := s.broken(); broken != nil { // a lost session resolves every confirm as negative
		return s.unconfirmed(ctx, to, broken)
	}
	return ErrNacked
}

// unconfirmed says why there will be no confirm. A refusal closes the channel, and names an
// exchange ('amq.default' is ""). All messages to that one count as refused; the others are in doubt.
func (s *Session) unconfirmed(ctx context.Context, to Route, broken error) error {
	var refusal *amqp.Error
	if errors.As(broken, &refusal) && strings.Contains(refusal.Reason, "exchange '"+cmp.Or(to.Exchange, "amq.default")+"'") {
		return broken
	}
	return fmt.Errorf("%w: %w", ErrUnconfirmed, cmp.Or(context.Cause(ctx), broken))
}

func (s *Session) publishDeferred(ctx context.Context, to Route, msg amqp.Publishing) (confirm *amqp.DeferredConfirmation, err error) {
	err = s.write(ctx, func() (err error) {
		if !s.confirming {
			defer s.socket.CutAfter(ctx)() // Confirm waits for an answer
			if err := s.Confirm(false); err != nil {
				return err
			}
			s.confirming = true
			s.fileReturned()
		}
		confirm, err = s.PublishWithDeferredConfirm(to.Exchange, to.RoutingKey, to.Mandatory, false, msg)
		return err
	})
	return confirm, err
}

// fileReturned keeps returned messages for the goroutines that wait for their confirms. The
// broker returns a message before it confirms it. The library hands a return to one listener after
// the other, and reads on, to the confirm, when both have taken it. So we take it from the second
// only when it is filed.
func (s *Session) fileReturned() {
	returns, barrier := s.NotifyReturn(make(chan amqp.Return)), s.NotifyReturn(make(chan amqp.Return))
	s.watch.Go(func() {
		for r := range returns { // is closed with the channel
			s.filing.Lock()
			s.returned = append(s.returned, r)
			s.filing.Unlock()
			<-barrier
		}
	})
}

// takeReturned returns an [ErrUnroutable] if the message was returned.
func (s *Session) takeReturned(to Route, msg amqp.Publishing) error {
	s.filing.Lock()
	defer s.filing.Unlock()
	for i, r := range s.returned {
		if to.Mandatory && r.Exchange == to.Exchange && r.RoutingKey == to.RoutingKey && r.MessageId == msg.MessageId && bytes.Equal(r.Body, msg.Body) {
			s.returned = append(s.returned[:i], s.returned[i+1:]...)
			return fmt.Errorf("%w (%d %s)", ErrUnroutable, r.ReplyCode, r.ReplyText)
		}
	}
	return nil
}

// PublishUnconfirmed publishes a message and waits for nothing. That is enough where a
// lost message is noticed in another way, as by a caller who gets no answer. to.Mandatory is
// ignored: nobody would hear of the return. Any number of goroutines may call it at once.
//
// The message is published even if ctx has ended: it may be the answer to a request in
// hand. But if others are publishing then, it does not wait for its turn: the error is the cause
// of ctx's end. Any other error says that the session is lost, except for headers that AMQP
// cannot carry. The session is lost, too, if the message is still being written a second after
// the end of ctx.
func (s *Session) PublishUnconfirmed(ctx context.Context, to Route, msg amqp.Publishing) error {
	return annotate(s.write(ctx, func() error {
		return s.Publish(to.Exchange, to.RoutingKey, false, false, msg)
	}), "publish to ", to)
}

// write lets one goroutine at a time write to the channel: a message goes out in several
// frames, and no other method may come between them. (Acknowledgements need no turn: a lock of
// the library keeps them out.) A goroutine waits for its turn until ctx ends; if its write is
// stuck for a second more, the connection is cut.
func (s *Session) write(ctx context.Context, call func() error) error {
	select {
	case s.writing <- struct{}{}: // even if ctx has ended
	default:
		select {
		case s.writing <- struct{}{}:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	s.socket.Bound(ctx)
	defer func() {
		s.socket.Bound(s.ctx)
		<-s.writing
	}()
	return call()
}
