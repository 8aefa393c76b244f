package main

import (
	"context"
	"errors"
	"io"
	"log"
	"math/rand/v2"
	"strings"
	"sync"
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

var ways = map[string]way{
	"one by one":     publishOneByOne,
	"in batches":     publishInBatches,
	"asynchronously": publishAsynchronously,
}

// Whatever a way is busy with when it is given up, its error says why that was.
func TestEachWaySaysWhyItWasGivenUp(t *testing.T) {
	t.Parallel()
	why := errors.New("a test")
	for name, publish := range ways {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := harness.NewVhost(t)
			for range 20 {
				ctx, cancel := context.WithCancelCause(t.Context())
				published := 0
				err := publish(ctx, v.URL, 1_000_000, amqp.Publishing{}, func() {
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

// A lost session is not the end: what it has left without a confirm is published again.
func TestEachWaySurvivesALostSession(t *testing.T) {
	t.Parallel()
	const n = 500
	for name, publish := range ways {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := harness.NewVhost(t)
			published := 0
			err := publish(t.Context(), v.URL, n, amqp.Publishing{}, func() {
				if published++; published == 100 {
					v.CloseConnections("a test")
				}
			})
			if err != nil || published != n {
				t.Errorf("%d messages, %v", published, err)
			}
			if q := v.Queue(queue); q.Ready < n {
				t.Errorf("the queue has %d of %d messages", q.Ready, n)
			}
		})
	}
}

// A lost connection leaves confirms open. That is no refusal, also if there is no next session.
func TestLostSessionIsNoRefusal(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	for range 4 {
		ctx, cancel := context.WithCancel(t.Context())
		var ending sync.WaitGroup
		published := 0
		err := publishInBatches(ctx, v.URL, 1_000_000, amqp.Publishing{}, func() {
			if published++; published == 1 {
				ending.Go(func() {
					v.CloseConnections("a test")
					cancel()
				})
			}
		})
		ending.Wait()
		if err == nil || errors.Is(err, amqpx.ErrNacked) {
			t.Errorf("after %d messages: %v", published, err)
		}
	}
}

// Nobody answers: the user learns what he has to delete himself.
func TestQueueThatIsLeftIsNamed(t *testing.T) { // not parallel: it reads the log
	var said strings.Builder
	log.SetOutput(&said)
	defer log.SetOutput(io.Discard)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := deleteQueue(ctx, "amqp://127.0.0.1:1/"); err == nil || !strings.Contains(said.String(), "delete_queue "+queue) {
		t.Errorf("deleteQueue = %v; it said %q", err, said.String())
	}
}

func TestEachWayTellsWhatTheBrokerRefused(t *testing.T) {
	t.Parallel()
	for name, publish := range ways {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := harness.NewVhost(t)
			v.SetPolicy("full", "^"+queue+"$", map[string]any{"max-length": 10, "overflow": "reject-publish"})
			err := publish(t.Context(), v.URL, 10_000, amqp.Publishing{MessageId: "m"}, func() {})
			if !errors.Is(err, amqpx.ErrNacked) {
				t.Errorf("%v", err)
			}
		})
	}
}
