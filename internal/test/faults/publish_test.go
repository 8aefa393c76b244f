package faults_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"rabbitmq-tutorial/internal/amqpx"
	"rabbitmq-tutorial/internal/harness"
)

// Persistent messages are published in both of amqpx's ways while the broker is
// killed again and again. What was confirmed must be in the queue at the end.
func TestNoConfirmedMessageIsLostInBrokerCrashes(t *testing.T) {
	t.Parallel()
	messages, kills := size(3000, 25_000), size(2, 6)
	broker := harness.StartBroker(t)
	v := broker.NewVhost()
	declareQueue := func(s *amqpx.Session) error {
		_, err := s.DeclareQuorumQueue("confirmed")
		return err
	}
	harness.DeclareQueue(t, harness.Channel(t, v.URL), "confirmed")
	broker.SaveQueues()

	var (
		mu        sync.Mutex
		fates     = make(map[string]int) // by message id
		confirmed int                    // in both ways
		oneByOne  int                    // in the slow one
		published int                    // in the fast one
		progress  = make(chan struct{}, 1)
	)
	fate := func(id string, err error) {
		mu.Lock()
		defer mu.Unlock()
		fates[id]++
		if err != nil {
			t.Errorf("message %s: %v", id, err)
			return
		}
		confirmed++
		if strings.HasPrefix(id, "one") {
			oneByOne++
		}
		select {
		case progress <- struct{}{}:
		default:
		}
	}

	// One publisher waits for each confirm, as the programs do.
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	var publishers sync.WaitGroup
	asynchronous := make(chan struct{}) // closed when the other one is done
	publishers.Go(func() {
		n := 1
		err := amqpx.Run(ctx, v.URL, func(s *amqpx.Session) error {
			if err := declareQueue(s); err != nil {
				return err
			}
			for {
				select {
				case <-asynchronous:
					return nil
				default:
				}
				id := fmt.Sprintf("one by one %d", n)
				err := s.PublishConfirmed(ctx, "", "confirmed", amqp.Publishing{
					DeliveryMode: amqp.Persistent, MessageId: id, Body: []byte(id),
				})
				if err != nil {
					return err // the next session publishes this one again
				}
				fate(id, nil)
				n++
			}
		})
		if err != nil {
			t.Errorf("one by one: %v", err)
		}
	})

	// The other one has a window of messages on their way, at every kill.
	killed := make(chan struct{}) // closed after the last kill
	publishers.Go(func() {
		defer close(asynchronous)
		p := amqpx.NewPublisher(ctx, v.URL, 1000, declareQueue, func(msg amqp.Publishing, err error) {
			fate(msg.MessageId, err)
		})
		more := func(n int) bool {
			select {
			case <-killed:
				return n <= messages
			default:
				return true
			}
		}
		for n := 1; more(n); n++ {
			id := fmt.Sprintf("asynchronous %d", n)
			msg := amqp.Publishing{DeliveryMode: amqp.Persistent, MessageId: id, Body: []byte(id)}
			if err := p.Publish("", "confirmed", msg); err != nil {
				t.Errorf("publish: %v", err)
				break
			}
			published++
		}
		if err := p.Close(); err != nil {
			t.Errorf("close the publisher: %v", err)
		}
	})

	start := time.Now()
	for range kills {
		mu.Lock()
		enough, enoughOneByOne := confirmed+messages/(kills+1), oneByOne+5
		mu.Unlock()
		for midst := false; !midst; {
			<-progress
			mu.Lock()
			midst = confirmed >= enough && oneByOne >= enoughOneByOne
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
			t.Errorf("the fate of %s was reported %d times", id, times)
		}
		if delivered[id] == 0 {
			lost++
		}
	}
	t.Logf("RabbitMQ %s, killed %d times in %.0f s: confirmed %d (%d of them one by one), delivered %d, duplicated %d, lost %d",
		broker.Version(), kills, took.Seconds(), confirmed, oneByOne, total, total-len(delivered), lost)
	if want := published + oneByOne; lost > 0 || published < messages || confirmed != want || len(fates) != want {
		t.Errorf("published %d: %d fates, %d confirmed, %d lost", want, len(fates), confirmed, lost)
	}
}

// A publisher that gets no confirm until its deadline cannot know what became of
// its messages. It says so, once for each.
func TestUnconfirmedMessageIsReportedAsUnknown(t *testing.T) {
	t.Parallel()
	broker := harness.StartBroker(t)
	url := broker.URL()
	harness.DeclareQueue(t, harness.Channel(t, url), "confirmed")
	declareQueue := func(s *amqpx.Session) error {
		_, err := s.DeclareQuorumQueue("confirmed")
		return err
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	ids := harness.Numbered("m", 10)
	msg := func(id string) amqp.Publishing {
		return amqp.Publishing{DeliveryMode: amqp.Persistent, MessageId: id, Body: []byte(id)}
	}

	connected, frozen := make(chan struct{}, 2), make(chan struct{})
	single := make(chan error)
	go func() {
		single <- amqpx.Run(ctx, url, func(s *amqpx.Session) error {
			connected <- struct{}{}
			<-frozen
			return s.PublishConfirmed(ctx, "", "confirmed", msg("single"))
		})
	}()
	fates := make(map[string][]error)
	var mu sync.Mutex
	p := amqpx.NewPublisher(ctx, url, 100,
		func(s *amqpx.Session) error {
			defer func() { connected <- struct{}{} }()
			return declareQueue(s)
		},
		func(msg amqp.Publishing, err error) {
			mu.Lock()
			defer mu.Unlock()
			fates[msg.MessageId] = append(fates[msg.MessageId], err)
		})
	<-connected
	<-connected
	broker.Pause()
	close(frozen)
	for _, id := range ids {
		if err := p.Publish("", "confirmed", msg(id)); err != nil {
			t.Fatal(err)
		}
	}
	deadline := errors.New("the deadline of this test")
	time.AfterFunc(500*time.Millisecond, func() { cancel(deadline) })
	if err := <-single; !errors.Is(err, amqpx.ErrUnconfirmed) || !errors.Is(err, deadline) {
		t.Errorf("PublishConfirmed: %v", err)
	}
	if err := p.Close(); !errors.Is(err, deadline) {
		t.Errorf("Close: %v", err)
	}
	for _, id := range ids {
		if got := fates[id]; len(got) != 1 || !errors.Is(got[0], amqpx.ErrUnconfirmed) {
			t.Errorf("the fate of %s: %v", id, got)
		}
	}
	broker.Resume()
}
