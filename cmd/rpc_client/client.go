package main

import (
	"cmp"
	"context"
	"errors"
	"math/big"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"rabbitmq-tutorial/internal/amqpx"
)

var errClosed = errors.New("the client is closed")

// A Client calls fib on whichever rpc_server is free. Any number of goroutines may call:
// they share one session and one queue for the answers. A call whose session is lost is
// made again in the next one. (Do not do this with a function that has side effects.)
type Client struct {
	calls   atomic.Uint64
	waiting sync.Map  // the calls without an answer: correlation id to chan amqp.Delivery
	links   chan link // gives the present session to each call that asks

	stop    context.CancelFunc
	stopped chan struct{} // closed when there will be no further session
	err     error         // why there will be none; set before stopped is closed
}

// A link is a session with the queue for its answers.
type link struct {
	*amqpx.Session
	replies string
	lost    chan struct{} // closed when the session ends
}

// NewClient returns a client that connects to the broker at url in the background. Close
// it after use.
func NewClient(ctx context.Context, url string) *Client {
	ctx, stop := context.WithCancel(ctx)
	c := &Client{links: make(chan link), stop: stop, stopped: make(chan struct{})}
	go func() {
		defer close(c.stopped)
		err := amqpx.Run(ctx, url, func(s *amqpx.Session) error { return c.receive(ctx, s) })
		c.err = cmp.Or(err, errClosed)
	}()
	return c
}

// Close ends the connection, and with it the calls that have no answer yet.
func (c *Client) Close() {
	c.stop()
	<-c.stopped
}

// Call asks for fib(n) and waits for the answer. It gives up when ctx ends; at the deadline
// of ctx, the request expires in the queue.
func (c *Client) Call(ctx context.Context, n int) (*big.Int, error) {
	id, answers := strconv.FormatUint(c.calls.Add(1), 10), make(chan amqp.Delivery, 1)
	c.waiting.Store(id, answers)
	defer c.waiting.Delete(id)
	for ctx.Err() == nil {
		var l link
		select {
		case l = <-c.links:
		case answer := <-answers: // it came just before the session was lost
			return parse(answer)
		case <-c.stopped:
			return nil, cmp.Or(context.Cause(ctx), c.err)
		case <-ctx.Done():
			continue
		}

		// ReplyTo names the queue for the answer, into which the server copies CorrelationId.
		// The request is neither mandatory nor confirmed: a missing answer says enough. We
		// ignore the error: the session is lost, or ctx has ended. Either ends the wait below.
		_ = l.PublishUnconfirmed(ctx, amqpx.Route{Exchange: "", RoutingKey: "rpc_queue", Mandatory: false}, amqp.Publishing{
			ContentType:   "text/plain",
			ReplyTo:       l.replies,
			CorrelationId: id,
			Expiration:    expiration(ctx),
			Body:          []byte(strconv.Itoa(n)),
		})
		select {
		case answer := <-answers:
			return parse(answer)
		case <-l.lost: // ask again in the next session
		case <-ctx.Done():
		}
	}
	return nil, context.Cause(ctx)
}

// receive hands each answer of one session to the call that waits for it.
func (c *Client) receive(ctx context.Context, s *amqpx.Session) error {
	// The same arguments as in rpc_server: either program may be started first.
	if _, err := s.DeclareQueue(amqpx.Queue{Name: "rpc_queue", Durable: true, Type: amqp.QueueTypeQuorum}); err != nil {
		return err
	}
	// Exclusive: a queue for our answers alone, deleted with the connection. No name: the
	// broker makes one up. No type: a classic queue, on this broker only.
	replies, err := s.DeclareQueue(amqpx.Queue{Name: "", Exclusive: true})
	if err != nil {
		return err
	}
	// AutoAck: an answer that is lost with the connection is asked for again.
	answers, err := s.Consume(ctx, amqpx.Consumer{Queue: replies.Name, AutoAck: true})
	if err != nil {
		return err
	}

	l := link{s, replies.Name, make(chan struct{})}
	var giving sync.WaitGroup
	giving.Go(func() {
		for {
			select {
			case c.links <- l:
			case <-l.lost:
				return
			}
		}
	})
	defer giving.Wait()
	defer close(l.lost)

	for answer := range answers {
		// The match: an answer that comes too late, or twice, finds nobody waiting.
		if call, ok := c.waiting.LoadAndDelete(answer.CorrelationId); ok {
			call.(chan amqp.Delivery) <- answer
		}
	}
	return nil
}

// expiration is the time until ctx's deadline, in milliseconds. The broker drops a request
// that no server has taken by then.
func expiration(ctx context.Context) string {
	deadline, ok := ctx.Deadline()
	if !ok {
		return amqp.NeverExpire
	}
	return strconv.FormatInt(max(1, time.Until(deadline).Milliseconds()), 10)
}
