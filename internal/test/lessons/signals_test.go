package lessons_test

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"rabbitmq-tutorial/internal/harness"
)

var stopSignals = map[string]os.Signal{"SIGINT": os.Interrupt, "SIGTERM": syscall.SIGTERM}

const stillBusy = " [!] finishing what is in hand; press CTRL+C again to leave at once"

// wantQuick signals and expects the end, with exit status 0, within a second: as
// long, and longer, takes a program that waits for an answer which does not come.
func wantQuick(t *testing.T, p *harness.Process, signal os.Signal) {
	t.Helper()
	began := time.Now()
	p.Signal(signal)
	if status := p.Wait(); status != 0 {
		t.Errorf("exit status %d", status)
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("it took %v to stop", took)
	}
}

// Not parallel with other tests: it takes the time.
func TestStopIdle(t *testing.T) {
	for name, consumer := range consumers {
		for signalName, signal := range stopSignals {
			t.Run(name+" "+signalName, func(t *testing.T) {
				v := harness.NewVhost(t)
				p := startConsumer(t, v.URL, name, consumer.args...)
				wantQuick(t, p, signal)
				wantStdout(t, p, consumer.ready)
				wantStderr(t, p)
			})
		}
	}
}

func TestStopClient(t *testing.T) {
	for signalName, signal := range stopSignals {
		t.Run(signalName, func(t *testing.T) {
			v := harness.NewVhost(t)
			client := harness.Start(t, v.URL, "rpc_client", "-timeout=1m", "5", "6")
			awaitTemporaryQueue(t, v)
			wantQuick(t, client, signal)
			wantStdout(t, client, " [x] Requesting fib(5)", " [x] Requesting fib(6)")
			for _, line := range client.Stderr() {
				if line != stillBusy && !strings.Contains(line, "signal received") && !strings.Contains(line, "context canceled") { // before Go 1.26
					t.Errorf("the client says %q", line)
				}
			}
		})
	}
}

// A program that has not found its broker yet can be stopped as well.
func TestStopWhileConnecting(t *testing.T) {
	for _, name := range []string{"receive", "send"} {
		t.Run(name, func(t *testing.T) {
			silent := listen(t, func(c *conn) { c.accepted() })
			p := harness.Start(t, silent.url, name)
			silent.await()
			wantQuick(t, p, os.Interrupt)
			wantStdout(t, p)
			for _, line := range p.Stderr() {
				if line != stillBusy && !strings.HasPrefix(line, " [!] stopped: ") || strings.Contains(line, "Check that") {
					t.Errorf("it says %q to somebody who has stopped it", line)
				}
			}
		})
	}
}

// The task in hand is finished and acknowledged; then what was delivered ahead of it goes to the
// other workers.
func TestStopInMidTask(t *testing.T) {
	t.Parallel()
	for signalName, signal := range stopSignals {
		t.Run(signalName, func(t *testing.T) {
			t.Parallel()
			v := harness.NewVhost(t)
			ch := channel(t, v.URL)
			declareQueue(t, ch, "task_queue")
			for _, task := range []string{"in hand..", "ahead 1", "ahead 2"} {
				publish(t, ch, "", "task_queue", text(task))
			}
			worker := startConsumer(t, v.URL, "worker", "-prefetch=3", "-unit=1500ms")
			worker.Await("Received")
			awaitHeld(t, v, "task_queue", 0, 3)
			worker.Signal(signal)
			worker.Await(stillBusy)
			other := startConsumer(t, v.URL, "worker", "-unit=1ms")
			for range 2 {
				other.Await("Received ahead")
			}

			if status := worker.Wait(); status != 0 {
				t.Errorf("exit status %d", status)
			}
			wantStdout(t, worker, waitingForMessages, " [x] Received in hand..", " [x] Done")
			wantStderr(t, worker, stillBusy)
			publish(t, ch, "", "task_queue", text("last"))
			other.Await("last")
			other.Stop()
			if n := len(other.Stdout()); n != 1+2*3 { // and not the one in hand
				t.Errorf("the other worker did:\n%s", other.Output())
			}
			awaitReady(t, v, "task_queue", 0)
		})
	}
}

func TestSecondSignalLeavesAtOnce(t *testing.T) {
	t.Parallel()
	for _, signals := range [][2]os.Signal{
		{os.Interrupt, os.Interrupt},
		{syscall.SIGTERM, os.Interrupt},
		{os.Interrupt, syscall.SIGTERM},
	} {
		t.Run(fmt.Sprint(signals), func(t *testing.T) {
			t.Parallel()
			v := harness.NewVhost(t)
			worker := startConsumer(t, v.URL, "worker", forEver)
			harness.Run(t, v.URL, 0, "new_task", "task.")
			worker.Await("Received")
			worker.Signal(signals[0])
			worker.Await(stillBusy)
			began := time.Now()
			worker.Signal(signals[1])
			if status := worker.Wait(); status != -1 {
				t.Errorf("exit status %d, want an end by the signal", status)
			}
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("it took %v to leave", took)
			}
			wantStdout(t, worker, waitingForMessages, " [x] Received task.")
			awaitReady(t, v, "task_queue", 1) // not done, not lost
		})
	}
}

// Every request is answered once, by the server that was stopped or by the next.
func TestStopServerInMidRequest(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	first := startConsumer(t, v.URL, "rpc_server", "-prefetch=20")
	peer := newRPCPeer(t, v)
	const requests = 300
	for i := range requests {
		if _, err := peer.PublishWithDeferredConfirm("", "rpc_queue", false, false, amqpRequest(i, peer.replies)); err != nil {
			t.Fatal(err)
		}
	}
	first.Await("fib(5000)")
	first.Stop()
	startConsumer(t, v.URL, "rpc_server")
	answered := make(map[string]bool)
	for range requests {
		id := peer.answer(t).CorrelationId
		if answered[id] {
			t.Errorf("request %s was answered twice", id)
		}
		answered[id] = true
	}
	if len(first.Stdout()) > requests {
		t.Error("the first server has done it all: nothing was tested")
	}
	awaitHeld(t, v, "rpc_queue", 0, 0)
}
