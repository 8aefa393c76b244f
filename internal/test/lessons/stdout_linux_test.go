package lessons_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"rabbitmq-tutorial/internal/harness"
)

// When the disk under stdout is full, every program fails, and no message is lost.
func TestFullDiskUnderStdoutIsAFailure(t *testing.T) {
	t.Parallel()
	for name, args := range everyProgram() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := harness.NewVhost(t)
			ch := harness.Channel(t, v.URL)
			for _, queue := range []string{"hello", "task_queue"} {
				harness.DeclareQueue(t, ch, queue)
				harness.Publish(t, ch, "", queue, "unseen")
			}
			cmd := exec.Command("/bin/sh", append([]string{"-c", `exec "$0" "$@" >/dev/full`, harness.Path(name)}, args...)...)
			cmd.Env = append(os.Environ(), "AMQP_URL="+v.URL)
			p := harness.StartCmd(t, cmd)
			if status := p.Wait(); status != 1 {
				t.Errorf("exit status %d, want 1", status)
			}
			last := p.Stderr()
			if len(last) == 0 || !strings.HasPrefix(last[len(last)-1], " [!] cannot write to stdout: ") {
				t.Errorf("stderr is %q", last)
			}
			for _, queue := range []string{"hello", "task_queue"} {
				harness.Eventually(t, time.Minute, "the message is still in "+queue, func() bool { return v.Queue(queue).Ready > 0 })
			}
		})
	}
}
