package main

import (
	"context"
	"errors"
	"io"
	"log"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"go.uber.org/goleak"

	"rabbitmq-tutorial/internal/amqpx"
	"rabbitmq-tutorial/internal/harness"
)

func TestMain(m *testing.M) {
	log.SetOutput(io.Discard) // what Run says about lost connections
	goleak.VerifyTestMain(m)
}

// loadOf returns n empty messages to a queue of the test's own.
func loadOf(n int) load {
	queue := amqpx.Queue{Name: "q", Durable: true, Type: amqp.QueueTypeQuorum}
	return load{queue, amqpx.Route{RoutingKey: queue.Name, Mandatory: true}, amqp.Publishing{}, n}
}

// Whatever a way is doing when it is given up, its error says why it was given up.
func TestEachWaySaysWhyItWasGivenUp(t *testing.T) {
	t.Parallel()
	why := errors.New("a test")
	for _, way := range ways() {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			v := harness.NewVhost(t)
			for range 20 {
				ctx, cancel := context.WithCancelCause(t.Context())
				published := 0
				err := way.publish(ctx, v.URL, loadOf(1_000_000), func() {
					if published++; published == 1 {
						time.AfterFunc(rand.N(20*time.Millisecond), func() { cancel(why) })
					}
				})
				if !errors.Is(err, why) {
					t.Errorf("after %d messages: %v", published, err)
				}
			}
		})
	}
}

// After a lost session, what it left without a confirm is published again.
func TestEachWaySurvivesALostSession(t *testing.T) {
	t.Parallel()
	const n = 1500 // more than a window, so that messages are left when the session is lost
	for _, way := range ways() {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			v := harness.NewVhost(t)
			published := 0
			err := way.publish(t.Context(), v.URL, loadOf(n), func() {
				if published++; published == 100 {
					v.CloseConnections("a test")
				}
			})
			if err != nil || published != n {
				t.Errorf("%d messages, %v", published, err)
			}
			if q := v.Queue("q"); q.Ready < n {
				t.Errorf("the queue has %d of %d messages", q.Ready, n)
			}
		})
	}
}

// If no broker answers, the user learns which queue is left to delete.
func TestQueueThatIsLeftIsNamed(t *testing.T) { // not parallel: it reads the log
	var said strings.Builder
	log.SetOutput(&said)
	defer log.SetOutput(io.Discard)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := deleteQueue(ctx, "amqp://127.0.0.1:1/", "q"); err == nil || !strings.Contains(said.String(), "delete_queue q") {
		t.Errorf("deleteQueue = %v; it said %q", err, said.String())
	}
}

func TestEachWayTellsWhatTheBrokerRefused(t *testing.T) {
	t.Parallel()
	for _, way := range ways() {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			v := harness.NewVhost(t)
			v.SetPolicy("full", "^q$", map[string]any{"max-length": 10, "overflow": "reject-publish"})
			err := way.publish(t.Context(), v.URL, loadOf(10_000), func() {})
			if !errors.Is(err, amqpx.ErrNacked) {
				t.Errorf("%v", err)
			}
		})
	}
}
