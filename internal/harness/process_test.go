package harness_test

import (
	"fmt"
	"net"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"

	"rabbitmq-tutorial/internal/harness"
)

// A server that never answers keeps a program waiting.
func silentBroker(t *testing.T) (url string, connected func()) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return fmt.Sprintf("amqp://%s/", l.Addr()), func() {
		t.Helper()
		conn, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
	}
}

func TestProcessEndsOnCtrlC(t *testing.T) {
	t.Parallel()
	url, connected := silentBroker(t)
	p := harness.Start(t, url, "receive")
	connected()
	p.Stop()
	if got := p.Stderr(); len(got) != 1 || !strings.HasPrefix(got[0], " [!] stopped") {
		t.Errorf("stderr is %q", got)
	}
}

func TestProcessIsKilledWithItsTest(t *testing.T) {
	t.Parallel()
	var p *harness.Process
	t.Run("inside", func(t *testing.T) {
		url, connected := silentBroker(t)
		p = harness.Start(t, url, "receive")
		connected()
	})
	if p.Running() {
		t.Error("the process runs on after its test")
	}
}

// failing is a test that may fail without failing ours.
type failing struct {
	*testing.T
	said string
}

func (f *failing) Fatalf(format string, args ...any) {
	f.said = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

func TestProcessFailsItsTest(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		do   func(*harness.Process)
		want string
	}{
		"a line that does not come": {func(p *harness.Process) { p.Await("Waiting") }, `without printing "Waiting"`},
		"another exit status":       {func(p *harness.Process) { p.Exits(0) }, "exit status 2, want 0"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := &failing{T: t}
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				test.do(harness.Start(f, "", "receive", "-nonsense"))
			}()
			<-ended
			if !strings.Contains(f.said, test.want) {
				t.Errorf("the test failed with %q, want %q in it", f.said, test.want)
			}
		})
	}
}

func TestProcessShowsItsLines(t *testing.T) {
	t.Parallel()
	var shown []string
	p := harness.StartShown(t, exec.Command(harness.Path("send"), "-nonsense"), func(text string) { shown = append(shown, text) })
	p.Exits(2)
	if got := p.Stdout(); len(got) < 2 || !slices.Equal(got, shown) {
		t.Errorf("it printed %q, and what was shown is %q", got, shown)
	}
}
