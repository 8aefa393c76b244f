package amqpx_test

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"rabbitmq-tutorial/internal/amqpx"
	"rabbitmq-tutorial/internal/harness"
)

// What was delivered ahead goes back in order. RabbitMQ 4 counts failed attempts apart from
// deliveries, and must count one only for the delivery that the function failed at.
func TestWhatWasDeliveredAheadGoesBack(t *testing.T) {
	t.Parallel()
	failed := errors.New("cannot deal with it")
	for name, test := range map[string]struct {
		n              int
		cancel, panics bool
		result         error
		failures       int
	}{
		"the context ends":             {200, true, false, nil, 0},
		"the function returns":         {200, false, false, nil, 0},
		"the function fails":           {32, false, false, failed, 1},
		"it fails as the context ends": {32, true, false, failed, 1},
		"the function panics":          {32, false, true, failed, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := harness.NewVhost(t)
			ch := quorumQueue(t, v)
			harness.Publish(t, ch, "", "q", harness.Numbered("", test.n)...)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			err := runRecovered(ctx, v.URL, failed, func(s *amqpx.Session) error {
				if err := s.Qos(test.n); err != nil {
					return err
				}
				deliveries, err := s.Consume(ctx, amqpx.Consumer{Queue: "q"})
				if err != nil {
					return err
				}
				for d := range deliveries {
					if string(d.Body) == "3" { // "1" and "2" are done
						harness.Eventually(t, time.Minute, "the rest is delivered ahead", func() bool { return v.Queue("q").Ready == 0 })
						if test.cancel {
							cancel()
						}
						if test.panics {
							panic(test.result)
						}
						return test.result
					}
					if err := amqpx.Ack(d); err != nil {
						return err
					}
				}
				return errors.New("the deliveries ended")
			})
			if err != test.result {
				t.Errorf("Run = %v, want %v", err, test.result)
			}
			want := harness.Numbered("", test.n)[2:]
			harness.Eventually(t, time.Minute, "the rest is back", func() bool { return v.Queue("q").Ready == len(want) })
			v4, failures, bodies := false, 0, []string{}
			for range want {
				d, ok, err := ch.Get("q", true)
				if err != nil || !ok {
					t.Fatalf("after %q: %v, %v", bodies, ok, err)
				}
				v4 = v4 || d.Headers["x-acquired-count"] != nil
				if d.Headers["x-delivery-count"] != nil {
					failures++
				}
				bodies = append(bodies, string(d.Body))
			}
			if v4 && failures != test.failures {
				t.Errorf("%d messages count as failed, want %d", failures, test.failures)
			}
			if test.result != nil { // its own delivery comes back later than the others
				slices.SortFunc(bodies, func(a, b string) int { return cmp.Or(len(a)-len(b), strings.Compare(a, b)) })
			}
			if !slices.Equal(bodies, want) {
				t.Errorf("the rest came back as %q", bodies)
			}
		})
	}
}

// runRecovered is Run for a function that may panic, which then gives the error panicked.
func runRecovered(ctx context.Context, url string, panicked error, fn func(*amqpx.Session) error) (err error) {
	defer func() {
		if recover() != nil {
			err = panicked
		}
	}()
	return amqpx.Run(ctx, url, fn)
}

// Of 300 deliveries, all but the first are acknowledged one by one, in any order. No
// acknowledgement is lost at the end of the session: only the first message comes back.
func TestNoAcknowledgementIsLostAtTheEndOfASession(t *testing.T) {
	t.Parallel()
	// What happens before and after the acknowledgements.
	for how, end := range map[string]struct{ before, after bool }{
		"the function returns":      {},
		"its context ends":          {after: true},
		"its context ended earlier": {before: true},
	} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			for range 5 {
				v := harness.NewVhost(t)
				harness.Publish(t, quorumQueue(t, v), "", "q", harness.Numbered("", 301)...)
				session(t, v.URL, func(ctx context.Context, s *amqpx.Session) {
					ctx, cancel := context.WithCancel(ctx)
					defer cancel()
					if err := s.Qos(301); err != nil {
						t.Error(err)
					}
					messages, err := s.Consume(ctx, amqpx.Consumer{Queue: "q"})
					if err != nil {
						t.Error(err)
						return
					}
					var deliveries []amqp.Delivery
					for d := range messages {
						if deliveries = append(deliveries, d); len(deliveries) == 300 { // one is delivered and not looked at
							break
						}
					}
					if end.before {
						cancel()
					}
					for _, i := range rand.Perm(299) {
						if err := amqpx.Ack(deliveries[1+i]); err != nil {
							t.Error(err)
						}
					}
					if end.after {
						cancel()
					}
				})
				v.AwaitReady("q", 2)
				harness.Eventually(t, time.Minute, "the consumer has given back what it held", func() bool { return v.Queue("q").Consumers == 0 })
				var left []string
				for _, d := range v.Drain("q") {
					left = append(left, string(d.Body))
				}
				if slices.Sort(left); !slices.Equal(left, []string{"1", "301"}) {
					t.Errorf("the queue has %q", left)
				}
			}
		})
	}
}

// quorumQueue declares the queue "q" and returns a channel of a client of its own.
func quorumQueue(t *testing.T, v *harness.Vhost) *amqp.Channel {
	t.Helper()
	ch := harness.Channel(t, v.URL)
	harness.DeclareQueue(t, ch, "q")
	return ch
}
