package amqpx_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"rabbitmq-tutorial/internal/amqpx"
	"rabbitmq-tutorial/internal/harness"
)

// numbers returns the bodies "0" to "n-1".
func numbers(n int) []string {
	bodies := make([]string, n)
	for i := range bodies {
		bodies[i] = fmt.Sprint(i)
	}
	return bodies
}

// consumed declares the queue "q", publishes n messages to it and takes all of them.
func consumed(t *testing.T, ctx context.Context, s *amqpx.Session, n int) []amqp.Delivery {
	t.Helper()
	return consumedOf(t, ctx, s, n, n)
}

// consumedOf has n messages delivered, of which it takes some.
func consumedOf(t *testing.T, ctx context.Context, s *amqpx.Session, n, some int) []amqp.Delivery {
	t.Helper()
	queue, err := s.DeclareQuorumQueue("q")
	if err != nil {
		t.Error(err)
		return nil
	}
	for _, body := range numbers(n) {
		if err := s.PublishConfirmed(ctx, "", queue.Name, text(body)); err != nil {
			t.Error(err)
			return nil
		}
	}
	if err := s.Qos(n, 0, false); err != nil {
		t.Error(err)
	}
	deliveries, err := s.ConsumeManualAck(ctx, queue.Name)
	if err != nil {
		t.Error(err)
		return nil
	}
	var all []amqp.Delivery
	for d := range deliveries {
		if all = append(all, d); len(all) == some {
			break
		}
	}
	if len(all) < some {
		t.Errorf("%d of %d messages were delivered", len(all), some)
	}
	return all
}

// left waits until the queue "q" has n messages ready, takes them, and returns their bodies in
// order.
func left(t *testing.T, v *harness.Vhost, n int) []string {
	t.Helper()
	harness.Eventually(t, soon, fmt.Sprintf("%d messages are back in the queue", n), func() bool {
		q := v.Queue("q")
		return q.Ready == n && q.Consumers == 0 // what a consumer held comes back as it goes
	})
	ch := channel(t, v.URL)
	var bodies []string
	for range n {
		d, ok, err := ch.Get("q", true)
		if err != nil || !ok {
			t.Fatalf("after %q: %v, %v", bodies, ok, err)
		}
		bodies = append(bodies, string(d.Body))
	}
	slices.Sort(bodies)
	return bodies
}

// Whatever is handed in, in whatever order and from however many goroutines: that is what is
// acknowledged while the session lives, and nothing else.
func TestAcksAcknowledgeWhatWasHandedInAndNothingElse(t *testing.T) {
	t.Parallel()
	for range 5 {
		seed := rand.Uint64()
		random := rand.New(rand.NewPCG(seed, 0))
		n := 1 + random.IntN(150)
		handedIn := random.Perm(n)[:random.IntN(n+1)]
		testAcks(t, random, seed, n, handedIn, func(t *testing.T, v *harness.Vhost) {
			t.Helper()
			harness.Eventually(t, soon, "what was handed in is acknowledged", func() bool {
				return v.Queue("q").Unacked == n-len(handedIn)
			})
		})
	}
}

// The session ends at once, and RabbitMQ would forget what it has not passed on to the queue by
// then, which it does 32 at a time.
func TestAcksAreOutAtTheEndOfTheSession(t *testing.T) {
	t.Parallel()
	for range 5 {
		seed := rand.Uint64()
		random := rand.New(rand.NewPCG(seed, 0))
		n := 1 + random.IntN(300)
		handedIn := random.Perm(n)[:random.IntN(n+1)]
		testAcks(t, random, seed, n, handedIn, func(*testing.T, *harness.Vhost) {})
	}
}

// All but the first and the last of 301: each has an acknowledgement of its own.
func TestSingleAcknowledgementsAreOutAtTheEndOfTheSession(t *testing.T) {
	t.Parallel()
	// What happens before and after the acknowledgements.
	for how, end := range map[string]struct{ before, after bool }{
		"the function returns":      {},
		"its context ends":          {after: true},
		"its context ended earlier": {before: true},
	} {
		for _, coalesced := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/coalesced=%t", how, coalesced), func(t *testing.T) {
				t.Parallel()
				for range 5 {
					v := harness.NewVhost(t)
					session(t, v.URL, func(ctx context.Context, s *amqpx.Session) {
						ctx, cancel := context.WithCancel(ctx)
						defer cancel()
						deliveries := consumedOf(t, ctx, s, 301, 300)
						acks := s.CoalesceAcks(100)
						if end.before {
							cancel()
							harness.Eventually(t, soon, "the consumer is cancelled", func() bool { return v.Queue("q").Ready == 1 })
						}
						for _, i := range rand.Perm(299) {
							ack := func(d amqp.Delivery) error { return d.Ack(false) }
							if coalesced {
								ack = acks.Ack
							}
							if err := ack(deliveries[1+i]); err != nil {
								t.Error(err)
							}
						}
						if end.after {
							cancel()
						}
					})
					if got := left(t, v, 2); !slices.Equal(got, []string{"0", "300"}) {
						t.Errorf("the queue has %q", got)
					}
				}
			})
		}
	}
}

