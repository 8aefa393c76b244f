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
// number of goroutines may call it at once.
//
// The error wraps [ErrUnroutable] if the message was mandatory and no queue took it,
// [ErrNacked], an [*amqp.Error] if the broker refused it with a reason (403
// ACCESS_REFUSED, 404 NOT_FOUND for the exchange), or [ErrUnconfirmed] if ctx or the
// session ended first. Return the error to [Run], and after a lost session the message
// is published again in the next one. The end of ctx costs the session only if the
// message is still being written a second later.
//
// See https://www.rabbitmq.com/docs/confirms#publisher-confirms.
func (s *Session) PublishConfirmed(ctx context.Context, to Route, msg amqp.Publishing) error {
	if err := s.publishConfirmed(ctx, to, msg); err != nil {
		return fmt.Errorf("publish to %s: %w", to, err)
	}
	return nil
}

func (s *Session) publishConfirmed(ctx context.Context, to Route, msg amqp.Publishing) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
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
		s.watch.Go(func() { // what comes back now is nobody else's message
			<-confirm.Done()
			s.takeReturned(to, msg)
		})
		return s.unconfirmed(ctx, to, nil)
	}
	returned := s.takeReturned(to, msg)
	switch broken := s.broken(); {
	case confirm.Acked():
		return returned
	case broken != nil: // a lost session resolves every confirm as negative
		return s.unconfirmed(ctx, to, broken)
	}
	return ErrNacked
}

// unconfirmed says why there will be no confirm. A broker that refuses a message closes
// the channel, and its reason names the exchange: for the messages to other exchanges
// the session is lost.
func (s *Session) unconfirmed(ctx context.Context, to Route, broken error) error {
	var refusal *amqp.Error
	if errors.As(broken, &refusal) && strings.Contains(refusal.Reason, "exchange '"+cmp.Or(to.Exchange, "amq.default")+"'") {
		return broken
	}
	return fmt.Errorf("%w: %w", ErrUnconfirmed, cmp.Or(context.Cause(ctx), broken))
}

// publishDeferred publishes in confirm mode.
func (s *Session) publishDeferred(ctx context.Context, to Route, msg amqp.Publishing) (*amqp.DeferredConfirmation, error) {
	defer s.lockToWrite(ctx)()
	if !s.confirming {
		if err := s.Confirm(false); err != nil {
			return nil, err
		}
		s.confirming = true
		returns, filed := s.NotifyReturn(make(chan amqp.Return)), s.NotifyReturn(make(chan amqp.Return))
		s.watch.Go(func() { s.fileReturned(returns, filed) })
	}
	return s.PublishWithDeferredConfirm(to.Exchange, to.RoutingKey, to.Mandatory, false, msg)
}

// fileReturned keeps returned messages for the goroutines that wait for their confirms.
// The broker returns a message before it confirms it. The library hands it to both
// listeners in turn and only then reads on, so that it waits at the second until the
// message is filed.
func (s *Session) fileReturned(returns, filed <-chan amqp.Return) {
	for r := range returns { // is closed with the channel
		s.filing.Lock()
		s.returned = append(s.returned, r)
		s.filing.Unlock()
		<-filed
	}
}

// takeReturned returns an [ErrUnroutable] if the message was returned. Two messages that
// do not differ in what is compared here are one and the same to their publishers.
func (s *Session) takeReturned(to Route, msg amqp.Publishing) error {
	s.filing.Lock()
	defer s.filing.Unlock()
	for i, r := range s.returned {
		if r.Exchange == to.Exchange && r.RoutingKey == to.RoutingKey && r.MessageId == msg.MessageId && bytes.Equal(r.Body, msg.Body) {
			s.returned = append(s.returned[:i], s.returned[i+1:]...)
			return fmt.Errorf("%w (%d %s)", ErrUnroutable, r.ReplyCode, r.ReplyText)
		}
	}
	return nil
}

// PublishUnconfirmed publishes a message and waits for nothing. That is enough where a
// lost message is noticed in another way, as by a caller who gets no answer. Any number
// of goroutines may call it at once.
//
// The message is published even if ctx has ended: it may be the answer to a request in
// hand. An error says that the session is lost. It is also lost if the message is still
// being written a second after the end of ctx.
func (s *Session) PublishUnconfirmed(ctx context.Context, to Route, msg amqp.Publishing) error {
	defer s.lockToWrite(ctx)()
	if err := s.PublishWithContext(context.WithoutCancel(ctx), to.Exchange, to.RoutingKey, to.Mandatory, false, msg); err != nil {
		return fmt.Errorf("publish to %s: %w", to, err)
	}
	return nil
}

// lockToWrite gives the caller the channel for a write, until it calls unlock. If the write
// still goes on a second after the end of ctx, the connection is cut: a broker that blocks
// publishers stops reading, and nothing else frees a write that is stuck then.
func (s *Session) lockToWrite(ctx context.Context) (unlock func()) {
	written := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		select {
		case <-written:
		case <-time.After(closeTimeout):
			s.socket.cut()
		}
	})
	s.writing.Lock()
	return func() {
		s.writing.Unlock()
		stop()
		close(written)
	}
}
