package lessons_test

import (
	"os/exec"
	"strings"
	"testing"

	"rabbitmq-tutorial/internal/harness"
)

// The disk under stdout is full: no program ends as if it had told its reader, and
// no message is lost over it.
func TestStdoutFull(t *testing.T) {
	t.Parallel()
	for name, args := range everyProgram() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := harness.NewVhost(t)
			ch := channel(t, v.URL)
			for _, queue := range []string{"hello", "task_queue"} {
				declareQueue(t, ch, queue)
				publish(t, ch, "", queue, text("unseen"))
			}
			cmd := exec.Command("/bin/sh", append([]string{"-c", `exec "$0" "$@" >/dev/full`, harness.Path(name)}, args...)...)
			cmd.Env = environ(v.URL)
			p := harness.StartCmd(t, cmd)
			if status := p.Wait(); status != 1 {
				t.Errorf("exit status %d, want 1", status)
			}
			last := p.Stderr()
			if len(last) == 0 || !strings.HasPrefix(last[len(last)-1], " [!] cannot write to stdout: ") {
				t.Errorf("stderr is %q", last)
			}
			if _, publishes := publishers[name]; !publishes {
				awaitReady(t, v, "hello", 1)
				awaitReady(t, v, "task_queue", 1)
			}
		})
	}
}
