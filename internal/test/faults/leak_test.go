package faults_test

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"rabbitmq-tutorial/internal/amqpx"
	"rabbitmq-tutorial/internal/harness"
)

// A consumer loses its connection again and again. At the end it holds no more than after
// the first times.
func TestReconnectionsLeaveNothingBehind(t *testing.T) { // not parallel: it counts goroutines
	reconnections := size(8, 50)
	v := harness.NewVhost(t)
	n := newNetwork(t, v.URL)
	url := n.through(v.URL, "")
	ctx, cancel := context.WithCancel(t.Context())
	consuming := make(chan struct{})
	ended := make(chan error)
	go func() {
		ended <- amqpx.Run(ctx, url, func(s *amqpx.Session) error {
			queue, err := s.DeclareQueue(amqpx.Queue{Name: "hello", Durable: true, Type: amqp.QueueTypeQuorum})
			if err != nil {
				return err
			}
			deliveries, err := s.Consume(ctx, amqpx.Consumer{Queue: queue.Name})
			if err != nil {
				return err
			}
			consuming <- struct{}{}
			for d := range deliveries {
				if err := amqpx.Ack(d); err != nil {
					return err
				}
			}
			return nil
		})
	}()
	receive := harness.StartConsumer(t, url, "receive")
	<-consuming

	// Either the broker closes the connection, or it just breaks. Running rabbitmqctl each time
	// would take too long.
	reconnect := func(i int) {
		if i%5 == 0 {
			v.CloseConnections("fault test")
		} else {
			n.reset()
		}
		<-consuming
		receive.Await(harness.WaitingForMessages)
	}
	reconnect(0)
	reconnect(1)
	// The runtime keeps the memory of goroutines that have ended. Here it gets enough of it, so
	// that the heap then grows only by leaks.
	var many sync.WaitGroup
	end := make(chan struct{})
	for range 200 {
		many.Go(func() { <-end })
	}
	close(end)
	many.Wait()
	before := hold(t, receive)
	for i := range reconnections {
		reconnect(i)
	}
	after := hold(t, receive)
	t.Logf("after the first reconnection of each kind: %v", before)
	t.Logf("after %d more: %v", reconnections, after)
	if after.goroutines > before.goroutines || after.files > before.files || after.receiveFiles > before.receiveFiles {
		t.Error("goroutines or open files are left")
	}
	if float64(after.heap) > 1.1*float64(before.heap) {
		t.Error("the heap has grown by more than 10 %")
	}
	receive.Stop()
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// holding counts what the test process and the program receive hold.
type holding struct{ goroutines, heap, files, receiveFiles int }

func (h holding) String() string {
	return fmt.Sprintf("%d goroutines, %d open files, %d kB heap; receive: %d open files",
		h.goroutines, h.files, h.heap>>10, h.receiveFiles)
}

// hold waits until the figures stay the same.
func hold(t *testing.T, receive *harness.Process) (h holding) {
	t.Helper()
	same := 0
	harness.Eventually(t, time.Minute, "goroutines and open files stay the same", func() bool {
		last := h
		h = holding{
			goroutines:   goroutines(),
			files:        openFiles(t, os.Getpid()),
			receiveFiles: openFiles(t, receive.Pid()),
		}
		if same++; h != last {
			same = 0
		}
		return same == 10
	})
	runtime.GC()
	runtime.GC() // frees what finalizers released in the first
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	h.heap = int(m.HeapAlloc)
	return h
}

// goroutines counts the goroutines of this process, except the proxy's: see proxyLeaks.
func goroutines() (n int) {
	stacks := make([]byte, 1<<20)
	for stack := range strings.SplitSeq(string(stacks[:runtime.Stack(stacks, true)]), "\n\n") {
		if !strings.Contains(stack, "toxiproxy") {
			n++
		}
	}
	return n
}

// openFiles counts the open files of a process, on Linux.
func openFiles(t *testing.T, pid int) int {
	t.Helper()
	if runtime.GOOS != "linux" {
		return 0
	}
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(files)
}
