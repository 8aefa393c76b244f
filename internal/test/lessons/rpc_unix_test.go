//go:build unix

package lessons_test

import (
	"strings"
	"syscall"
	"testing"

	"rabbitmq-tutorial/internal/harness"
)

// A frozen server holds as many of ten requests as its prefetch allows.
func TestServerHoldsAsManyRequestsAsItsPrefetch(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		flags []string
		left  int
	}{
		{nil, 9}, {[]string{"-prefetch=7"}, 3}, {[]string{"-prefetch=0"}, 0},
	} {
		t.Run(strings.Join(test.flags, " "), func(t *testing.T) {
			t.Parallel()
			v := harness.NewVhost(t)
			server := harness.StartConsumer(t, v.URL, "rpc_server", test.flags...)
			server.Signal(syscall.SIGSTOP)
			ch := harness.Channel(t, v.URL)
			harness.Publish(t, ch, "", "rpc_queue", harness.Numbered("", 10)...)
			v.AwaitQueue("rpc_queue", test.left, 10-test.left)
			server.Signal(syscall.SIGCONT)
			v.AwaitReady("rpc_queue", 0)
		})
	}
}