// testAcks hands some of n deliveries in, and expects that the broker has the others back when
// the session ends after wait.
func testAcks(t *testing.T, random *rand.Rand, seed uint64, n int, handedIn []int, wait func(*testing.T, *harness.Vhost)) {
	t.Helper()
	every, goroutines := 1+random.IntN(60), 1+random.IntN(4)
	name := fmt.Sprintf("seed=%d/n=%d/handed_in=%d/every=%d/goroutines=%d", seed, n, len(handedIn), every, goroutines)
	t.Run(name, func(t *testing.T) {
		t.Parallel()
		v := harness.NewVhost(t)
		session(t, v.URL, func(ctx context.Context, s *amqpx.Session) {
			deliveries := consumed(t, ctx, s, n)
			acks := s.CoalesceAcks(every)
			var wg sync.WaitGroup
			for g := range goroutines {
				wg.Go(func() {
					for i := g; i < len(handedIn); i += goroutines {
						if err := acks.Ack(deliveries[handedIn[i]]); err != nil {
							t.Errorf("delivery %d: %v", handedIn[i], err)
						}
					}
				})
			}
			wg.Wait()
			wait(t, v)
		})
		rest := maps.Collect(slices.All(numbers(n)))
		for _, i := range handedIn {
			delete(rest, i)
		}
		want := slices.Sorted(maps.Values(rest))
		if got := left(t, v, len(want)); !slices.Equal(got, want) {
			t.Errorf("the queue has %q, want %q", got, want)
		}
	})
}

// The session lives on, and all that it has to acknowledge is too little for one
// acknowledgement: it goes out all the same, and what was not handed in stays.
func TestAcksDoNotWaitForCompany(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	session(t, v.URL, func(ctx context.Context, s *amqpx.Session) {
		deliveries := consumed(t, ctx, s, 6)
		acks := s.CoalesceAcks(1000)
		for round, handed := range [][]int{{0, 1, 4}, {3}, {2}} { // 2 closes the gap
			for _, i := range handed {
				if err := acks.Ack(deliveries[i]); err != nil {
					t.Error(err)
				}
			}
			want := []int{3, 2, 1}[round]
			harness.Eventually(t, soon, fmt.Sprintf("%d are unacknowledged", want), func() bool {
				return v.Queue("q").Unacked == want
			})
		}
	})
	if got := left(t, v, 1); got[0] != "5" {
		t.Errorf("the queue has %q", got)
	}
}

// A consumer with a small prefetch gets nothing new before its acknowledgements are out: so it
// sees when they are.
func TestAcksAreOutAfterASmallDelay(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	session(t, v.URL, func(ctx context.Context, s *amqpx.Session) {
		if _, err := s.DeclareQuorumQueue("q"); err != nil {
			t.Error(err)
		}
		publish(t, channel(t, v.URL), "q", numbers(10)...)
		if err := s.Qos(2, 0, false); err != nil {
			t.Error(err)
		}
		deliveries, err := s.ConsumeManualAck(ctx, "q")
		if err != nil {
			t.Error(err)
			return
		}
		acks := s.CoalesceAcks(1000)
		taken, start := 0, time.Now()
		for d := range deliveries {
			if err := acks.Ack(d); err != nil {
				t.Error(err)
			}
			if taken++; taken == 10 {
				break
			}
		}
		// Four times the delay, if every wait begins with the first of the two.
		if took := time.Since(start); took < 100*time.Millisecond || took > 5*time.Second {
			t.Errorf("ten messages took %v", took)
		}
	})
	left(t, v, 0)
}

