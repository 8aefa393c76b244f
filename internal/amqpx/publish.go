package amqpx

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

var (
	// ErrUnroutable says that the broker has the exchange but no queue took the
	// message from it: the message is gone.
	ErrUnroutable = errors.New("no queue took the message")

	// ErrNacked says that the broker could not take the message, for instance
	// because the queue is full.
	ErrNacked = errors.New("the broker refused the message")

	// ErrUnconfirmed says that the wait for the confirm was cut short. The broker
	// may have the message or not; to publish it again may double it.
	ErrUnconfirmed = errors.New("no confirm from the broker: whether it has the message is unknown")
)

// publishTimeout bounds all the attempts to publish a message. It is longer than
// a broker takes to restart.
const publishTimeout = 30 * time.Second

var errPublishTimeout = fmt.Errorf("gave up after %v", publishTimeout)

// WithPublishTimeout gives a publisher 30 seconds for its work, reconnections
// included.
func WithPublishTimeout(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, publishTimeout, errPublishTimeout)
}

// PublishConfirmed publishes one message and waits until the broker has taken
// responsibility for it, which for a persistent message in a durable queue means
// that it is on disk. The message is mandatory: one that reaches no queue is
// reported and not silently dropped.
//
// The error wraps [ErrUnroutable], [ErrNacked], an [*amqp.Error] if the broker
// refused it with a reason (403 ACCESS_REFUSED, 404 NOT_FOUND for the exchange),
// or [ErrUnconfirmed] if the session or ctx ended first. The session is lost when
// ctx ends first, as a confirm that comes late must not be taken for another
// message's. Return the error to [Run], and a message without a confirm is
// published again in the next session.
//
// See https://www.rabbitmq.com/docs/confirms#publisher-confirms.
func (s *Session) PublishConfirmed(ctx context.Context, exchange, routingKey string, msg amqp.Publishing) error {
	if err := s.publishConfirmed(ctx, exchange, routingKey, msg); err != nil {
		if exchange == "" {
			return fmt.Errorf("publish to queue %q: %w", routingKey, err)
		}
		return fmt.Errorf("publish to exchange %q: %w", exchange, err)
	}
	return nil
}

func unroutableError(r amqp.Return) error {
	return fmt.Errorf("%w (%d %s)", ErrUnroutable, r.ReplyCode, r.ReplyText)
}

// sendable reports what AMQP has no room for. amqp091-go would find out half-way
// through the message, and give the connection up.
func sendable(exchange, routingKey string, msg amqp.Publishing) error {
	for _, field := range []string{
		exchange, routingKey, msg.ContentType, msg.ContentEncoding, msg.CorrelationId, msg.ReplyTo,
		msg.Expiration, msg.MessageId, msg.Type, msg.UserId, msg.AppId,
	} {
		if len(field) > 255 {
			return fmt.Errorf("%.20q... is %d bytes long; names, keys and message properties have at most 255", field, len(field))
		}
	}
	if err := msg.Headers.Validate(); err != nil {
		return err
	}
	// The headers go in one frame, of 128 KiB unless the broker says otherwise.
	size, err := headerSize(msg.Headers)
	if err == nil && size > maxHeaders {
		err = fmt.Errorf("the headers are %d bytes long; %d fit", size, maxHeaders)
	}
	return err
}

const maxHeaders = 120_000

// headerSize is what a header value takes, or a little more.
func headerSize(value any) (size int, err error) {
	size = 16 // what is not counted below
	add := func(value any) {
		n, e := headerSize(value)
		size, err = size+n, cmp.Or(err, e)
	}
	switch v := value.(type) {
	case string:
		size += len(v)
	case []byte:
		size += len(v)
	case []any:
		for _, element := range v {
			add(element)
		}
	case amqp.Table:
		for key, element := range v {
			if len(key) > 255 {
				return 0, fmt.Errorf("the header %.20q... has a name of %d bytes; 255 fit", key, len(key))
			}
			size += len(key)
			add(element)
		}
	}
	return size, err
}

