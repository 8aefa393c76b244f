package lessons_test

import (
	"strings"
	"testing"
	"time"

	"rabbitmq-tutorial/internal/harness"
)

func TestMessageWaitsForItsReceiver(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)

	send := harness.Run(t, v.URL, 0, "send")
	wantStdout(t, send, " [x] Sent Hello World!")
	wantStderr(t, send)

	receive := harness.Start(t, v.URL, "receive")
	receive.Await("Hello World!")
	receive.Stop()
	wantStdout(t, receive, harness.WaitingForMessages, " [x] Received Hello World!")
	wantStderr(t, receive)
	if n := v.Queue("hello").Ready; n != 0 {
		t.Errorf("%d messages are left: receive has not acknowledged", n)
	}
}

func TestReceiverGetsWhatIsSentLater(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)

	receive := harness.StartConsumer(t, v.URL, "receive")
	for range 2 { // declaring what exists is no error
		wantStdout(t, harness.Run(t, v.URL, 0, "send"), " [x] Sent Hello World!")
		receive.Await("Hello World!")
	}
	receive.Stop()
	wantStdout(t, receive, harness.WaitingForMessages, " [x] Received Hello World!", " [x] Received Hello World!")
	wantStderr(t, receive)
}

// The second send declares the queue again, which leaves it and its message as they are.
func TestDeclaringAgainChangesNothing(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	queues := func() string {
		return harness.SharedBroker(t).Ctl("list_queues", "--vhost", v.Name, "name", "pid", "durable", "exclusive", "auto_delete", "arguments")
	}
	harness.Run(t, v.URL, 0, "send")
	once := queues()
	harness.Run(t, v.URL, 0, "send")
	if again := queues(); again != once || !strings.Contains(once, "hello") {
		t.Errorf("after the first send:\n%s\nafter the second:\n%s", once, again)
	}
	if n := v.Queue("hello").Ready; n != 2 {
		t.Errorf("%d messages are in the queue, want both", n)
	}
}

// A receiver that is stopped in the middle of a backlog has acknowledged what it
// printed, and leaves the rest to the next. (Before 4.0, the broker puts what was handed
// back at the end, so the order may change.)
func TestStoppedReceiverLeavesTheRest(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	ch := harness.Channel(t, v.URL)
	harness.DeclareQueue(t, ch, "hello")
	const messages = 2000
	bodies := harness.Numbered("message ", messages)
	harness.Publish(t, ch, "", "hello", bodies...)
	missing := make(map[string]bool)
	for _, body := range bodies {
		missing[" [x] Received "+body] = true
	}

	first := harness.Start(t, v.URL, "receive")
	first.Await("message 10")
	first.Stop()
	v.AwaitReady("hello", messages-(len(first.Stdout())-1))

	harness.Publish(t, ch, "", "hello", "the end")
	second := harness.Start(t, v.URL, "receive")
	harness.Eventually(t, time.Minute, "all messages are received", func() bool {
		return len(first.Stdout())-1+len(second.Stdout())-1 > messages
	})
	second.Stop()
	for _, line := range append(first.Stdout()[1:], second.Stdout()[1:]...) {
		if !missing[line] && line != " [x] Received the end" {
			t.Errorf("received twice: %q", line)
		}
		delete(missing, line)
	}
	if len(missing) > 0 {
		t.Errorf("%d of %d messages not received", len(missing), messages)
	}
}
