package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strconv"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"rabbitmq-tutorial/internal/amqpx"
	"rabbitmq-tutorial/internal/program"
)

// A Client calls fib on whichever rpc_server is free. All its calls, from any
// number of goroutines, share one connection and one queue for the answers; a
// correlation id says which answer belongs to which call. When the connection is
// lost, the client asks again what was not answered yet. (To ask twice does no
// harm here. For a function with side effects it would.)
type Client struct {
	stop    context.CancelFunc
	stopped chan struct{} // closed when there will be no further session
	wake    chan struct{} // says that there are unsent calls

	mu        sync.Mutex
	connected bool  // there is or was a session
	err       error // why there will be no further one
	calls     uint64
	pending   map[uint64]*Call // by correlation id, which is never used again
	unsent    []uint64
}

var errNotConnected = errors.New("no connection to the broker yet. Does AMQP_URL or -url name a RabbitMQ that can be reached?")

// A Call is a request and, once it has arrived on Done, its result.
type Call struct {
	N      int
	Result *big.Int   // nil if Err is not
	Err    error      // why there is no result
	Done   chan *Call // gets this Call when it is complete

	ctx     context.Context
	unwatch func() bool
}

// NewClient returns a client of the broker at url. It connects in the background;
// if that fails, the calls do. Close it after use.
func NewClient(ctx context.Context, url string) *Client {
	ctx, stop := context.WithCancel(ctx)
	c := &Client{
		stop:    stop,
		stopped: make(chan struct{}),
		wake:    make(chan struct{}, 1),
		pending: make(map[uint64]*Call),
	}
	go func() {
		defer close(c.stopped)
		err := amqpx.Run(ctx, url, func(s *amqpx.Session) error { return c.session(ctx, s) })
		if err == nil {
			err = errors.New("the client is closed")
		}
		c.mu.Lock()
		c.err = err
		ids := slices.Sorted(maps.Keys(c.pending))
		c.mu.Unlock()
		for _, id := range ids {
			c.complete(id, nil, err)
		}
	}()
	return c
}

// Close ends the connection, and with it the calls that are not complete.
func (c *Client) Close() {
	c.stop()
	<-c.stopped
}

// Call asks for fib(n) and waits for the answer. It gives up when ctx ends, and so
// does the request: it expires in the queue at the deadline of ctx.
func (c *Client) Call(ctx context.Context, n int) (*big.Int, error) {
	call := <-c.Go(ctx, n, make(chan *Call, 1)).Done
	return call.Result, call.Err
}

// Go asks for fib(n) and returns at once. The Call arrives on done when it is
// complete; done must have room for every call that it was given to.
func (c *Client) Go(ctx context.Context, n int, done chan *Call) *Call {
	call := &Call{N: n, Done: done, ctx: ctx}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		call.Err = c.err
		done <- call
		return call
	}
	c.calls++
	id := c.calls
	c.pending[id] = call
	call.unwatch = context.AfterFunc(ctx, func() { c.giveUp(ctx, id) })
	c.unsent = append(c.unsent, id)
	c.wakeUp()
	return call
}

// giveUp completes a call whose time is over.
func (c *Client) giveUp(ctx context.Context, id uint64) {
	c.mu.Lock()
	connected := c.connected
	c.mu.Unlock()
	if !connected && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		c.complete(id, nil, errNotConnected)
	} else {
		c.complete(id, nil, context.Cause(ctx))
	}
}

func (c *Client) wakeUp() {
	select {
	case c.wake <- struct{}{}:
	default: // it is awake already
	}
}

// complete delivers a call. It does nothing for an id that is unknown: the call
// was answered before, or has been given up.
func (c *Client) complete(id uint64, result *big.Int, err error) {
	c.mu.Lock()
	call, ok := c.pending[id]
	delete(c.pending, id)
	c.mu.Unlock()
	if ok {
		call.unwatch()
		call.Result, call.Err = result, err
		call.Done <- call
	}
}

// session sends requests and takes answers until the connection is lost.
func (c *Client) session(ctx context.Context, s *amqpx.Session) error {
	requests, err := s.DeclareQuorumQueue("rpc_queue")
	if err != nil {
		return err
	}
	replies, err := s.DeclareTemporaryQueue()
	if err != nil {
		return err
	}
	// An answer that is lost with this connection is asked for again on the next.
	answers, err := s.ConsumeAutoAck(ctx, replies.Name)
	if err != nil {
		return err
	}

	c.mu.Lock()
	c.connected = true
	c.unsent = slices.Sorted(maps.Keys(c.pending))
	c.wakeUp()
	c.mu.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	var sender sync.WaitGroup
	sender.Go(func() { c.send(ctx, s, requests.Name, replies.Name) })
	defer sender.Wait()
	defer cancel()

	for answer := range answers {
		id, err := strconv.ParseUint(answer.CorrelationId, 10, 64)
		if err != nil {
			continue // not ours
		}
		result, err := parse(answer)
		c.complete(id, result, err)
	}
	return nil
}

// send publishes the calls as they come, until ctx ends or the session is lost.
func (c *Client) send(ctx context.Context, s *amqpx.Session, requests, replies string) {
	for {
		select {
		case <-c.wake:
		case <-ctx.Done():
			return
		}
		c.mu.Lock()
		unsent := c.unsent
		c.unsent = nil
		c.mu.Unlock()
		for _, id := range unsent {
			c.mu.Lock()
			call, ok := c.pending[id]
			c.mu.Unlock()
			if !ok {
				continue
			}
			err := s.PublishUnconfirmed(ctx, "", requests, amqp.Publishing{
				ContentType:   "text/plain",
				ReplyTo:       replies,
				CorrelationId: strconv.FormatUint(id, 10),
				Expiration:    expiration(call.ctx),
				Body:          []byte(strconv.Itoa(call.N)),
			})
			if err != nil {
				return // the session is lost: the next one sends it again
			}
		}
	}
}

// expiration is the time that is left to ctx, in milliseconds as AMQP wants it. A
// request that nobody took by then is dropped by the broker.
func expiration(ctx context.Context) string {
	deadline, ok := ctx.Deadline()
	if !ok {
		return amqp.NeverExpire
	}
	return strconv.FormatInt(max(1, time.Until(deadline).Milliseconds()), 10)
}

// parse reads an answer: the decimal result, or what is wrong with the request.
func parse(answer amqp.Delivery) (*big.Int, error) {
	if answer.Type == "error" {
		return nil, fmt.Errorf("the server refused: %s", program.Printable(answer.Body))
	}
	result, ok := new(big.Int).SetString(string(answer.Body), 10)
	if !ok {
		return nil, fmt.Errorf("the answer is not a number: %.20q", answer.Body)
	}
	return result, nil
}
