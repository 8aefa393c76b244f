package faults_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"rabbitmq-tutorial/internal/harness"
)

const finishing = " [!] finishing what is in hand; press CTRL+C again to leave at once"

// wantEnd sends Ctrl+C, and expects exit status 0 within the limit.
func wantEnd(t *testing.T, p *harness.Process, limit time.Duration) {
	t.Helper()
	start := time.Now()
	p.Interrupt()
	p.Exits(0)
	if took := time.Since(start); took > limit {
		t.Errorf("Ctrl+C took %v, want %v", took, limit)
	}
}

// endsWithin starts a program several times, and interrupts it, with Ctrl+C and SIGTERM by turns. The
// program must then print nothing more. Half of the times it must end within the limit; at the others,
// the machine may be busy with other tests.
func endsWithin(t *testing.T, limit time.Duration, start func() *harness.Process) {
	t.Helper()
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	var times []time.Duration
	for i := range 5 {
		p := start()
		printed := len(p.Stdout())
		began := time.Now()
		p.Signal(signals[i%2])
		if status := p.Wait(); status != 0 || len(p.Stdout()) > printed {
			t.Errorf("exit status %d after %v; it printed:\n%s", status, signals[i%2], p.Output())
		}
		times = append(times, time.Since(began).Round(time.Millisecond))
	}
	slices.Sort(times)
	t.Logf("ended after %v", times)
	if median := times[len(times)/2]; median > limit {
		t.Errorf("ended after %v, want %v", median, limit)
	}
}

func TestIdleProgramEndsAtOnce(t *testing.T) { // not parallel: it takes the time
	for _, c := range harness.Consumers() {
		t.Run(c.Program, func(t *testing.T) {
			v := harness.NewVhost(t)
			endsWithin(t, 200*time.Millisecond, func() *harness.Process { return c.Start(t, v.URL) })
		})
	}
}

// The broker is away.
func TestProgramEndsAtOnceWhileItIsReconnecting(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	endsWithin(t, time.Second, func() *harness.Process {
		n := newNetwork(t, v.URL)
		p := harness.StartConsumer(t, n.through(v.URL, ""), "worker")
		n.down()
		p.Await(" [!] connection lost")
		p.Await(" [!] connect to ")
		return p
	})
}

// The broker accepts connections and never answers. Whoever has stopped the program needs no advice.
func TestProgramEndsAtOnceWhileItIsConnecting(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	for _, program := range []string{"receive", "send"} {
		t.Run(program, func(t *testing.T) {
			t.Parallel()
			endsWithin(t, time.Second, func() *harness.Process {
				n := newNetwork(t, v.URL)
				silent := n.fail(upstream, &fault{})
				p := harness.Start(t, n.through(v.URL, ""), program)
				t.Cleanup(func() {
					if strings.Contains(p.Output(), "Check that") {
						t.Errorf("it printed:\n%s", p.Output())
					}
				})
				harness.Eventually(t, time.Minute, "the program connects", func() bool { return silent.met.Load() > 0 })
				return p
			})
		})
	}
}

// The worker finishes and acknowledges the task in hand. Then another worker gets what was delivered
// ahead, in order.
func TestInterruptedWorkerFinishesItsTaskAndHandsTheRestBack(t *testing.T) {
	t.Parallel()
	for _, signal := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		t.Run(signal.String(), func(t *testing.T) {
			t.Parallel()
			v := harness.NewVhost(t)
			ch := harness.Channel(t, v.URL)
			harness.DeclareQueue(t, ch, "task_queue")
			harness.Publish(t, ch, "", "task_queue", "t1.", "t2", "t3", "t4", "t5")
			leaving := harness.StartConsumer(t, v.URL, "worker", "-prefetch=5", "-unit=6s")
			leaving.Await(" [x] Received t1.")
			v.AwaitQueue("task_queue", 0, 5)
			other := harness.StartConsumer(t, v.URL, "worker")

			leaving.Signal(signal)
			leaving.Await(finishing)
			leaving.Await(" [x] Done")
			leaving.Exits(0)
			for _, task := range []string{"t2", "t3", "t4", "t5"} {
				other.Await(" [x] Received " + task + " (redelivered)")
			}

			harness.Publish(t, ch, "", "task_queue", "t6")
			other.Await(" [x] Received t6")
			other.Await(" [x] Done")
			other.Stop()
			var got []string
			for _, r := range receivedBy(other) {
				got = append(got, r.task)
			}
			if want := []string{"t2", "t3", "t4", "t5", "t6"}; !slices.Equal(got, want) {
				t.Errorf("the other worker received %v, want %v", got, want)
			}
			v.AwaitReady("task_queue", 0)
		})
	}
}

func TestSecondInterruptEndsTheProgramOnTheSpot(t *testing.T) {
	t.Parallel()
	for _, signals := range [][2]os.Signal{
		{os.Interrupt, os.Interrupt},
		{syscall.SIGTERM, os.Interrupt},
		{os.Interrupt, syscall.SIGTERM},
	} {
		t.Run(fmt.Sprint(signals), func(t *testing.T) {
			t.Parallel()
			v := harness.NewVhost(t)
			worker := harness.StartConsumer(t, v.URL, "worker", "-unit=1h")
			harness.Publish(t, harness.Channel(t, v.URL), "", "task_queue", "long.")
			worker.Await(" [x] Received long")
			worker.Signal(signals[0])
			worker.Await(finishing)
			start := time.Now()
			worker.Signal(signals[1])
			if status, took := worker.Wait(), time.Since(start); status != -1 || took > time.Second {
				t.Errorf("exit status %d after %v, want an end by the signal", status, took)
			}
			v.AwaitReady("task_queue", 1) // not done, not lost
		})
	}
}
