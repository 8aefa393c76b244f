package amqpx_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"rabbitmq-tutorial/internal/amqpx"
	"rabbitmq-tutorial/internal/harness"
)

// session runs fn in a session, and expects that there is one.
func session(t *testing.T, url string, fn func(ctx context.Context, s *amqpx.Session)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), soon)
	defer cancel()
	err := amqpx.Run(ctx, url, func(s *amqpx.Session) error {
		fn(ctx, s)
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func text(body string) amqp.Publishing { return amqp.Publishing{Body: []byte(body)} }

func TestConfirmed(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	session(t, v.URL, func(ctx context.Context, s *amqpx.Session) {
		if _, err := s.DeclareQuorumQueue("q"); err != nil {
			t.Error(err)
		}
		for _, body := range []string{"one", "", strings.Repeat("x", 1<<20)} {
			if err := s.PublishConfirmed(ctx, "", "q", text(body)); err != nil {
				t.Errorf("%.10q: %v", body, err)
			}
		}
	})
	if n := v.Queue("q").Ready; n != 3 {
		t.Errorf("the queue has %d messages", n)
	}
}

func TestUnroutable(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	session(t, v.URL, func(ctx context.Context, s *amqpx.Session) {
		if _, err := s.DeclareQuorumQueue("q"); err != nil {
			t.Error(err)
		}
		if err := s.DeclareExchange("x", amqp.ExchangeFanout); err != nil {
			t.Error(err)
		}
		for range 2 { // each return belongs to its message, and to no later one
			err := s.PublishConfirmed(ctx, "", "nowhere", text("lost"))
			if !errors.Is(err, amqpx.ErrUnroutable) || err.Error() != `publish to queue "nowhere": no queue took the message (312 NO_ROUTE)` {
				t.Errorf("no such queue: %v", err)
			}
			err = s.PublishConfirmed(ctx, "x", "key", text("lost"))
			if !errors.Is(err, amqpx.ErrUnroutable) || !strings.Contains(err.Error(), `publish to exchange "x"`) {
				t.Errorf("no binding: %v", err)
			}
			if err := s.PublishConfirmed(ctx, "", "q", text("kept")); err != nil {
				t.Error(err)
			}
		}
	})
	if n := v.Queue("q").Ready; n != 2 {
		t.Errorf("the queue has %d messages", n)
	}
}

// A queue that is full refuses what it cannot hold, and the publisher goes on.
func TestNacked(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	v.SetPolicy("full", "^full$", map[string]any{"max-length": 2, "overflow": "reject-publish"})
	session(t, v.URL, func(ctx context.Context, s *amqpx.Session) {
		for _, queue := range []string{"full", "q"} {
			if _, err := s.DeclareQuorumQueue(queue); err != nil {
				t.Error(err)
			}
		}
		var err error
		confirmed := 0
		for ; err == nil && confirmed < 1000; confirmed++ {
			err = s.PublishConfirmed(ctx, "", "full", text("one more"))
		}
		if !errors.Is(err, amqpx.ErrNacked) || !strings.Contains(err.Error(), `publish to queue "full": the broker refused the message`) {
			t.Errorf("after %d messages: %v", confirmed, err)
		}
		if err := s.PublishConfirmed(ctx, "", "q", text("elsewhere")); err != nil {
			t.Errorf("to another queue: %v", err)
		}
		if n := v.Queue("full").Ready; n < 2 || n >= confirmed {
			t.Errorf("of %d messages, one of them refused, the queue has %d", confirmed, n)
		}
	})
}

// The broker closes the channel over such a message. That is an answer.
func TestRefused(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	for name, test := range map[string]struct {
		url, exchange string
		code          int
	}{
		"no such exchange":    {v.URL, "no-such-exchange", amqp.NotFound},
		"no write permission": {v.AddUser(".*", "", ".*"), "amq.fanout", amqp.AccessRefused},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			session(t, test.url, func(ctx context.Context, s *amqpx.Session) {
				err := s.PublishConfirmed(ctx, test.exchange, "key", text("lost"))
				var refusal *amqp.Error
				if !errors.As(err, &refusal) || refusal.Code != test.code || errors.Is(err, amqpx.ErrUnconfirmed) {
					t.Errorf("PublishConfirmed = %v, want the broker's %d", err, test.code)
				}
			})
		})
	}
}

// A publisher whose channel is refused what it cannot have does not try again.
func TestRefusalEndsRun(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	ctx, cancel := context.WithTimeout(context.Background(), soon)
	defer cancel()
	calls := 0
	err := amqpx.Run(ctx, v.AddUser(".*", "", ".*"), func(s *amqpx.Session) error {
		calls++
		return s.PublishConfirmed(ctx, "amq.fanout", "", text("lost"))
	})
	var refusal *amqp.Error
	if !errors.As(err, &refusal) || refusal.Code != amqp.AccessRefused || calls != 1 {
		t.Errorf("Run = %v after %d calls", err, calls)
	}
}

// A lost session leaves the message in doubt, and says so.
func TestUnconfirmed(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	ctx, cancel := context.WithTimeout(context.Background(), soon)
	defer cancel()
	calls := 0
	err := amqpx.Run(ctx, v.URL, func(s *amqpx.Session) error {
		if _, err := s.DeclareQuorumQueue("q"); err != nil {
			return err
		}
		if calls++; calls == 1 {
			s.Channel.Close()
		}
		err := s.PublishConfirmed(ctx, "", "q", text("once"))
		if calls == 1 && err == nil {
			t.Error("a message on a closed channel is confirmed")
		}
		return err
	})
	if err != nil || calls != 2 {
		t.Errorf("Run = %v after %d calls", err, calls)
	}
	if n := v.Queue("q").Ready; n != 1 {
		t.Errorf("the queue has %d messages", n)
	}
}

func TestPublishUnconfirmed(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	session(t, v.URL, func(ctx context.Context, s *amqpx.Session) {
		if _, err := s.DeclareQuorumQueue("q"); err != nil {
			t.Error(err)
		}
		ended, cancel := context.WithCancel(ctx)
		cancel()
		for _, ctx := range []context.Context{ctx, ended} { // an answer in hand still goes out
			if err := s.PublishUnconfirmed(ctx, "", "q", text("answer")); err != nil {
				t.Error(err)
			}
		}
		if err := s.PublishUnconfirmed(ctx, "", "nowhere", text("lost without a word")); err != nil {
			t.Error(err)
		}
	})
	harness.Eventually(t, soon, "both answers are there", func() bool { return v.Queue("q").Ready == 2 })
}

// What comes back on a session is taken for the message that PublishConfirmed waits for.
func TestOneWayToPublishInASession(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	session(t, v.URL, func(ctx context.Context, s *amqpx.Session) {
		if err := s.PublishConfirmed(ctx, "", "nowhere", text("")); !errors.Is(err, amqpx.ErrUnroutable) {
			t.Errorf("PublishConfirmed: %v", err)
		}
		if _, err := s.PublishDeferred(ctx, "", "nowhere", text("")); err == nil {
			t.Error("PublishDeferred beside PublishConfirmed")
		}
	})
}
