package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"strings"
	"sync"
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

func startServer(t *testing.T, v *harness.Vhost) *harness.Process {
	t.Helper()
	server := harness.Start(t, v.URL, "rpc_server")
	server.Await("Awaiting RPC requests")
	return server
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

func TestACallBringsItsAnswer(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	startServer(t, v)
	ctx, client := newClient(t, v)
	for n, want := range map[int]string{0: "0", 1: "1", 30: "832040", 100: "354224848179261915075"} {
		if got, err := client.Call(ctx, n); err != nil || got.String() != want {
			t.Errorf("Call(%d) = %v, %v, want %s", n, got, err, want)
		}
	}
	for n, want := range map[int]string{-1: "must not be negative", 10_001: "too large"} {
		if got, err := client.Call(ctx, n); got != nil || err == nil || !strings.Contains(err.Error(), "the server refused: n is ") || !strings.Contains(err.Error(), want) {
			t.Errorf("Call(%d) = %v, %v, want %s", n, got, err, want)
		}
	}
}

// One client serves many goroutines, and each gets its own answer.
func TestCallFromManyGoroutines(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	startServer(t, v)
	startServer(t, v)
	ctx, client := newClient(t, v)

	const callers, calls = 20, 15
	want := []*big.Int{big.NewInt(0), big.NewInt(1)}
	for n := 2; n < callers*calls; n++ {
		want = append(want, new(big.Int).Add(want[n-1], want[n-2]))
	}
	var running sync.WaitGroup
	for caller := range callers {
		running.Go(func() {
			for i := range calls {
				n := i*callers + caller
				if got, err := client.Call(ctx, n); err != nil || got.Cmp(want[n]) != 0 {
					t.Errorf("Call(%d) = %v, %v, want %v", n, got, err, want[n])
				}
			}
		})
	}
	running.Wait()
	if n := v.Connections(); n > 3 { // of two servers and one client
		t.Errorf("there are %d connections", n)
	}
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
	server.answer(t, request, request.CorrelationId, "2")
	server.answer(t, request, request.CorrelationId, "3")
	if call := next(t, done); call.n != 2 || call.err != nil || call.value.String() != "2" {
		t.Errorf("call %d: %v, %v", call.n, call.value, call.err)
	}

	start(ctx, client, 4, done)
	request = server.request(t)
	server.answer(t, request, request.CorrelationId, "4")
	if call := next(t, done); call.n != 4 || call.err != nil || call.value.String() != "4" {
		t.Errorf("call %d: %v, %v", call.n, call.value, call.err)
	}
}

func TestRequestFollowsTheWireContract(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	server := newPeer(t, v)
	ctx, client := newClient(t, v) // ctx ends in a minute
	done := make(chan result, 2)
	start(ctx, client, 12, done)
	request := server.request(t)
	var left int
	if _, err := fmt.Sscan(request.Expiration, &left); err != nil || left < 1000 || left > 60_000 {
		t.Errorf("the request expires after %q ms", request.Expiration)
	}
	if string(request.Body) != "12" || !strings.HasPrefix(request.ReplyTo, "amq.gen-") || request.CorrelationId == "" {
		t.Errorf("the request is %q, reply_to %q, correlation_id %q", request.Body, request.ReplyTo, request.CorrelationId)
	}
	start(context.Background(), client, 13, done)
	if request := server.request(t); request.Expiration != "" {
		t.Errorf("a request without a deadline expires after %q ms", request.Expiration)
	}
}

func TestACallGivesUpAtItsDeadlineAndSoDoesItsRequest(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	ctx, client := newClient(t, v)

	harness.Eventually(t, soon, "the client has its queue for the answers", func() bool { return len(v.Queues()) == 2 })
	short, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	if got, err := client.Call(short, 1); got != nil || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("no server: %v, %v", got, err)
	}
	if got, err := client.Call(short, 1); got != nil || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a context that has ended: %v, %v", got, err)
	}

	// The request that was given up has left the queue: a server gets only later ones.
	harness.Eventually(t, soon, "no request is left", func() bool { return v.Queue("rpc_queue").Ready == 0 })
	server := newPeer(t, v)
	done := make(chan result, 1)
	start(ctx, client, 2, done)
	if request := server.request(t); string(request.Body) != "2" {
		t.Errorf("a request that was given up is delivered: %q", request.Body)
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

func TestCallsFailWithWhatKeepsTheClientFromTheBroker(t *testing.T) {
	t.Parallel()
	client := NewClient(t.Context(), "nonsense")
	defer client.Close()
	for range 2 {
		if got, err := client.Call(t.Context(), 1); got != nil || err == nil || !strings.Contains(err.Error(), "not an AMQP URL") {
			t.Errorf("Call = %v, %v", got, err)
		}
	}
}

// The caller does not notice a lost connection: the client asks again.
func TestALostConnectionIsNoConcernOfTheCallers(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	ctx, client := newClient(t, v)
	done := make(chan result, 2)
	start(ctx, client, 10, done)
	harness.Eventually(t, soon, "the request is in the queue", func() bool { return v.HasQueue("rpc_queue") && v.Queue("rpc_queue").Ready > 0 })
	v.CloseConnections("test")
	start(ctx, client, 20, done)
	startServer(t, v)
	for range 2 {
		call := next(t, done)
		if want := map[int]string{10: "55", 20: "6765"}[call.n]; call.err != nil || call.value.String() != want {
			t.Errorf("call %d: %v, %v, want %s", call.n, call.value, call.err, want)
		}
	}
}
