package amqpx

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"

	amqp "github.com/rabbitmq/amqp091-go"
)

// A Publisher publishes without waiting for each confirm: up to a window of
// messages are on their way at any time. It outlives its connection. What was
// not confirmed when a session was lost it publishes again in the next one, so
// that a message may arrive twice but none is lost.
//
// Publish may be called from any number of goroutines.
// See https://www.rabbitmq.com/docs/confirms#publisher-confirms.
type Publisher struct {
	cancel  context.CancelFunc
	declare func(*Session) error
	report  func(amqp.Publishing, error)
	window  chan struct{} // holds an element for each message without a fate
	ended   chan struct{} // closed when there will be no further session
	closing sync.Mutex

	mu       sync.Mutex
	err      error         // why there will be no further session
	session  *Session      // nil while there is none
	inFlight chan outgoing // what this session has published, in order
	unsent   []outgoing    // what the next session publishes first, in order
	count    uint64
}

var errPublisherClosed = errors.New("the publisher is closed")

// outgoing is a message without a fate.
type outgoing struct {
	exchange, routingKey string
	msg                  amqp.Publishing
	confirm              *amqp.DeferredConfirmation
}

// A route tells returned messages apart. An id alone does not: the caller may use
// one twice.
type route struct{ exchange, routingKey, messageID string }

// NewPublisher returns a publisher that connects to the broker at url and has at
// most window messages on their way. Each new session begins with declare, which
// must not publish. Once for every message, one call at a time, report gets its
// fate: nil for confirmed, or an error that wraps [ErrUnroutable], [ErrNacked], or
// [ErrUnconfirmed] if the publisher ended first. The next message waits for report
// to return, so report must not call the publisher's methods.
//
// The publisher ends with Close, with ctx, and with what ends [Run].
func NewPublisher(ctx context.Context, url string, window int, declare func(*Session) error, report func(amqp.Publishing, error)) *Publisher {
	running, cancel := context.WithCancel(ctx)
	p := &Publisher{
		cancel:  cancel,
		declare: declare,
		report:  report,
		window:  make(chan struct{}, max(window, 1)),
		ended:   make(chan struct{}),
	}
	go func() {
		defer close(p.ended)
		err := Run(running, url, func(s *Session) error {
			// A broker that blocks publishers leaves them stuck in a write.
			defer context.AfterFunc(ctx, s.socket.cut)()
			return p.publish(running, s)
		})
		if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
			err = cause // of whatever failed as the connection was cut
		}
		err = cmp.Or(err, errPublisherClosed)
		p.mu.Lock()
		p.err = err
		p.mu.Unlock()
		for _, out := range p.unsent {
			p.report(out.msg, fmt.Errorf("%w: %w", ErrUnconfirmed, err))
		}
	}()
	return p
}

// Publish hands over one message, to be published as mandatory. It waits while
// the window is full. An error says that the message was not taken: the
// publisher has ended, or the message cannot be sent at all. A message without
// an id gets one, by which the broker's returns are told apart.
func (p *Publisher) Publish(exchange, routingKey string, msg amqp.Publishing) error {
	if err := sendable(exchange, routingKey, msg); err != nil {
		return err
	}
	select {
	case p.window <- struct{}{}:
	case <-p.ended:
		return p.err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return p.err
	}
	p.count++
	if msg.MessageId == "" {
		msg.MessageId = strconv.FormatUint(p.count, 10)
	}
	p.send(outgoing{exchange: exchange, routingKey: routingKey, msg: msg})
	return nil
}

// Close waits for the fate of every message, then ends the publisher. It returns
// why the publisher had ended before, nil if it had not. A closed publisher has.
func (p *Publisher) Close() error {
	defer p.cancel()
	p.closing.Lock() // two would wait for each other's half of the window
	defer p.closing.Unlock()
	for range cap(p.window) { // no message without a fate is left
		select {
		case p.window <- struct{}{}:
		case <-p.ended:
			return p.err
		}
	}
	p.cancel()
	<-p.ended
	return nil
}

// send publishes in the session, if there is one, or leaves the message for the
// next one. The caller holds p.mu.
func (p *Publisher) send(out outgoing) {
	if p.session != nil {
		confirm, err := p.session.PublishWithDeferredConfirm(out.exchange, out.routingKey, true, false, out.msg)
		if err == nil {
			out.confirm = confirm
			p.inFlight <- out // has room for the whole window
			return
		}
		// The message could be sent as such, so the session is lost.
	}
	p.unsent = append(p.unsent, out)
}

// publish is what the publisher does with a session: it sends what the last one
// has left, lets Publish in, and waits for the confirms.
func (p *Publisher) publish(ctx context.Context, s *Session) error {
	if err := p.declare(s); err != nil {
		return err
	}
	if err := s.Confirm(false); err != nil {
		return err
	}
	closed := s.NotifyClose(make(chan *amqp.Error, 1))
	returns := s.NotifyReturn(make(chan amqp.Return, cap(p.window)))
	returned := make(map[route][]amqp.Return) // in order

	p.mu.Lock()
	p.session, p.inFlight = s, make(chan outgoing, cap(p.window))
	unsent := p.unsent
	p.unsent = nil
	for _, out := range unsent {
		p.send(out)
	}
	p.mu.Unlock()

	for {
		var out outgoing
		select {
		case out = <-p.inFlight:
		case <-ctx.Done():
			p.leave()
			return nil
		case <-closed:
			p.leave()
			return cmp.Or(context.Cause(ctx), s.lost())
		}
		acked := out.confirm.Wait()
		if !acked && s.IsClosed() { // which resolves every confirm, as negative
			p.leave(out)
			return cmp.Or(context.Cause(ctx), s.lost())
		}
		// The broker returns a message before it confirms it.
		for len(returns) > 0 {
			r := <-returns
			from := route{r.Exchange, r.RoutingKey, r.MessageId}
			returned[from] = append(returned[from], r)
		}
		to := route{out.exchange, out.routingKey, out.msg.MessageId}
		switch back := returned[to]; {
		case len(back) > 0:
			if returned[to] = back[1:]; len(back) == 1 {
				delete(returned, to)
			}
			p.report(out.msg, unroutableError(back[0]))
		case !acked:
			p.report(out.msg, ErrNacked)
		default:
			p.report(out.msg, nil)
		}
		<-p.window
	}
}

// leave keeps for the next session what this one leaves unconfirmed: what is left
// of it in hand, then the rest of what is in flight, then what was not sent any more.
func (p *Publisher) leave(left ...outgoing) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.inFlight) > 0 {
		left = append(left, <-p.inFlight)
	}
	p.unsent = append(left, p.unsent...)
	p.session = nil
}