// What was handed in when ctx ends is acknowledged, the delivery in hand included.
func TestAcksAreOutWhenTheContextEnds(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	err := amqpx.Run(ctx, v.URL, func(s *amqpx.Session) error {
		if _, err := s.DeclareQuorumQueue("q"); err != nil {
			return err
		}
		publish(t, channel(t, v.URL), "q", numbers(10)...)
		deliveries, err := s.ConsumeManualAck(ctx, "q")
		if err != nil {
			return err
		}
		acks := s.CoalesceAcks(1000)
		taken := 0
		for d := range deliveries {
			if taken++; taken == 4 {
				cancel()
			}
			if err := acks.Ack(d); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if got, want := left(t, v, 6), numbers(10)[4:]; !slices.Equal(got, want) {
		t.Errorf("the queue has %q, want %q", got, want)
	}
}

// A lost session's acknowledgements must not count for the next one's deliveries, which have the
// same tags.
func TestAcksEndWithTheirSession(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	publish(t, quorumQueue(t, v), "q", numbers(10)...)
	sessions := 0
	var second []string
	var old amqp.Delivery // of the first session
	err := amqpx.Run(ctx, v.URL, func(s *amqpx.Session) error {
		sessions++
		if err := s.Qos(10, 0, false); err != nil {
			return err
		}
		deliveries, err := s.ConsumeManualAck(ctx, "q")
		if err != nil {
			return err
		}
		acks := s.CoalesceAcks(5)
		taken := 0
		for d := range deliveries {
			taken++
			switch {
			case sessions == 2:
				if err := acks.Ack(withTag(old, 3)); err == nil {
					t.Error("a delivery of the first session was acknowledged in the second")
				}
				second = append(second, string(d.Body))
				if taken == 3 { // the rest is not handed in
					return nil
				}
				if err := acks.Ack(d); err != nil {
					return err
				}
			case taken <= 5: // one acknowledgement
				if err := acks.Ack(d); err != nil {
					return err
				}
			case taken == 10:
				old = d
				harness.Eventually(t, soon, "five are acknowledged", func() bool { return v.Queue("q").Unacked == 5 })
				v.CloseConnections("a test")
				harness.Eventually(t, soon, "the session is lost", s.IsClosed)
				// Too late: the error comes at the latest with the next one.
				first, next := acks.Ack(withTag(d, 6)), error(nil)
				for i := uint64(7); i <= 10; i++ {
					next = acks.Ack(withTag(d, i))
				}
				if first != nil || next == nil {
					t.Errorf("acknowledgements in a lost session: %v, then %v", first, next)
				}
				return next
			}
		}
		return nil
	})
	if err != nil || sessions != 2 {
		t.Errorf("Run = %v after %d sessions", err, sessions)
	}
	slices.Sort(second)
	if want := []string{"5", "6", "7"}; !slices.Equal(second, want) {
		t.Errorf("the second session got %q, want %q", second, want)
	}
	if got, want := left(t, v, 3), []string{"7", "8", "9"}; !slices.Equal(got, want) {
		t.Errorf("the queue has %q, want %q", got, want)
	}
}

// A delivery that was acknowledged on its own, as one before it was still being dealt with, takes
// its place in the row when that one is handed in; the count goes on from there.
func TestAcksGoOnAfterAGap(t *testing.T) {
	t.Parallel()
	testAckGoesOut(t, 5, func(v *harness.Vhost, deliveries []amqp.Delivery, acks *amqpx.Acks) []amqp.Delivery {
		if err := acks.Ack(deliveries[1]); err != nil {
			t.Error(err)
		}
		harness.Eventually(t, soon, "the second one is acknowledged", func() bool { return v.Queue("q").Unacked == 4 })
		return []amqp.Delivery{deliveries[0], deliveries[2], deliveries[3]} // three in a row
	})
}

// Those behind a delivery that takes long do not have to wait for the delay either.
func TestAcksDoNotWaitForASlowDelivery(t *testing.T) {
	t.Parallel()
	testAckGoesOut(t, 4, func(_ *harness.Vhost, deliveries []amqp.Delivery, _ *amqpx.Acks) []amqp.Delivery {
		return deliveries[1:]
	})
}

// testAckGoesOut has n messages delivered, to be acknowledged by the three. Of the deliveries that
// deal returns only the last may cause an acknowledgement: in a session that is lost by then, that
// is an error.
func testAckGoesOut(t *testing.T, n int, deal func(*harness.Vhost, []amqp.Delivery, *amqpx.Acks) []amqp.Delivery) {
	t.Helper()
	v := harness.NewVhost(t)
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	lost := false
	err := amqpx.Run(ctx, v.URL, func(s *amqpx.Session) error {
		if lost {
			return nil
		}
		deliveries := consumed(t, ctx, s, n)
		acks := s.CoalesceAcks(3)
		rest := deal(v, deliveries, acks)
		v.CloseConnections("a test")
		harness.Eventually(t, soon, "the session is lost", s.IsClosed)
		lost = true
		var err error
		for i, d := range rest {
			err = acks.Ack(d)
			if last := i == len(rest)-1; (err != nil) != last {
				t.Errorf("delivery %d of %d: %v", 1+i, len(rest), err)
			}
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// withTag returns the delivery with the tag, of the channel of d.
func withTag(d amqp.Delivery, tag uint64) amqp.Delivery {
	d.DeliveryTag = tag
	return d
}

// quorumQueue declares the queue "q" and returns a channel of a client of its own.
func quorumQueue(t *testing.T, v *harness.Vhost) *amqp.Channel {
	t.Helper()
	ch := channel(t, v.URL)
	if _, err := ch.QueueDeclare("q", true, false, false, false, amqp.Table{amqp.QueueTypeArg: amqp.QueueTypeQuorum}); err != nil {
		t.Fatal(err)
	}
	return ch
}
