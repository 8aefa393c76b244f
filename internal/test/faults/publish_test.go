package faults_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"rabbitmq-tutorial/internal/amqpx"
	"rabbitmq-tutorial/internal/harness"
)

func persistent(id string) amqp.Publishing {
	return amqp.Publishing{DeliveryMode: amqp.Persistent, MessageId: id, Body: []byte(id)}
}

// publishSideBySide publishes messages to a queue from several goroutines, over as many sessions as
// it takes, and calls confirmed for each confirmed message. next returns nil when there are no more.
// A message that is published again gets the type "again".
func publishSideBySide(ctx context.Context, url, queue string, goroutines int, next func() *amqp.Publishing, confirmed func(*amqp.Publishing)) error {
	var (
		mu    sync.Mutex
		again []*amqp.Publishing // what a lost session has left
	)
	take := func() (msg *amqp.Publishing) {
		mu.Lock()
		defer mu.Unlock()
		if len(again) == 0 {
			return next()
		}
		msg, again = again[0], again[1:]
		return msg
	}
	return amqpx.Run(ctx, url, func(s *amqpx.Session) error {
		if _, err := s.DeclareQueue(amqpx.Queue{Name: queue, Durable: true, Type: amqp.QueueTypeQuorum}); err != nil {
			return err
		}
		var publishers sync.WaitGroup
		failures := make(chan error, goroutines)
		for range goroutines {
			publishers.Go(func() {
				for msg := take(); msg != nil; msg = take() {
					if err := s.PublishConfirmed(ctx, amqpx.Route{RoutingKey: queue, Mandatory: true}, *msg); err != nil {
						mu.Lock()
						msg.Type = "again"
						again = append(again, msg)
						mu.Unlock()
						failures <- err
						return
					}
					mu.Lock()
					confirmed(msg)
					mu.Unlock()
				}
			})
		}
		publishers.Wait()
		close(failures)
		err := <-failures
		if errors.Is(err, amqpx.ErrNacked) {
			// Run gives up after ten seconds of this, and a cluster may be without a majority for
			// longer. So this counts as a lost session.
			s.Close()
			return errors.New("the session is over")
		}
		return err
	})
}

// numberedMessages returns a function that gives publishSideBySide n messages.
func numberedMessages(n int, body []byte) func() *amqp.Publishing {
	i := 0
	return func() *amqp.Publishing {
		if i++; i > n {
			return nil
		}
		return &amqp.Publishing{DeliveryMode: amqp.Persistent, MessageId: strconv.Itoa(i), Body: body}
	}
}

