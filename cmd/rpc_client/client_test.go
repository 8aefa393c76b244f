package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"go.uber.org/goleak"

	"rabbitmq-tutorial/internal/harness"
)

func TestMain(m *testing.M) {
	log.SetOutput(io.Discard) // what Run says about lost connections
	goleak.VerifyTestMain(m)
}

const soon = 20 * time.Second

func newClient(t *testing.T, v *harness.Vhost) (context.Context, *Client) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	client := NewClient(ctx, v.URL)
	t.Cleanup(func() {
		client.Close()
		cancel()
	})
	return ctx, client
}

// A peer is a server that is not rpc_server, and answers as a test wants.
type peer struct {
	*amqp.Channel
	requests <-chan amqp.Delivery
}

func newPeer(t *testing.T, v *harness.Vhost) *peer {
	t.Helper()
	ch := harness.Channel(t, v.URL)
	harness.DeclareQueue(t, ch, "rpc_queue")
	return &peer{ch, harness.Consume(t, ch, "rpc_queue", 0)}
}

// request waits for the next request.
func (p *peer) request(t *testing.T) amqp.Delivery {
	t.Helper()
	request := harness.Next(t, p.requests)
	if err := request.Ack(false); err != nil {
		t.Fatal(err)
	}
	return request
}

func (p *peer) answer(t *testing.T, request amqp.Delivery, correlationID, body string) {
	t.Helper()
	err := p.Publish("", request.ReplyTo, false, false, amqp.Publishing{CorrelationId: correlationID, Body: []byte(body)})
	if err != nil {
		t.Fatal(err)
	}
}

// A result is what a call has returned.
type result struct {
	n     int
	value *big.Int
	err   error
}

// start makes a call that sends its result to done.
func start(ctx context.Context, client *Client, n int, done chan<- result) {
	go func() {
		value, err := client.Call(ctx, n)
		done <- result{n, value, err}
	}()
}

// next waits for the next result.
func next(t *testing.T, done <-chan result) result {
	t.Helper()
	select {
	case r := <-done:
		return r
	case <-time.After(soon):
		t.Fatal("no call completes")
	}
	panic("unreachable")
}

// Calls that are made at once do not wait for one another: all requests are out before the first
// answer, and each answer finds its call, whatever their order.
func TestAnswersMayComeInAnyOrder(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	server := newPeer(t, v)
	ctx, client := newClient(t, v)
	const calls = 50
	done := make(chan result, calls)
	for n := range calls {
		start(ctx, client, n, done)
	}
	var requests []amqp.Delivery
	for range calls {
		requests = append(requests, server.request(t))
	}
	for i := calls - 1; i >= 0; i-- {
		server.answer(t, requests[i], requests[i].CorrelationId, "1"+string(requests[i].Body))
	}
	answered := make(map[int]bool)
	for range calls {
		call := next(t, done)
		if want := fmt.Sprint("1", call.n); call.err != nil || call.value.String() != want || answered[call.n] {
			t.Errorf("call %d: %v, %v, want %s", call.n, call.value, call.err, want)
		}
		answered[call.n] = true
	}
	if n := v.Connections(); n != 2 { // the server's and the client's
		t.Errorf("there are %d connections", n)
	}
}

// Answers that nobody asked for, or that come twice or too late, are ignored.
func TestAnswersThatNobodyWaitsForAreIgnored(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	server := newPeer(t, v)
	ctx, client := newClient(t, v)
	done := make(chan result, 10)

	givenUp, cancel := context.WithCancelCause(ctx)
	start(givenUp, client, 1, done)
	late := server.request(t)
	why := errors.New("changed my mind")
	cancel(why)
	if call := next(t, done); !errors.Is(call.err, why) || call.value != nil {
		t.Errorf("given up: %v, %v", call.value, call.err)
	}

	start(ctx, client, 2, done)
	request := server.request(t)
	server.answer(t, request, late.CorrelationId, "1")
	for _, id := range []string{"", "0", "-1", "18446744073709551616", "else's", request.CorrelationId + "0", " " + request.CorrelationId} {
		server.answer(t, request, id, "666")
	}
	harness.PublishMessages(t, server.Channel, "", request.ReplyTo, amqp.Publishing{CorrelationId: "0", Type: "error"})
	server.answer(t, request, request.CorrelationId, "2")
	server.answer(t, request, request.CorrelationId, "3")
	if call := next(t, done); call.n != 2 || call.err != nil || call.value.String() != "2" {
		t.Errorf("call %d: %v, %v", call.n, call.value, call.err)
	}

	start(context.WithoutCancel(ctx), client, 4, done)
	if request = server.request(t); request.Expiration != "" {
		t.Errorf("a request without a deadline expires after %q ms", request.Expiration)
	}
	server.answer(t, request, request.CorrelationId, "4")
	if call := next(t, done); call.n != 4 || call.err != nil || call.value.String() != "4" {
		t.Errorf("call %d: %v, %v", call.n, call.value, call.err)
	}
}

func TestCloseEndsCalls(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	ctx, client := newClient(t, v)
	done := make(chan result, 3)
	for n := range 3 {
		start(ctx, client, n, done)
	}
	harness.Eventually(t, soon, "the client is connected", func() bool { return v.HasQueue("rpc_queue") })
	client.Close()
	for range 3 {
		if call := next(t, done); call.err == nil || call.value != nil {
			t.Errorf("call %d after Close: %v, %v", call.n, call.value, call.err)
		}
	}
	if got, err := client.Call(ctx, 4); err == nil || err.Error() != "the client is closed" {
		t.Errorf("Call after Close = %v, %v", got, err)
	}
	client.Close() // twice does no harm
}
