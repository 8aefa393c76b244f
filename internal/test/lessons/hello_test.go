package lessons_test

import (
	"strings"
	"testing"

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