func (s *Session) publishConfirmed(ctx context.Context, exchange, routingKey string, msg amqp.Publishing) error {
	err := s.confirmMode(ctx)
	var confirm *amqp.DeferredConfirmation
	if err == nil {
		confirm, err = s.publish(ctx, exchange, routingKey, msg)
	}
	if err != nil && s.lost() == nil {
		return err
	}
	acked := false
	if err == nil {
		if _, err = confirm.WaitContext(ctx); err != nil && !confirm.Acked() {
			s.socket.cut()
		}
		acked = confirm.Acked()
	}
	if acked {
		if len(s.returns) > 0 { // the broker returns a message before it confirms it
			return unroutableError(<-s.returns)
		}
		return nil
	}
	if lost := s.lost(); lost != nil { // which resolves every confirm, as negative
		var refusal *amqp.Error
		if errors.As(lost, &refusal) && refusal.Server && refusal.Recover {
			return lost // the broker closed the channel, because of this message
		}
		return fmt.Errorf("%w: %w", ErrUnconfirmed, cmp.Or(context.Cause(ctx), lost))
	}
	return ErrNacked
}

// confirmMode has the broker confirm and return messages from here on.
func (s *Session) confirmMode(ctx context.Context) error {
	if s.returns != nil {
		return nil
	}
	defer context.AfterFunc(ctx, s.socket.cut)()
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := s.Confirm(false); err != nil {
		return err
	}
	s.returns = s.NotifyReturn(make(chan amqp.Return, 1))
	return nil
}

// PublishDeferred publishes one mandatory message and returns at once with the
// promise of its confirm, which resolves as negative if the session is lost. The
// channel must be in confirm mode.
//
// It is the channel's PublishWithDeferredConfirm, but does not hang: a broker that
// blocks publishers can leave a message stuck in the socket, and when ctx ends,
// the session ends with it and the error is the cause of that. A session that has
// used PublishConfirmed refuses: it takes a returned message for the one that it
// waits for.
func (s *Session) PublishDeferred(ctx context.Context, exchange, routingKey string, msg amqp.Publishing) (*amqp.DeferredConfirmation, error) {
	if s.returns != nil {
		return nil, errMixed
	}
	confirm, err := s.publish(ctx, exchange, routingKey, msg)
	if err != nil {
		err = cmp.Or(context.Cause(ctx), err)
	}
	return confirm, err
}

var errMixed = errors.New("PublishDeferred and PublishConfirmed need a session each")

func (s *Session) publish(ctx context.Context, exchange, routingKey string, msg amqp.Publishing) (*amqp.DeferredConfirmation, error) {
	if err := sendable(exchange, routingKey, msg); err != nil {
		return nil, err
	}
	defer context.AfterFunc(ctx, s.socket.cut)()
	s.writing.Lock()
	defer s.writing.Unlock()
	return s.PublishWithDeferredConfirm(exchange, routingKey, true, false, msg)
}

// PublishUnconfirmed publishes one message without waiting for anything. Where a
// lost message is noticed in another way, as by the caller of a remote procedure
// who gets no answer, this is enough.
//
// It differs from the channel's own PublishWithContext in what ctx does. The
// message is published even if ctx has ended; but a write that is stuck, because
// the broker blocks publishers, is then given up within a second, and the
// session with it.
func (s *Session) PublishUnconfirmed(ctx context.Context, exchange, routingKey string, msg amqp.Publishing) error {
	written := make(chan struct{})
	defer close(written)
	defer context.AfterFunc(ctx, func() {
		select {
		case <-written:
		case <-time.After(closeTimeout):
			s.socket.cut()
		}
	})()
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := s.PublishWithContext(context.WithoutCancel(ctx), exchange, routingKey, false, false, msg); err != nil {
		return fmt.Errorf("publish to queue %q: %w", routingKey, err)
	}
	return nil
}
