package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"rabbitmq-tutorial/internal/harness"
	"rabbitmq-tutorial/internal/test/bench/latency"
)

func openAmqpx(_ *testing.B, url string) (call func() error, close func()) {
	client := NewClient(context.Background(), url)
	return func() error {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		_, err := client.Call(ctx, 10)
		return err
	}, client.Close
}

func openPlain(b *testing.B, url string) (call func() error, close func()) {
	client, err := newPlainClient(url)
	if err != nil {
		b.Fatal(err)
	}
	return client.call, func() { client.conn.Close() }
}

func openPerCall(_ *testing.B, url string) (call func() error, close func()) {
	return func() error { return callOnce(url) }, func() {}
}

// serve starts servers on a virtual host of their own, and returns its URL.
func serve(b *testing.B, servers, prefetch int) (url string) {
	b.Helper()
	vhost := harness.NewVhost(b)
	for range servers {
		harness.Start(b, vhost.URL, "rpc_server", fmt.Sprintf("-prefetch=%d", prefetch)).Await("Awaiting RPC requests")
	}
	return vhost.URL
}

// BenchmarkLatency measures how long a call takes.
func BenchmarkLatency(b *testing.B) {
	b.Run("of=rpc", func(b *testing.B) {
		url := serve(b, 1, 100)
		amqpx, closeAmqpx := openAmqpx(b, url)
		defer closeAmqpx()
		plain, closePlain := openPlain(b, url)
		defer closePlain()
		if err := amqpx(); err != nil { // it is connected
			b.Fatal(err)
		}
		latency.Compare(b, 100, amqpx, plain)
	})
}

// BenchmarkRPC calls fib(10), which takes a server no time, so it measures the way there and
// back. The plain client is what a careful reader would write with amqp091-go alone; per_call
// opens a connection for each call, as the official Go tutorial does. Package
// internal/test/bench says how to run it and read it.
func BenchmarkRPC(b *testing.B) {
	type client struct {
		by   string
		open func(b *testing.B, url string) (call func() error, close func())
	}
	ours, plain, perCall := client{"amqpx", openAmqpx}, client{"plain", openPlain}, client{"per_call", openPerCall}
	bench := func(servers, prefetch, inFlight, n int, clients ...client) {
		b.Run(fmt.Sprintf("servers=%d/prefetch=%d/in_flight=%d", servers, prefetch, inFlight), func(b *testing.B) {
			url := serve(b, servers, prefetch)
			rand.Shuffle(len(clients), func(i, j int) { clients[i], clients[j] = clients[j], clients[i] })
			for _, client := range clients {
				b.Run("by="+client.by, func(b *testing.B) {
					call, close := client.open(b, url)
					defer close()
					if err := call(); err != nil { // it is connected
						b.Fatal(err)
					}
					b.ReportMetric(rate(b, call, inFlight, n), "calls/s")
					b.ReportMetric(0, "ns/op")
				})
			}
		})
	}

	// A server with a prefetch of 1 waits for the broker after each answer. That is right for
	// requests that take long, but these take no time.
	for _, prefetch := range []int{1, 100} {
		bench(1, prefetch, 1, 50, ours, plain, perCall)
		for _, servers := range []int{1, 4} {
			bench(servers, prefetch, 10, 400, ours, plain)
			bench(servers, prefetch, 100, 1000*min(prefetch, 3), ours, plain)
		}
	}
}

// BenchmarkPipeline is what lesson 8's stage is compared with: as many calls in flight as it has
// numbers in hand.
func BenchmarkPipeline(b *testing.B) {
	for _, c := range []struct{ inFlight, n int }{{1, 500}, {10, 1_000}, {100, 5_000}, {1000, 5_000}} {
		b.Run(fmt.Sprintf("prefetch=%d/by=rpc", c.inFlight), func(b *testing.B) {
			call, close := openAmqpx(b, serve(b, 1, c.inFlight))
			defer close()
			if err := call(); err != nil { // it is connected
				b.Fatal(err)
			}
			b.ReportMetric(rate(b, call, c.inFlight, c.n), "msg/s")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// rate returns how many calls a second were made, of n, with some in flight.
func rate(b *testing.B, call func() error, inFlight, n int) float64 {
	b.Helper()
	callers := make(chan error, inFlight)
	start := time.Now()
	for i := range inFlight {
		go func() {
			for range (n + i) / inFlight {
				if err := call(); err != nil {
					callers <- err
					return
				}
			}
			callers <- nil
		}()
	}
	for range inFlight {
		if err := <-callers; err != nil {
			b.Fatal(err)
		}
	}
	return float64(n) / time.Since(start).Seconds()
}

// A plainClient shares one connection and one queue for the answers, as Client does. It does not
// outlive its connection.
type plainClient struct {
	conn    *amqp.Connection
	ch      *amqp.Channel
	replies string

	mu      sync.Mutex
	calls   uint64
	pending map[string]chan []byte
}

func newPlainClient(url string) (*plainClient, error) {
	conn, err := amqp.Dial(url)
	if err != nil {
		return nil, err
	}
	ch, replies, answers, err := consumeReplies(conn)
	if err != nil {
		conn.Close()
		return nil, err
	}
	c := &plainClient{conn: conn, ch: ch, replies: replies, pending: make(map[string]chan []byte)}
	go func() {
		for answer := range answers {
			c.mu.Lock()
			call := c.pending[answer.CorrelationId]
			delete(c.pending, answer.CorrelationId)
			c.mu.Unlock()
			if call != nil {
				call <- answer.Body
			}
		}
	}()
	return c, nil
}

func (c *plainClient) call() error {
	answer := make(chan []byte, 1)
	c.mu.Lock()
	c.calls++
	id := strconv.FormatUint(c.calls, 10)
	c.pending[id] = answer
	c.mu.Unlock()
	if err := request(c.ch, c.replies, id); err != nil {
		return err
	}
	select {
	case body := <-answer:
		return expect55(body)
	case <-time.After(time.Minute):
		return errors.New("no answer")
	}
}

// callOnce makes one call on a connection of its own.
func callOnce(url string) error {
	conn, err := amqp.Dial(url)
	if err != nil {
		return err
	}
	defer conn.Close()
	ch, replies, answers, err := consumeReplies(conn)
	if err != nil {
		return err
	}
	if err := request(ch, replies, "1"); err != nil {
		return err
	}
	return expect55((<-answers).Body)
}

func consumeReplies(conn *amqp.Connection) (ch *amqp.Channel, queue string, answers <-chan amqp.Delivery, err error) {
	if ch, err = conn.Channel(); err != nil {
		return nil, "", nil, err
	}
	replies, err := ch.QueueDeclare("", false, false, true, false, nil)
	if err != nil {
		return nil, "", nil, err
	}
	answers, err = ch.Consume(replies.Name, "", true, false, false, false, nil)
	return ch, replies.Name, answers, err
}

func request(ch *amqp.Channel, replies, id string) error {
	return ch.Publish("", "rpc_queue", false, false, amqp.Publishing{
		ContentType:   "text/plain",
		ReplyTo:       replies,
		CorrelationId: id,
		Expiration:    "60000",
		Body:          []byte("10"),
	})
}

func expect55(body []byte) error {
	if string(body) != "55" {
		return fmt.Errorf("fib(10) is %q", body)
	}
	return nil
}
