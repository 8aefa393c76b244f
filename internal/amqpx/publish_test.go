package amqpx_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"rabbitmq-tutorial/internal/amqpx"
	"rabbitmq-tutorial/internal/harness"
)

// session runs fn in a session. Without one, the test fails.
func session(t *testing.T, url string, fn func(ctx context.Context, s *amqpx.Session)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	err := amqpx.Run(ctx, url, func(s *amqpx.Session) error {
		fn(ctx, s)
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

var nowhere = amqpx.Route{RoutingKey: "nowhere", Mandatory: true}

func text(body string) amqp.Publishing { return amqp.Publishing{Body: []byte(body)} }

func TestAMessageThatNoQueueTakesComesBack(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	quorumQueue(t, v)
	session(t, v.URL, func(ctx context.Context, s *amqpx.Session) {
		if err := s.DeclareExchange(amqpx.Exchange{Name: "x", Kind: amqp.ExchangeFanout}); err != nil {
			t.Error(err)
		}
		for range 2 { // each return belongs to its message, and to no later one
			err := s.PublishConfirmed(ctx, nowhere, text("lost"))
			if !errors.Is(err, amqpx.ErrUnroutable) || err.Error() != `publish to queue "nowhere": no queue took the message (312 NO_ROUTE)` {
				t.Errorf("no such queue: %v", err)
			}
			err = s.PublishConfirmed(ctx, amqpx.Route{Exchange: "x", RoutingKey: "key", Mandatory: true}, text("lost"))
			if !errors.Is(err, amqpx.ErrUnroutable) || !strings.Contains(err.Error(), `publish to exchange "x"`) {
				t.Errorf("no binding: %v", err)
			}
			if err := s.PublishConfirmed(ctx, toQ, text("kept")); err != nil {
				t.Error(err)
			}
		}
	})
	if n := v.Queue("q").Ready; n != 2 {
		t.Errorf("the queue has %d messages", n)
	}
}

func TestAnAnswerInHandStillGoesOut(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	quorumQueue(t, v)
	session(t, v.URL, func(ctx context.Context, s *amqpx.Session) {
		ended, cancel := context.WithCancel(ctx)
		cancel()
		for _, ctx := range []context.Context{ctx, ended} { // an answer in hand still goes out
			if err := s.PublishUnconfirmed(ctx, toQ, text("answer")); err != nil {
				t.Error(err)
			}
		}
		if err := s.PublishUnconfirmed(ctx, nowhere, text("lost without a word")); err != nil {
			t.Error(err)
		}
	})
	harness.Eventually(t, time.Minute, "both answers are there", func() bool { return v.Queue("q").Ready == 2 })
}

// Many goroutines publish identical messages side by side: to a queue, to one that is full, and
// to none. Each learns what became of its own message, and the queues have what was confirmed.
func TestEachGoroutineLearnsTheFateOfItsOwnMessage(t *testing.T) {
	t.Parallel()
	const goroutines, each = 60, 20
	v := harness.NewVhost(t)
	v.SetPolicy("full", "^full$", map[string]any{"max-length": 5, "overflow": "reject-publish"})
	harness.DeclareQueue(t, quorumQueue(t, v), "full")
	confirmed := map[string]*atomic.Int64{"q": {}, "full": {}, "nowhere": {}}
	session(t, v.URL, func(ctx context.Context, s *amqpx.Session) {
		expected := map[string]error{"q": nil, "full": amqpx.ErrNacked, "nowhere": amqpx.ErrUnroutable}
		var publishers sync.WaitGroup
		for i := range goroutines {
			key := []string{"q", "full", "nowhere"}[i%3]
			publishers.Go(func() {
				for range each {
					err := s.PublishConfirmed(ctx, amqpx.Route{RoutingKey: key, Mandatory: true}, text("alike"))
					if err == nil {
						confirmed[key].Add(1)
					} else if expected[key] == nil || !errors.Is(err, expected[key]) {
						t.Errorf("publish to %q: %v", key, err)
					}
				}
			})
		}
		publishers.Wait()
	})
	if n := confirmed["q"].Load(); n != goroutines/3*each || v.Queue("q").Ready != int(n) {
		t.Errorf("%d messages to q are confirmed, and it has %d", n, v.Queue("q").Ready)
	}
	if n := confirmed["full"].Load(); n < 5 || n == goroutines/3*each || v.Queue("full").Ready != int(n) {
		t.Errorf("%d messages to the full queue are confirmed, and it has %d", n, v.Queue("full").Ready)
	}
	if n := confirmed["nowhere"].Load(); n != 0 {
		t.Errorf("%d messages to nowhere are confirmed", n)
	}
}

// The broker returns only mandatory messages. A publisher of a message that is not mandatory
// must not take the return of an otherwise identical one.
func TestOnlyMandatoryMessagesComeBack(t *testing.T) {
	t.Parallel()
	session(t, harness.NewVhost(t).URL, func(ctx context.Context, s *amqpx.Session) {
		var publishers sync.WaitGroup
		for i := range 20 {
			to := amqpx.Route{RoutingKey: "nowhere", Mandatory: i%2 == 0}
			publishers.Go(func() {
				for range 25 {
					err := s.PublishConfirmed(ctx, to, text("alike"))
					if errors.Is(err, amqpx.ErrUnroutable) != to.Mandatory || !to.Mandatory && err != nil {
						t.Errorf("mandatory %v: %v", to.Mandatory, err)
					}
				}
			})
		}
		publishers.Wait()
	})
}

// A large message goes out in many frames. A declaration must not come between them.
func TestDeclaringBesidePublishersLeavesTheirFramesTogether(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	quorumQueue(t, v)
	session(t, v.URL, func(ctx context.Context, s *amqpx.Session) {
		publishing, stop := context.WithCancel(ctx)
		var publishers sync.WaitGroup
		for range 4 {
			publishers.Go(func() {
				for publishing.Err() == nil {
					if err := s.PublishConfirmed(ctx, toQ, text(strings.Repeat("x", 400_000))); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		for range 100 {
			if _, err := s.DeclareQueue(amqpx.Queue{Exclusive: true}); err != nil {
				t.Error(err)
				break
			}
		}
		stop()
		publishers.Wait()
	})
}

// A caller who gives up ends only its own wait. The session lives on, and nobody else takes the
// return of the abandoned message.
func TestADeadlineEndsItsOwnWaitOnly(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	quorumQueue(t, v)
	session(t, v.URL, func(ctx context.Context, s *amqpx.Session) {
		if err := s.DeclareExchange(amqpx.Exchange{Name: "x", Kind: amqp.ExchangeFanout}); err != nil {
			t.Error(err)
		}
		toX := amqpx.Route{Exchange: "x", RoutingKey: "alike", Mandatory: true}
		gaveUp := 0
		for range 200 { // nothing is bound to the exchange yet: all of these come back
			short, cancel := context.WithTimeout(ctx, rand.N(time.Millisecond))
			err := s.PublishConfirmed(short, toX, text("alike"))
			cancel()
			switch {
			case errors.Is(err, amqpx.ErrUnconfirmed):
				gaveUp++
			case !errors.Is(err, amqpx.ErrUnroutable) && !errors.Is(err, context.DeadlineExceeded):
				t.Errorf("without a binding: %v", err)
			}
		}
		if gaveUp == 0 {
			t.Error("nobody gave up")
		}
		if err := s.PublishConfirmed(ctx, toQ, text("behind the others")); err != nil { // they are all confirmed
			t.Error(err)
		}
		if err := s.QueueBind(amqpx.Binding{Exchange: "x", Queue: "q"}); err != nil {
			t.Error(err)
		}
		for range 20 {
			if err := s.PublishConfirmed(ctx, toX, text("alike")); err != nil {
				t.Errorf("with a binding: %v", err)
			}
		}
	})
	if n := v.Queue("q").Ready; n != 21 {
		t.Errorf("the queue has %d messages", n)
	}
}

// A message that the broker refuses ends the session. Its publisher learns of the refusal; the
// others learn that their messages are in doubt.
func TestARefusalIsToldToWhomItConcerns(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	quorumQueue(t, v)
	session(t, v.URL, func(ctx context.Context, s *amqpx.Session) {
		var other sync.WaitGroup
		other.Go(func() {
			var err error
			for err == nil {
				err = s.PublishConfirmed(ctx, toQ, text("another message"))
			}
			if !errors.Is(err, amqpx.ErrUnconfirmed) {
				t.Errorf("the other message: %v", err)
			}
		})
		err := s.PublishConfirmed(ctx, amqpx.Route{Exchange: "no-such-exchange"}, text("lost"))
		if !refused(err, amqp.NotFound) || errors.Is(err, amqpx.ErrUnconfirmed) {
			t.Errorf("the refused message: %v", err)
		}
		other.Wait()
	})
}

// Run does not try for ever to publish to an exchange that no session declares.
func TestAMissingExchangeEndsRun(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	sessions, began := 0, time.Now()
	err := amqpx.Run(t.Context(), v.URL, func(s *amqpx.Session) error {
		sessions++
		return s.PublishConfirmed(t.Context(), amqpx.Route{Exchange: "no-such-exchange"}, amqp.Publishing{})
	})
	if took := time.Since(began); !refused(err, amqp.NotFound) || sessions < 2 || took < 10*time.Second {
		t.Errorf("Run = %v after %d sessions and %v", err, sessions, took)
	}
}

// Run tries again after ErrNacked: a queue without a leader refuses messages. Here, a full one does. After a
// confirm, Run has as much patience as at first.
func TestRefusedMessageIsPublishedAgain(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	v.SetPolicy("full", "^q$", map[string]any{"max-length": 1, "overflow": "reject-publish"})
	quorumQueue(t, v)
	sessions := 0
	err := amqpx.Run(t.Context(), v.URL, func(s *amqpx.Session) error {
		if sessions++; sessions == 3 {
			return nil
		}
		for began := time.Now(); ; {
			if sessions == 2 && time.Since(began) < 11*time.Second { // Run tries for ten
				if _, err := s.QueuePurge(q.Name, false); err != nil {
					return err
				}
			}
			if err := s.PublishConfirmed(t.Context(), toQ, text("one more")); err != nil {
				return err
			}
		}
	})
	if err != nil || sessions != 3 {
		t.Errorf("Run = %v after %d sessions", err, sessions)
	}
}
