package lessons_test

import (
	"fmt"
	"testing"

	"rabbitmq-tutorial/internal/harness"
)

func TestSendBeforeReceive(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)

	send := harness.Run(t, v.URL, 0, "send")
	wantStdout(t, send, " [x] Sent Hello World!")
	wantStderr(t, send)

	receive := harness.Start(t, v.URL, "receive")
	receive.Await("Hello World!")
	receive.Stop()
	wantStdout(t, receive, waitingForMessages, " [x] Received Hello World!")
	wantStderr(t, receive)
	if n := v.Queue("hello").Ready; n != 0 {
		t.Errorf("%d messages are left: receive has not acknowledged", n)
	}
}

func TestReceiveBeforeSend(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)

	receive := startConsumer(t, v.URL, "receive")
	for range 2 { // to declare what is there is no error
		wantStdout(t, harness.Run(t, v.URL, 0, "send"), " [x] Sent Hello World!")
		receive.Await("Hello World!")
	}
	receive.Stop()
	wantStdout(t, receive, waitingForMessages, " [x] Received Hello World!", " [x] Received Hello World!")
	wantStderr(t, receive)
}

// A receiver that is stopped in the middle of a backlog has acknowledged what it
// printed, and leaves the rest to the next. (In which order the next gets it is
// the broker's business: before 4.0 it puts what was given back at the end.)
func TestReceiveLeavesTheRest(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	ch := channel(t, v.URL)
	declareQueue(t, ch, "hello")
	const messages = 2000
	missing := make(map[string]bool)
	for i := range messages {
		body := fmt.Sprintf("message %d", i)
		if _, err := ch.PublishWithDeferredConfirm("", "hello", false, false, text(body)); err != nil {
			t.Fatal(err)
		}
		missing[" [x] Received "+body] = true
	}
	awaitReady(t, v, "hello", messages)

	first := harness.Start(t, v.URL, "receive")
	first.Await("message 10")
	first.Stop()
	awaitReady(t, v, "hello", messages-(len(first.Stdout())-1))

	publish(t, ch, "", "hello", text("the end"))
	second := harness.Start(t, v.URL, "receive")
	harness.Eventually(t, soon, "all messages are received", func() bool {
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
