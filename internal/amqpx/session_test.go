package amqpx_test

import (
	"context"
	"errors"
	"net"
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
	harness.Eventually(t, time.Minute, "no connection is left", func() bool { return v.Connections() == 0 })
}

// nobody returns the address of a port that nobody listens on.
func nobody(t *testing.T) string {
	t.Helper()
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	return socket.Addr().String()
}

// refused reports whether err is the broker's refusal with this reply code.
func refused(err error, code int) bool {
	var refusal *amqp.Error
	return errors.As(err, &refusal) && refusal.Code == code
}

func TestRunTellsWhyThereIsNoConnection(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	for what, test := range map[string]struct {
		url string
		is  error
	}{
		"not a URL":      {"nonsense", amqpx.ErrURL},
		"nobody listens": {"amqp://guest:S3cret@" + nobody(t) + "/", nil},
		"wrong password": {strings.Replace(v.URL, "guest:guest@", "guest:S3cret@", 1), amqp.ErrCredentials},
		"unknown vhost":  {v.URL + "-of-nobody", nil},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			err := amqpx.Run(t.Context(), test.url, func(*amqpx.Session) error {
				t.Error("there is a session")
				return nil
			})
			switch {
			case err == nil || strings.Contains(err.Error(), "S3cret"):
				t.Errorf("Run = %v", err)
			case test.is != nil && !errors.Is(err, test.is):
				t.Errorf("Run = %v, want %v", err, test.is)
			case test.is != amqpx.ErrURL && (!errors.Is(err, amqpx.ErrConnect) || strings.Contains(err.Error(), "guest@")):
				t.Errorf("Run = %v, want ErrConnect", err)
			}
		})
	}
}

// Run gives up the first connection when ctx ends, and does not wait for its own deadline.
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
	ch := harness.Channel(t, v.URL)
	if _, err := ch.QueueDeclare("q", true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	if err := ch.ExchangeDeclare("x", "topic", false, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	for name, declare := range map[string]func(*amqpx.Session) error{
		`declare queue "q"`: func(s *amqpx.Session) error { _, err := s.DeclareQueue(q); return err },
		`declare exchange "x"`: func(s *amqpx.Session) error {
			return s.DeclareExchange(amqpx.Exchange{Name: "x", Kind: amqp.ExchangeFanout})
		},
	} {
		calls := 0
		err := amqpx.Run(t.Context(), v.URL, func(s *amqpx.Session) error {
			calls++
			return declare(s)
		})
		if !refused(err, amqp.PreconditionFailed) || calls != 1 || !strings.HasPrefix(err.Error(), name+": ") {
			t.Errorf("Run = %v after %d calls", err, calls)
		}
	}
}

// The second acknowledgement is a mistake of the program, which another session does not mend.
func TestASecondAcknowledgementEndsRun(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	harness.Publish(t, quorumQueue(t, v), "", "q", harness.Numbered("", 10)...)
	calls := 0
	err := amqpx.Run(t.Context(), v.URL, func(s *amqpx.Session) error {
		calls++
		deliveries, err := s.Consume(t.Context(), amqpx.Consumer{Queue: "q"})
		if err != nil {
			return err
		}
		for d := range deliveries {
			for range 2 {
				if err := amqpx.Ack(d); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if !refused(err, amqp.PreconditionFailed) || calls != 1 {
		t.Errorf("Run = %v after %d calls", err, calls)
	}
}
