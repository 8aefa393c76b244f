package lessons_test

import (
	"bufio"
	"os"
	"os/exec"
	"testing"

	"rabbitmq-tutorial/internal/harness"
)

// The reader may be gone, as in `receive | head -1`.
func TestMessageThatCouldNotBePrintedIsNotAcknowledged(t *testing.T) {
	t.Parallel()
	for name, queue := range map[string]string{"receive": "hello", "worker": "task_queue"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := harness.NewVhost(t)
			cmd := exec.Command(harness.Path(name))
			cmd.Env = append(os.Environ(), "AMQP_URL="+v.URL)
			stdout, err := cmd.StdoutPipe()
			if err == nil {
				err = cmd.Start()
			}
			if err != nil {
				t.Fatal(err)
			}
			defer cmd.Process.Kill()
			if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil || line != harness.WaitingForMessages+"\n" {
				t.Fatalf("the first line is %q, %v", line, err)
			}
			stdout.Close()

			ch := harness.Channel(t, v.URL)
			harness.Publish(t, ch, "", queue, "unseen")
			if err := cmd.Wait(); err == nil {
				t.Error("exit status 0")
			}
			v.AwaitReady(queue, 1)
			if d := harness.Get(t, ch, queue); string(d.Body) != "unseen" || !d.Redelivered {
				t.Errorf("the queue holds %q, redelivered: %v", d.Body, d.Redelivered)
			}
		})
	}
}
