package amqpx_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"rabbitmq-tutorial/internal/amqpx"
	"rabbitmq-tutorial/internal/harness"
)

func TestRunReturnsWhatTheFunctionReturns(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	for _, want := range []error{nil, errors.New("the program's own")} {
		calls := 0
		err := amqpx.Run(t.Context(), v.URL, func(s *amqpx.Session) error {
			calls++
			return want
		})
		if err != want || calls != 1 {
			t.Errorf("Run = %v after %d calls, want %v", err, calls, want)
		}
	}
	harness.Eventually(t, soon, "no connection is left", func() bool { return v.Connections() == 0 })
}

func TestRunTellsWhyThereIsNoConnection(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := socket.Addr().String()
	socket.Close()

	for what, test := range map[string]struct {
		url string
		is  error
	}{
		"not a URL":      {"nonsense", amqpx.ErrURL},
		"nobody listens": {"amqp://guest:S3cret@" + nobody + "/", nil},
		"wrong password": {strings.Replace(v.URL, "guest:guest@", "guest:S3cret@", 1), amqp.ErrCredentials},
		"unknown vhost":  {v.URL + "-of-nobody", nil},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			err := amqpx.Run(t.Context(), test.url, func(*amqpx.Session) error {
				t.Error("there is a session")
				return nil
			})
			var dial *amqpx.DialError
			switch {
			case err == nil || strings.Contains(err.Error(), "S3cret"):
				t.Errorf("Run = %v", err)
			case test.is != nil && !errors.Is(err, test.is):
				t.Errorf("Run = %v, want %v", err, test.is)
			case test.is != amqpx.ErrURL && (!errors.As(err, &dial) || strings.Contains(dial.Addr, "guest")):
				t.Errorf("Run = %v, want a DialError", err)
			}
		})
	}
}

// The first connection is given up when ctx ends, not only at its own deadline.
func TestRunStopsWhileItConnects(t *testing.T) {
	t.Parallel()
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	ctx, cancel := context.WithCancelCause(t.Context())
	stopped := errors.New("stopped")
	var accepting sync.WaitGroup
	accepting.Go(func() {
		c, err := socket.Accept()
		if err != nil {
			return
		}
		cancel(stopped)
		c.Read(make([]byte, 1<<10)) // the protocol header
		c.Read(make([]byte, 1))     // the end
		c.Close()
	})
	began := time.Now()
	err = amqpx.Run(ctx, "amqp://"+socket.Addr().String(), func(*amqpx.Session) error { return nil })
	if took := time.Since(began); !errors.Is(err, stopped) || took > 4*time.Second {
		t.Errorf("Run = %v after %v", err, took)
	}
	accepting.Wait()
}

