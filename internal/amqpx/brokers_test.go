package amqpx_test

import (
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"rabbitmq-tutorial/internal/amqpx"
	"rabbitmq-tutorial/internal/harness"
)

// blackHole accepts connections, counts them, and never answers on one.
func blackHole(t *testing.T) (url string, accepted *atomic.Int32) {
	t.Helper()
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	accepted = new(atomic.Int32)
	var accepting sync.WaitGroup
	accepting.Go(func() {
		for {
			c, err := socket.Accept()
			if err != nil {
				return
			}
			defer c.Close()
			accepted.Add(1)
		}
	})
	t.Cleanup(func() {
		socket.Close()
		accepting.Wait()
	})
	return "amqp://guest:guest@" + socket.Addr().String() + "/", accepted
}

// Twenty clients, so that it is certain enough that some begin with either broker.
func TestBrokerThatNeverAnswersCostsItsDeadlineOnce(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	var slow atomic.Int32
	var clients sync.WaitGroup
	for range 20 {
		url, accepted := blackHole(t)
		clients.Go(func() {
			sessions := 0
			began := time.Now()
			err := amqpx.Run(t.Context(), url+","+v.URL, func(s *amqpx.Session) error {
				if sessions++; sessions < 4 {
					s.Close()                                                        // the channel
					return s.PublishUnconfirmed(t.Context(), toQ, amqp.Publishing{}) // and so the session
				}
				return nil
			})
			if took := time.Since(began); err != nil || accepted.Load() > 1 || took > 20*time.Second {
				t.Errorf("Run = %v after %v and %d tries of the broker that never answers", err, took, accepted.Load())
			}
			slow.Add(accepted.Load())
		})
	}
	clients.Wait()
	if slow.Load() == 0 || slow.Load() == 20 {
		t.Errorf("%d of 20 clients began with the first broker", slow.Load())
	}
}

// The queue is on one of two brokers. A client that begins with the other one is let in there, and gets
// no further.
func TestBrokerThatLetsInButFailsIsPutOff(t *testing.T) {
	t.Parallel()
	without, with := harness.NewVhost(t), harness.NewVhost(t)
	harness.DeclareQueue(t, harness.Channel(t, with.URL), "q")
	var clients sync.WaitGroup
	for range 20 {
		clients.Go(func() {
			err := amqpx.Run(t.Context(), without.URL+","+with.URL, func(s *amqpx.Session) error {
				_, err := s.QueueDeclarePassive("q", true, false, false, false, nil)
				return err
			})
			if err != nil {
				t.Errorf("Run = %v", err)
			}
		})
	}
	clients.Wait()
}

// A wrong password among the brokers passes for none of them. What may pass decides: here the
// broker that is not up.
func TestErrorThatMayPassIsTheOneOfSeveral(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	const nobody = "amqp://127.0.0.1:1/"
	wrong := strings.Replace(v.URL, "guest:guest@", "guest:S3cret@", 1)
	for range 8 { // in either order
		err := amqpx.Run(t.Context(), wrong+","+nobody, func(*amqpx.Session) error { return nil })
		if err == nil || !strings.Contains(err.Error(), "connect to "+nobody) {
			t.Errorf("Run = %v", err)
		}
	}
}
