package amqpx_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"rabbitmq-tutorial/internal/amqpx"
	"rabbitmq-tutorial/internal/harness"
)

// fates collects what a publisher reports, by message id. A publisher reports one message at a
// time, so that there is no lock: the race detector would find a publisher that does not.
type fates map[string][]error

func (f fates) report(msg amqp.Publishing, err error) {
	f[msg.MessageId] = append(f[msg.MessageId], err)
}

func declareQ(s *amqpx.Session) error {
	_, err := s.DeclareQuorumQueue("q")
	return err
}

// ids takes n messages out of the queue and returns how often each id was among them.
func ids(t *testing.T, ch *amqp.Channel, queue string, n int) map[string]int {
	t.Helper()
	ids := make(map[string]int)
	if n == 0 {
		return ids
	}
	deliveries, err := ch.Consume(queue, "", true, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	for range n {
		select {
		case d := <-deliveries:
			ids[d.MessageId]++
		case <-time.After(soon):
			t.Fatalf("queue %q, after %d of %d messages: no more", queue, len(ids), n)
		}
	}
	return ids
}

// Confirmed, returned and refused messages come mixed, from several goroutines. Each has one
// fate, its own, and in the queues is what was confirmed.
func TestPublisherReportsEveryFateOnce(t *testing.T) {
	t.Parallel()
	const goroutines, each = 8, 60
	v := harness.NewVhost(t)
	v.SetPolicy("full", "^full$", map[string]any{"max-length": 5, "overflow": "reject-publish"})
	reported := make(fates)
	p := amqpx.NewPublisher(t.Context(), v.URL, 50, func(s *amqpx.Session) error {
		if _, err := s.DeclareQuorumQueue("full"); err != nil {
			return err
		}
		return declareQ(s)
	}, reported.report)
	keys := []string{"q", "full", "nowhere"}
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			for i := range each {
				key := keys[(g+i)%len(keys)]
				msg := amqp.Publishing{MessageId: fmt.Sprintf("%s %d %d", key, g, i), DeliveryMode: amqp.Persistent}
				if err := p.Publish("", key, msg); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if err := p.Close(); err != nil {
		t.Error(err)
	}

	confirmed := map[string]map[string]int{"q": {}, "full": {}}
	count := make(map[string]int)
	for id, errs := range reported {
		key, _, _ := strings.Cut(id, " ")
		if len(errs) != 1 {
			t.Errorf("%s has %d fates: %v", id, len(errs), errs)
		}
		switch err := errs[0]; {
		case err == nil && key != "nowhere":
			confirmed[key][id]++
			count[key+" confirmed"]++
		case errors.Is(err, amqpx.ErrNacked) && key == "full":
			count["nacked"]++
		case errors.Is(err, amqpx.ErrUnroutable) && key == "nowhere":
			count["unroutable"]++
		default:
			t.Errorf("the fate of %s: %v", id, err)
		}
	}
	if len(reported) != goroutines*each || count["q confirmed"] != 160 || count["unroutable"] != 160 ||
		count["nacked"] == 0 || count["full confirmed"] < 5 {
		t.Errorf("%d messages have a fate: %v", len(reported), count)
	}
	ch := channel(t, v.URL)
	for queue, want := range confirmed {
		if got := ids(t, ch, queue, v.Queue(queue).Ready); !maps.Equal(got, want) {
			t.Errorf("queue %q has %d messages, and %d were confirmed", queue, len(got), len(want))
		}
	}
}

// Every message gets an id of its own if it has none, and two that are alike are told apart.
func TestPublisherNumbersMessages(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	reported := make(fates)
	p := amqpx.NewPublisher(t.Context(), v.URL, 10, declareQ, reported.report)
	for i := range 20 {
		key := []string{"q", "nowhere"}[i%2]
		if err := p.Publish("", key, text("alike")); err != nil {
			t.Error(err)
		}
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	for i := range 20 {
		id := fmt.Sprint(i + 1)
		if errs := reported[id]; len(errs) != 1 || errors.Is(errs[0], amqpx.ErrUnroutable) != (i%2 == 1) {
			t.Errorf("the fate of message %s: %v", id, errs)
		}
	}
}

// With a full window Publish waits, and goes on when a message has its fate.
func TestPublisherBlocksAtTheWindow(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	connect := make(chan struct{})
	reported := make(fates)
	p := amqpx.NewPublisher(t.Context(), v.URL, 3, func(s *amqpx.Session) error {
		<-connect
		return declareQ(s)
	}, reported.report)
	for range 3 {
		if err := p.Publish("", "q", text("in the window")); err != nil {
			t.Fatal(err)
		}
	}
	fourth := make(chan error)
	go func() { fourth <- p.Publish("", "q", text("one too many")) }()
	select {
	case err := <-fourth:
		t.Errorf("a fourth message did not wait: %v", err)
		close(connect)
	case <-time.After(200 * time.Millisecond):
		close(connect)
		if err := <-fourth; err != nil {
			t.Error(err)
		}
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if len(reported) != 4 {
		t.Errorf("%d messages have a fate", len(reported))
	}
}

// Close comes back when the last message has its fate; a closed publisher takes no more.
func TestPublisherClose(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	const n = 500
	reported := make(fates)
	p := amqpx.NewPublisher(t.Context(), v.URL, n, declareQ, reported.report)
	for range n {
		if err := p.Publish("", "q", text("one")); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if len(reported) != n {
		t.Errorf("%d of %d messages have a fate", len(reported), n)
	}
	if ready := v.Queue("q").Ready; ready != n {
		t.Errorf("the queue has %d messages", ready)
	}
	if err := p.Publish("", "q", text("late")); err == nil || err.Error() != "the publisher is closed" {
		t.Errorf("Publish after Close: %v", err)
	}
	for range 2 { // once more changes nothing, and does not hang
		if err := p.Close(); err == nil || err.Error() != "the publisher is closed" {
			t.Errorf("another Close: %v", err)
		}
	}
	harness.Eventually(t, soon, "no connection is left", func() bool { return v.Connections() == 0 })
	if len(reported) != n {
		t.Errorf("%d fates after another Close", len(reported))
	}
}

// Close may be called by several at once.
func TestPublisherClosesOnce(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	for range 20 {
		p := amqpx.NewPublisher(t.Context(), v.URL, 100, declareQ, func(amqp.Publishing, error) {})
		for range 100 {
			if err := p.Publish("", "q", text("")); err != nil {
				t.Fatal(err)
			}
		}
		var closing sync.WaitGroup
		for range 3 {
			closing.Go(func() { p.Close() })
		}
		closing.Wait()
	}
	if n := v.Queue("q").Ready; n != 2000 {
		t.Errorf("%d messages are in the queue", n)
	}
}

// What cannot be sent at all is refused on the spot, and has no fate.
func TestPublisherTakesNothingThatCannotBeSent(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	reported := make(fates)
	p := amqpx.NewPublisher(t.Context(), v.URL, 1, declareQ, reported.report)
	for range 3 { // more than the window
		if err := p.Publish("", strings.Repeat("k", 256), text("")); err == nil {
			t.Error("a key of 256 bytes was taken")
		}
		if err := p.Publish("", "q", amqp.Publishing{Headers: amqp.Table{"x": struct{}{}}}); err == nil {
			t.Error("a header without an AMQP type was taken")
		}
		for what, headers := range map[string]amqp.Table{
			"with a long name":            {strings.Repeat("k", 256): ""},
			"with a long name inside":     {"x": []any{amqp.Table{strings.Repeat("k", 256): ""}}},
			"that is larger than a frame": {"x": strings.Repeat("v", 130_000)},
			"whose bytes fill a frame":    {"x": make([]byte, 130_000)},
		} {
			if err := p.Publish("", "q", amqp.Publishing{Headers: headers}); err == nil {
				t.Errorf("a header %s was taken", what)
			}
		}
	}
	largest := amqp.Table{strings.Repeat("k", 255): strings.Repeat("v", 119_000)}
	if err := p.Publish("", "q", amqp.Publishing{Headers: largest}); err != nil {
		t.Error(err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if len(reported) != 1 || len(reported["1"]) != 1 || reported["1"][0] != nil {
		t.Errorf("the fates: %v", reported)
	}
}

// Without a first connection the publisher ends, with what it was given and with why.
func TestPublisherWithoutConnection(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dialled := make(chan struct{})
	go func() {
		if conn, err := l.Accept(); err == nil {
			<-dialled
			conn.Close()
		}
	}()
	for _, answers := range []bool{true, false} {
		reported := make(fates)
		if !answers {
			l.Close()
		}
		const window = 4
		p := amqpx.NewPublisher(t.Context(), "amqp://guest:guest@"+l.Addr().String(), window, declareQ, reported.report)
		taken := 0
		if answers { // but not in AMQP
			if err := p.Publish("", "q", text("in good faith")); err != nil {
				t.Error(err)
			}
			taken++
			close(dialled)
		}
		var dial *amqpx.DialError
		for { // Publish fills the window at most, and fails from then on
			err := p.Publish("", "q", text("more"))
			if err != nil {
				if !errors.As(err, &dial) {
					t.Errorf("Publish: %v", err)
				}
				break
			}
			if taken++; taken > window {
				t.Fatalf("%d messages were taken", taken)
			}
		}
		if err := p.Close(); !errors.As(err, &dial) {
			t.Errorf("Close: %v", err)
		}
		if len(reported) != taken {
			t.Errorf("%d of %d messages have a fate", len(reported), taken)
		}
		for id, errs := range reported {
			if len(errs) != 1 || !errors.Is(errs[0], amqpx.ErrUnconfirmed) || !errors.As(errs[0], &dial) {
				t.Errorf("the fate of message %s: %v", id, errs)
			}
		}
	}
}

// When ctx ends, everything ends at once: also a Publish that waits for the window.
func TestPublisherEndsWithContext(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	why := errors.New("no time left")
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	declaring, reported := make(chan struct{}), make(fates)
	p := amqpx.NewPublisher(ctx, v.URL, 2, func(s *amqpx.Session) error {
		close(declaring)
		<-ctx.Done() // the messages stay unsent
		return nil
	}, reported.report)
	<-declaring
	for range 2 {
		if err := p.Publish("", "q", text("unsent")); err != nil {
			t.Error(err)
		}
	}
	third := make(chan error)
	go func() { third <- p.Publish("", "q", text("one too many")) }()
	cancel(why)
	if err := <-third; !errors.Is(err, why) {
		t.Errorf("a waiting Publish: %v", err)
	}
	if err := p.Publish("", "q", text("late")); !errors.Is(err, why) {
		t.Errorf("a late Publish: %v", err)
	}
	if err := p.Close(); !errors.Is(err, why) {
		t.Errorf("Close: %v", err)
	}
	if len(reported) != 2 {
		t.Errorf("the fates: %v", reported)
	}
	for id, errs := range reported {
		if len(errs) != 1 || !errors.Is(errs[0], amqpx.ErrUnconfirmed) || !errors.Is(errs[0], why) {
			t.Errorf("the fate of message %s: %v", id, errs)
		}
	}
}

// A publisher that loses its connections on the way reports each message once nevertheless, and
// the broker has all of them, some perhaps twice.
func TestPublisherOutlivesItsConnections(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	reported := make(fates)
	p := amqpx.NewPublisher(t.Context(), v.URL, 20, declareQ, reported.report)
	n, enough, published := 0, make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			select {
			case <-enough:
				published <- nil
				return
			default:
			}
			if err := p.Publish("", []string{"q", "q", "nowhere"}[n%3], text("one")); err != nil {
				published <- err
				return
			}
			n++
		}
	}()
	for range 2 {
		harness.Eventually(t, soon, "the publisher is connected", func() bool { return v.Connections() == 1 })
		v.CloseConnections("a test") // while messages are on their way
	}
	close(enough)
	if err := <-published; err != nil {
		t.Error(err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if len(reported) != n {
		t.Errorf("%d of %d messages have a fate", len(reported), n)
	}
	inQueue := ids(t, channel(t, v.URL), "q", v.Queue("q").Ready)
	for i := range n {
		id, unroutable := fmt.Sprint(i+1), i%3 == 2
		if errs := reported[id]; len(errs) != 1 || errors.Is(errs[0], amqpx.ErrUnroutable) != unroutable || !unroutable && errs[0] != nil {
			t.Errorf("the fate of message %s: %v", id, errs)
		}
		if unroutable != (inQueue[id] == 0) {
			t.Errorf("message %s is in the queue %d times", id, inQueue[id])
		}
	}
}

// The id of a message is the caller's: it may be used twice, or be a number like those that the
// publisher gives.
func TestPublisherTellsMessagesWithTheSameIDApart(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	got := make(map[string]error)
	p := amqpx.NewPublisher(t.Context(), v.URL, 100, declareQ, func(msg amqp.Publishing, err error) {
		got[string(msg.Body)] = err
	})
	const n = 50 // the broker returns several before the first is looked at
	for i := range n {
		for _, key := range []string{"q", "nowhere"} {
			if err := p.Publish("", key, amqp.Publishing{MessageId: "same", Body: fmt.Append(nil, key, i)}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if err, there := got[fmt.Sprint("q", i)]; err != nil || !there {
			t.Errorf("message %d to a queue: %v", i, err)
		}
		if err := got[fmt.Sprint("nowhere", i)]; !errors.Is(err, amqpx.ErrUnroutable) {
			t.Errorf("message %d to nowhere: %v", i, err)
		}
	}
}

// An exchange that does not exist, and that no session declares, will not appear by itself.
func TestMissingExchangeEndsThePublishers(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	reported := make(fates)
	p := amqpx.NewPublisher(t.Context(), v.URL, 10, declareQ, reported.report)
	if err := p.Publish("no-such-exchange", "key", amqp.Publishing{MessageId: "m"}); err != nil {
		t.Fatal(err)
	}
	wantNotFound := func(who string, err error) {
		t.Helper()
		var refusal *amqp.Error
		if !errors.As(err, &refusal) || refusal.Code != amqp.NotFound {
			t.Errorf("%s: %v, want 404 NOT_FOUND", who, err)
		}
	}
	wantNotFound("Publisher", p.Close())
	if errs := reported["m"]; len(errs) != 1 || !errors.Is(errs[0], amqpx.ErrUnconfirmed) {
		t.Errorf("the message's fate: %v", errs)
	}
	wantNotFound("PublishConfirmed", amqpx.Run(t.Context(), v.URL, func(s *amqpx.Session) error {
		return s.PublishConfirmed(t.Context(), "no-such-exchange", "key", amqp.Publishing{})
	}))
}
