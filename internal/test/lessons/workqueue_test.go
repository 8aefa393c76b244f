package lessons_test

import (
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"rabbitmq-tutorial/internal/harness"
)

// forEver is a unit of time that no test waits for.
const forEver = "-unit=1h"

func TestTaskIsPersistent(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	for program, queue := range map[string]string{"new_task": "task_queue", "retry_task": "retry_tasks"} {
		sender := harness.Run(t, v.URL, 0, program, "A", "heavy", "task...")
		wantStdout(t, sender, " [x] Sent A heavy task...")
		wantStderr(t, sender)

		task := harness.Get(t, harness.Channel(t, v.URL), queue)
		if string(task.Body) != "A heavy task..." || task.DeliveryMode != amqp.Persistent || task.ContentType != "text/plain" {
			t.Errorf("%s: the task is %q, delivery mode %d, content type %q", program, task.Body, task.DeliveryMode, task.ContentType)
		}
	}
}

func TestWorkerTakesAUnitPerDot(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		args     []string
		task     string
		min, max time.Duration
	}{
		{nil, "second.", 900 * time.Millisecond, 5 * time.Second}, // the default
		{[]string{"-unit", "200ms"}, "a.b.c.d", 500 * time.Millisecond, 2500 * time.Millisecond},
		{[]string{"-unit", "1h"}, "no dot", 0, 5 * time.Second},
	} {
		t.Run(test.task, func(t *testing.T) {
			t.Parallel()
			v := harness.NewVhost(t)
			worker := harness.StartConsumer(t, v.URL, "worker", test.args...)
			harness.Run(t, v.URL, 0, "new_task", test.task)
			began := worker.Await("Received").At
			took := worker.Await("Done").At.Sub(began)
			if took < test.min || took > test.max {
				t.Errorf("%q took %v, want %v to %v", test.task, took, test.min, test.max)
			}
			worker.Stop()
			wantStdout(t, worker, harness.WaitingForMessages, " [x] Received "+test.task, " [x] Done")
			wantStderr(t, worker)
		})
	}
}

func TestAckSurvivesWorkerCrash(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	first := harness.StartConsumer(t, v.URL, "worker", forEver)
	harness.Run(t, v.URL, 0, "new_task", "precious.")
	first.Await(" [x] Received precious.")
	second := harness.StartConsumer(t, v.URL, "worker", "-unit=1ms")

	first.Kill() // no time for a last word

	second.Await("Done")
	second.Stop()
	wantStdout(t, first, harness.WaitingForMessages, " [x] Received precious.")
	wantStdout(t, second, harness.WaitingForMessages, " [x] Received precious. (redelivered)", " [x] Done")
	if n := v.Queue("task_queue").Ready; n != 0 {
		t.Errorf("%d tasks are left", n)
	}
}

// dispatch starts two workers, gives one of them a task that never ends, and then
// publishes four light tasks. It returns the worker that is free.
func dispatch(t *testing.T, v *harness.Vhost, flags ...string) (free *harness.Process) {
	t.Helper()
	busy := harness.StartConsumer(t, v.URL, "worker", append(flags, forEver)...)
	harness.Run(t, v.URL, 0, "new_task", "heavy.")
	busy.Await("heavy.")
	free = harness.StartConsumer(t, v.URL, "worker", append(flags, forEver)...)
	for _, task := range []string{"light 1", "light 2", "light 3", "light 4"} {
		harness.Run(t, v.URL, 0, "new_task", task)
	}
	return free
}

func TestFairDispatchSparesTheBusyWorker(t *testing.T) {
	t.Parallel()
	free := dispatch(t, harness.NewVhost(t))
	for _, task := range []string{"light 1", "light 2", "light 3", "light 4"} {
		free.Await(" [x] Received " + task) // all of them, in order
		free.Await(" [x] Done")
	}
}

func TestRoundRobinGivesTheBusyWorkerItsTurn(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	free := dispatch(t, v, "-prefetch=0")
	free.Await("Done")
	free.Await("Done")
	// The busy worker holds the other two, and never begins them.
	v.AwaitQueue("task_queue", 0, 3)
	if n := len(free.Stdout()); n != 5 {
		t.Errorf("the free worker did not get every second task:\n%s", free.Output())
	}
}

func TestAutoAckLosesTasks(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	ch := harness.Channel(t, v.URL)
	harness.DeclareQueue(t, ch, "task_queue")
	harness.Publish(t, ch, "", "task_queue", harness.Numbered("doomed.", 3)...)
	worker := harness.StartConsumer(t, v.URL, "worker", forEver, "-auto-ack")
	worker.Await("Received")
	v.AwaitQueue("task_queue", 0, 0) // the broker has sent all three, and forgotten them
	worker.Kill()

	harness.Run(t, v.URL, 0, "new_task", "next")
	next := harness.StartConsumer(t, v.URL, "worker", forEver)
	next.Await("Done")
	next.Stop()
	wantStdout(t, next, harness.WaitingForMessages, " [x] Received next", " [x] Done")
}

func TestForgottenAcksPileUp(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		flags []string
		gets  int // of five tasks
	}{
		{[]string{"-forget-ack", "-prefetch=0"}, 5},
		{[]string{"-forget-ack", "-prefetch=2"}, 2},
		{[]string{"-forget-ack"}, 1},
	} {
		t.Run(strings.Join(test.flags, " "), func(t *testing.T) {
			t.Parallel()
			v := harness.NewVhost(t)
			ch := harness.Channel(t, v.URL)
			harness.DeclareQueue(t, ch, "task_queue")
			harness.Publish(t, ch, "", "task_queue", harness.Numbered("task", 5)...)
			worker := harness.StartConsumer(t, v.URL, "worker", test.flags...)
			for range test.gets {
				worker.Await("Done")
			}
			v.AwaitQueue("task_queue", 5-test.gets, test.gets)
			if n := len(worker.Stdout()); n != 1+2*test.gets {
				t.Errorf("the worker should have got %d tasks:\n%s", test.gets, worker.Output())
			}

			// The tasks that were done are done again, because the broker does not know. (RabbitMQ 3
			// puts them behind the others.)
			worker.Stop()
			v.AwaitReady("task_queue", 5)
			next := harness.StartConsumer(t, v.URL, "worker")
			again := 0
			for range 5 {
				if strings.HasSuffix(next.Await("Received").Text, " (redelivered)") {
					again++
				}
			}
			if again != test.gets {
				t.Errorf("%d tasks were delivered before, want %d", again, test.gets)
			}
			next.Stop()
		})
	}
}
