//go:build unix

package lessons_test

import (
	"strings"
	"syscall"
	"testing"

	"rabbitmq-tutorial/internal/harness"
)

// A server that is frozen has as many of ten requests as the prefetch lets it have.
func TestServerPrefetch(t *testing.T) {
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
			server := startConsumer(t, v.URL, "rpc_server", test.flags...)
			server.Signal(syscall.SIGSTOP)
			ch := channel(t, v.URL)
			for range 10 {
				publish(t, ch, "", "rpc_queue", text("1"))
			}
			awaitHeld(t, v, "rpc_queue", test.left, 10-test.left)
			server.Signal(syscall.SIGCONT)
			awaitReady(t, v, "rpc_queue", 0)
		})
	}
}