// One publisher that waits for each confirm, and a thousand side by side, publish persistent messages
// while the broker is killed again and again. At the end, the queue must have every confirmed message,
// and each message must have been confirmed once.
func TestNoConfirmedMessageIsLostInBrokerCrashes(t *testing.T) {
	t.Parallel()
	messages, kills := size(3000, 25_000), size(2, 6)
	broker := harness.StartBroker(t)
	v := broker.NewVhost()
	harness.DeclareQueue(t, harness.Channel(t, v.URL), "confirmed")
	broker.SaveQueues()

	var (
		mu       sync.Mutex
		fates    = make(map[string]int) // how often each message was confirmed
		oneByOne int
		progress = make(chan struct{}, 1)
	)
	confirmed := func(msg *amqp.Publishing) {
		mu.Lock()
		defer mu.Unlock()
		fates[msg.MessageId]++
		if strings.HasPrefix(msg.MessageId, "one") {
			oneByOne++
		}
		select {
		case progress <- struct{}{}:
		default:
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	killed := make(chan struct{})   // closed after the last kill
	finished := make(chan struct{}) // closed when the thousand are done
	over := func(c chan struct{}) bool {
		select {
		case <-c:
			return true
		default:
			return false
		}
	}
	published := 0
	var publishers sync.WaitGroup
	publishers.Go(func() {
		defer close(finished)
		next := func() *amqp.Publishing {
			if over(killed) && published >= messages {
				return nil
			}
			published++
			msg := persistent(fmt.Sprintf("side by side %d", published))
			return &msg
		}
		if err := publishSideBySide(ctx, v.URL, "confirmed", 1000, next, confirmed); err != nil {
			t.Errorf("side by side: %v", err)
		}
	})
	singles := 0
	publishers.Go(func() {
		next := func() *amqp.Publishing {
			if over(finished) {
				return nil
			}
			singles++
			msg := persistent(fmt.Sprintf("one by one %d", singles))
			return &msg
		}
		if err := publishSideBySide(ctx, v.URL, "confirmed", 1, next, confirmed); err != nil {
			t.Errorf("one by one: %v", err)
		}
	})

	start := time.Now()
	for range kills {
		mu.Lock()
		enough, enoughOneByOne := len(fates)+messages/(kills+1), oneByOne+5
		mu.Unlock()
		for midst := false; !midst; {
			select {
			case <-progress:
			case <-finished:
				publishers.Wait()
				t.Fatal("the publishers ended too early")
			}
			mu.Lock()
			midst = len(fates) >= enough && oneByOne >= enoughOneByOne
			mu.Unlock()
		}
		broker.Kill()
		broker.Up()
	}
	close(killed)
	publishers.Wait()
	took := time.Since(start)

	delivered := make(map[string]int)
	total := 0
	for _, d := range v.Drain("confirmed") {
		delivered[string(d.Body)]++
		total++
	}
	lost := 0
	for id, times := range fates {
		if times != 1 {
			t.Errorf("%s was confirmed %d times", id, times)
		}
		if delivered[id] == 0 {
			lost++
		}
	}
	t.Logf("RabbitMQ %s, killed %d times in %.0f s: confirmed %d (%d of them one by one), delivered %d, duplicated %d, lost %d",
		broker.Version(), kills, took.Seconds(), len(fates), oneByOne, total, total-len(delivered), lost)
	if want := published + singles; lost > 0 || published < messages || len(fates) != want {
		t.Errorf("published %d: %d confirmed, %d lost", want, len(fates), lost)
	}
}

// A publisher that gets no confirm before its deadline does not know what became of its message, and
// says so, whether it publishes alone or beside others.
func TestUnconfirmedMessageIsReportedAsUnknown(t *testing.T) {
	t.Parallel()
	broker := harness.StartBroker(t)
	harness.DeclareQueue(t, harness.Channel(t, broker.URL()), "confirmed")
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	const publishers = 10
	connected, frozen := make(chan struct{}), make(chan struct{})
	fates := make(chan error, publishers)
	ended := make(chan error, 1)
	go func() {
		ended <- amqpx.Run(ctx, broker.URL(), func(s *amqpx.Session) error {
			to := amqpx.Route{RoutingKey: "confirmed"}
			if err := s.PublishConfirmed(ctx, to, persistent("before")); err != nil { // the channel is in confirm mode now
				return err
			}
			close(connected)
			<-frozen
			var running sync.WaitGroup
			for _, id := range harness.Numbered("m", publishers) {
				running.Go(func() { fates <- s.PublishConfirmed(ctx, to, persistent(id)) })
			}
			running.Wait()
			return amqpx.ErrUnconfirmed
		})
	}()
	<-connected
	broker.Pause()
	close(frozen)
	deadline := errors.New("the deadline of this test")
	time.AfterFunc(500*time.Millisecond, func() { cancel(deadline) })
	for range publishers {
		if err := <-fates; !errors.Is(err, amqpx.ErrUnconfirmed) || !errors.Is(err, deadline) {
			t.Errorf("PublishConfirmed: %v", err)
		}
	}
	if err := <-ended; !errors.Is(err, amqpx.ErrUnconfirmed) {
		t.Errorf("Run = %v", err)
	}
	broker.Resume()
}

// The network falls silent before the channel is in confirm mode.
func TestTheFirstConfirmedPublishEndsWithItsContext(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	n := newNetwork(t, v.URL)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var took time.Duration
	err := amqpx.Run(ctx, n.through(v.URL, ""), func(s *amqpx.Session) error {
		n.swallow()
		began := time.Now()
		time.AfterFunc(100*time.Millisecond, cancel)
		err := s.PublishConfirmed(ctx, amqpx.Route{RoutingKey: "q"}, persistent("first"))
		took = time.Since(began)
		return err
	})
	if !errors.Is(err, amqpx.ErrUnconfirmed) || took > 5*time.Second { // heartbeats notice it after 15
		t.Errorf("PublishConfirmed: %v after %v", err, took)
	}
}
