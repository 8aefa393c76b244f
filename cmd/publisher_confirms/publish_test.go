package main

import (
	"context"
	"errors"
	"io"
	"log"
	"math/rand/v2"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"go.uber.org/goleak"

	"rabbitmq-tutorial/internal/amqpx"
	"rabbitmq-tutorial/internal/brokertest"
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
			v := brokertest.NewVhost(t)
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
			v := brokertest.NewVhost(t)
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

func TestEachWayTellsWhatTheBrokerRefused(t *testing.T) {
	t.Parallel()
	for name, publish := range ways {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := brokertest.NewVhost(t)
			v.SetPolicy("full", "^"+queue+"$", map[string]any{"max-length": 10, "overflow": "reject-publish"})
			err := publish(t.Context(), v.URL, 10_000, amqp.Publishing{MessageId: "m"}, func() {})
			if !errors.Is(err, amqpx.ErrNacked) {
				t.Errorf("%v", err)
			}
		})
	}
}