func TestOtherArgumentsEndRun(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	ch := channel(t, v.URL)
	if _, err := ch.QueueDeclare("q", true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	if err := ch.ExchangeDeclare("x", "topic", false, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	for name, declare := range map[string]func(*amqpx.Session) error{
		`declare queue "q"`:    func(s *amqpx.Session) error { _, err := s.DeclareQuorumQueue("q"); return err },
		`declare exchange "x"`: func(s *amqpx.Session) error { return s.DeclareExchange("x", amqp.ExchangeFanout) },
	} {
		calls := 0
		err := amqpx.Run(t.Context(), v.URL, func(s *amqpx.Session) error {
			calls++
			return declare(s)
		})
		var refusal *amqp.Error
		if !errors.As(err, &refusal) || refusal.Code != amqp.PreconditionFailed || calls != 1 || !strings.HasPrefix(err.Error(), name+": ") {
			t.Errorf("Run = %v after %d calls", err, calls)
		}
	}
}

// The deliveries end with ctx. What was delivered ahead of the loop is back in the
// queue while the loop is still busy, and what it is busy with is acknowledged.
func TestConsumeEndsWithContext(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var got []string
	err := amqpx.Run(ctx, v.URL, func(s *amqpx.Session) error {
		if _, err := s.DeclareQuorumQueue("q"); err != nil {
			return err
		}
		for i := range 10 {
			if err := s.PublishConfirmed(ctx, "", "q", text(fmt.Sprint(i))); err != nil {
				return err
			}
		}
		deliveries, err := s.ConsumeManualAck(ctx, "q")
		if err != nil {
			return err
		}
		for d := range deliveries {
			got = append(got, string(d.Body))
			if len(got) == 3 {
				harness.Eventually(t, soon, "the rest is delivered ahead", func() bool { return v.Queue("q").Ready == 0 })
				cancel()
				harness.Eventually(t, soon, "the rest is back", func() bool { return v.Queue("q").Ready == 7 })
			}
			if err := d.Ack(false); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil || strings.Join(got, "") != "012" {
		t.Errorf("Run = %v, deliveries %q", err, got)
	}
	harness.Eventually(t, soon, "no connection is left", func() bool { return v.Connections() == 0 })
	ch := channel(t, v.URL)
	var rest []string
	for range 7 {
		d, ok, err := ch.Get("q", true)
		if !ok || err != nil {
			t.Fatalf("after %q: %v, %v", rest, ok, err)
		}
		if !d.Redelivered {
			t.Errorf("%q was delivered before", d.Body)
		}
		rest = append(rest, string(d.Body))
	}
	if strings.Join(rest, "") != "3456789" {
		t.Errorf("the rest came back as %q", rest)
	}
}

// A session that ends at once hands back what was delivered ahead, in its order and without
// blame: RabbitMQ 4, which counts failed attempts apart from deliveries, counts none. Only what a
// function was busy with when it failed counts.
func TestWhatWasDeliveredAheadGoesBack(t *testing.T) {
	t.Parallel()
	const n = 200
	failed := errors.New("cannot deal with it")
	for name, test := range map[string]struct {
		cancel, busy bool
		result       error
		failures     int
	}{
		"the context ends":                {true, false, nil, 0},
		"it ends while the loop is busy":  {true, true, nil, 0},
		"the function returns":            {false, false, nil, 0},
		"the function fails":              {false, false, failed, 1},
		"it fails as the context ends":    {true, false, failed, 1},
		"it fails after that, being busy": {true, true, failed, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := harness.NewVhost(t)
			ch := quorumQueue(t, v)
			publish(t, ch, "q", numbers(n)...)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			err := amqpx.Run(ctx, v.URL, func(s *amqpx.Session) error {
				if err := s.Qos(n, 0, false); err != nil {
					return err
				}
				deliveries, err := s.ConsumeManualAck(ctx, "q")
				if err != nil {
					return err
				}
				for d := range deliveries {
					if string(d.Body) == "2" { // "0" and "1" are done
						harness.Eventually(t, soon, "the rest is delivered ahead", func() bool { return v.Queue("q").Ready == 0 })
						if test.cancel {
							cancel()
						}
						if test.busy {
							harness.Eventually(t, soon, "the rest goes back", func() bool { return v.Queue("q").Ready > 0 })
						}
						return test.result
					}
					if err := d.Ack(false); err != nil {
						return err
					}
				}
				return errors.New("the deliveries ended")
			})
			if err != test.result {
				t.Errorf("Run = %v, want %v", err, test.result)
			}
			left := n - 2
			harness.Eventually(t, soon, "the rest is back", func() bool { return v.Queue("q").Ready == left })
			v4, failures, bodies := false, 0, []string{}
			for range left {
				d, ok, err := ch.Get("q", true)
				if err != nil || !ok {
					t.Fatalf("after %q: %v, %v", bodies, ok, err)
				}
				if d.Headers["x-acquired-count"] != nil {
					v4 = true
				}
				if d.Headers["x-delivery-count"] != nil {
					failures++
				}
				bodies = append(bodies, string(d.Body))
			}
			if v4 && failures != test.failures {
				t.Errorf("%d messages count as failed, want %d", failures, test.failures)
			}
			if test.result != nil || test.busy { // its own delivery comes later than the others
				slices.SortFunc(bodies, func(a, b string) int { return cmp.Or(len(a)-len(b), strings.Compare(a, b)) })
			}
			if !slices.Equal(bodies, numbers(n)[2:]) {
				t.Errorf("the rest came back as %q", bodies)
			}
		})
	}
}

// A loop that is left early leaves the rest to others as well.
func TestConsumeLeftEarly(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	session(t, v.URL, func(ctx context.Context, s *amqpx.Session) {
		if _, err := s.DeclareQuorumQueue("q"); err != nil {
			t.Error(err)
		}
		publish(t, channel(t, v.URL), "q", "one", "two", "three")
		deliveries, err := s.ConsumeManualAck(ctx, "q")
		if err != nil {
			t.Error(err)
			return
		}
		for d := range deliveries {
			if err := d.Ack(false); err != nil {
				t.Error(err)
			}
			break
		}
	})
	harness.Eventually(t, soon, "two messages are back", func() bool { return v.Queue("q").Ready == 2 })
}

// A consumer whose program did not call Qos gets 30 messages ahead, not all there are.
func TestPrefetchByDefault(t *testing.T) {
	t.Parallel()
	for what, test := range map[string]struct {
		qos   func(*amqpx.Session) error
		ready int
	}{
		"by default":    {func(*amqpx.Session) error { return nil }, 10},
		"by Qos":        {func(s *amqpx.Session) error { return s.Qos(35, 0, false) }, 5},
		"without limit": {func(s *amqpx.Session) error { return s.Qos(0, 0, false) }, 0},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			v := harness.NewVhost(t)
			publish(t, quorumQueue(t, v), "q", numbers(40)...)
			session(t, v.URL, func(ctx context.Context, s *amqpx.Session) {
				if err := test.qos(s); err != nil {
					t.Error(err)
				}
				if _, err := s.ConsumeManualAck(ctx, "q"); err != nil {
					t.Error(err)
				}
				harness.Eventually(t, soon, "all that may be delivered is", func() bool {
					q := v.Queue("q")
					return q.Ready == test.ready && q.Unacked == 40-test.ready
				})
			})
		})
	}
}

func TestConsumeAutoAck(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var got []string
	err := amqpx.Run(ctx, v.URL, func(s *amqpx.Session) error {
		if _, err := s.DeclareQuorumQueue("q"); err != nil {
			return err
		}
		publish(t, channel(t, v.URL), "q", "one", "two", "three")
		deliveries, err := s.ConsumeAutoAck(ctx, "q")
		if err != nil {
			return err
		}
		for d := range deliveries {
			if got = append(got, string(d.Body)); len(got) == 3 {
				cancel()
			}
		}
		return nil
	})
	if err != nil || strings.Join(got, " ") != "one two three" {
		t.Errorf("Run = %v, deliveries %q", err, got)
	}
	harness.Eventually(t, soon, "no consumer is left", func() bool { return v.Queue("q").Consumers == 0 })
	if n := v.Queue("q").Ready; n != 0 {
		t.Errorf("%d messages are back, though nobody had to acknowledge them", n)
	}
}

// Whatever takes its deliveries away, a consumer starts anew: it declares, and
// consumes, and gets what is published then.
func TestConsumerStartsAnew(t *testing.T) {
	t.Parallel()
	for what, cut := range map[string]func(*harness.Vhost){
		"the queue is deleted":     func(v *harness.Vhost) { v.DeleteQueue("q") },
		"the connection is closed": func(v *harness.Vhost) { v.CloseConnections("test") },
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			v := harness.NewVhost(t)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			var got []string
			err := amqpx.Run(ctx, v.URL, func(s *amqpx.Session) error {
				if _, err := s.DeclareQuorumQueue("q"); err != nil {
					return err
				}
				deliveries, err := s.ConsumeManualAck(ctx, "q")
				if err != nil {
					return err
				}
				if err := s.PublishConfirmed(ctx, "", "q", text(fmt.Sprint("message ", len(got)+1))); err != nil {
					return err
				}
				for d := range deliveries {
					got = append(got, string(d.Body))
					if err := d.Ack(false); err != nil {
						return err
					}
					if len(got) == 3 {
						cancel()
					} else {
						cut(v)
					}
				}
				return nil
			})
			// The connection may be closed before the acknowledgement has arrived.
			if err != nil || len(got) < 3 || got[0] != "message 1" {
				t.Errorf("Run = %v, deliveries %q", err, got)
			}
		})
	}
}
