package faults_test

import (
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"rabbitmq-tutorial/internal/harness"
)

// interrupt sends Ctrl+C and returns the exit status and how long the program
// took to end.
func interrupt(p *harness.Process) (status int, took time.Duration) {
	start := time.Now()
	p.Interrupt()
	status = p.Wait()
	return status, time.Since(start)
}

// endsWithin has a program started several times, and interrupts it. Half of the
// times it must be out within the limit: the machine may be busy with other tests.
func endsWithin(t *testing.T, name string, limit time.Duration, start func() *harness.Process) {
	t.Helper()
	var times []time.Duration
	for range 5 {
		status, took := interrupt(start())
		if status != 0 {
			t.Errorf("%s: exit status %d after Ctrl+C", name, status)
		}
		times = append(times, took.Round(time.Millisecond))
	}
	slices.Sort(times)
	t.Logf("%s: out in %v", name, times)
	if median := times[len(times)/2]; median > limit {
		t.Errorf("%s: out in %v, want %v", name, median, limit)
	}
}

func TestIdleProgramEndsAtOnce(t *testing.T) {
	v := harness.NewVhost(t)
	for _, c := range []struct {
		program, waiting string
		args             []string
	}{
		{"receive", " [*] Waiting for messages", nil},
		{"worker", " [*] Waiting for messages", []string{"-prefetch", "10"}},
		{"receive_logs_topic", " [*] Waiting for logs", []string{"#"}},
		{"rpc_server", " [x] Awaiting RPC requests", nil},
	} {
		endsWithin(t, c.program, 200*time.Millisecond, func() *harness.Process {
			p := harness.Start(t, v.URL, c.program, c.args...)
			p.Await(c.waiting)
			return p
		})
	}
}

// The broker is away, or is there and says nothing.
func TestProgramEndsAtOnceWhileItIsReconnecting(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	endsWithin(t, "worker without a broker", time.Second, func() *harness.Process {
		w := newWire(t, v.URL)
		p := harness.Start(t, w.URL, "worker")
		p.Await(" [*] Waiting")
		w.Close()
		p.Await(" [!] connection lost")
		p.Await(" [!] connect to ")
		return p
	})

	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	endsWithin(t, "worker with a silent broker", time.Second, func() *harness.Process {
		p := harness.Start(t, "amqp://guest:guest@"+silent.Addr().String(), "worker")
		conn, err := silent.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return p
	})
}

// The task in hand is finished. What is waiting behind it is somebody else's at
// once, and in its order.
func TestInterruptedWorkerFinishesItsTaskAndHandsTheRestBack(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	ch := channel(t, v.URL)
	publish(t, ch, "task_queue", "t1.", "t2", "t3", "t4", "t5")
	leaving := harness.Start(t, v.URL, "worker", "-prefetch", "5", "-unit", "4s")
	leaving.Await(" [x] Received t1.")
	harness.Eventually(t, 10*time.Second, "all five tasks are with the first worker", func() bool {
		return v.Queue("task_queue").Unacked == 5
	})
	other := harness.Start(t, v.URL, "worker")
	other.Await(" [*] Waiting")

	start := time.Now()
	leaving.Interrupt()
	for _, task := range []string{"t2", "t3", "t4", "t5"} {
		other.Await(" [x] Received " + task + " (redelivered)")
	}
	other.Await(" [x] Done")
	back := time.Since(start)
	if !leaving.Running() || slices.Contains(leaving.Stdout(), " [x] Done") {
		t.Error("the tasks were handed back only when the first worker was done")
	}
	leaving.Await(" [!] finishing what is in hand")
	leaving.Await(" [x] Done")
	if status := leaving.Wait(); status != 0 {
		t.Errorf("exit status %d", status)
	}
	t.Logf("the other worker was done with the rest %v after Ctrl+C", back.Round(time.Millisecond))

	publish(t, ch, "task_queue", "t6")
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
	if q := v.Queue("task_queue"); q.Ready != 0 {
		t.Errorf("%d tasks are left", q.Ready)
	}
}

func TestSecondInterruptEndsTheProgramOnTheSpot(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	publish(t, channel(t, v.URL), "task_queue", "long"+strings.Repeat(".", 60))
	worker := harness.Start(t, v.URL, "worker")
	worker.Await(" [x] Received long")
	worker.Interrupt()
	worker.Await(" [!] finishing what is in hand; press CTRL+C again to leave at once")
	status, took := interrupt(worker)
	t.Logf("out in %v", took.Round(time.Millisecond))
	if status == 0 || took > 200*time.Millisecond {
		t.Errorf("exit status %d after %v", status, took)
	}
	harness.Eventually(t, 10*time.Second, "the task is back in the queue", func() bool {
		return v.Queue("task_queue").Ready == 1
	})
}
