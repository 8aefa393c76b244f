package lessons_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"rabbitmq-tutorial/internal/harness"
)

// When the disk under stdout is full, every program fails.
func TestFullDiskUnderStdoutIsAFailure(t *testing.T) {
	t.Parallel()
	for name, args := range everyProgram() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := harness.NewVhost(t)
			cmd := exec.Command("/bin/sh", append([]string{"-c", `exec "$0" "$@" >/dev/full`, harness.Path(name)}, args...)...)
			cmd.Env = append(os.Environ(), "AMQP_URL="+v.URL)
			p := harness.StartCmd(t, cmd)
			p.Exits(1)
			last := p.Stderr()
			if len(last) == 0 || !strings.HasPrefix(last[len(last)-1], " [!] cannot write to stdout: ") {
				t.Errorf("stderr is %q", last)
			}
		})
	}
}
