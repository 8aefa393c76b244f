package faults_test

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"

	"rabbitmq-tutorial/internal/amqpx"
	"rabbitmq-tutorial/internal/brokertest"
	"rabbitmq-tutorial/internal/programtest"
)

// A consumer loses its connection again and again: the broker closes it, or it
// breaks. In the end it holds no more than it did after the first time.
func TestReconnectionsLeaveNothingBehind(t *testing.T) { // not parallel: it counts goroutines
	reconnections := size(8, 50)
	v := brokertest.NewVhost(t)
	w := newWire(t, v.URL)
	ctx, cancel := context.WithCancel(t.Context())
	consuming := make(chan struct{})
	ended := make(chan error)
	go func() {
		ended <- amqpx.Run(ctx, w.URL, func(s *amqpx.Session) error {
			queue, err := s.DeclareQuorumQueue("hello")
			if err != nil {
				return err
			}
			deliveries, err := s.ConsumeManualAck(ctx, queue.Name)
			if err != nil {
				return err
			}
			consuming <- struct{}{}
			for d := range deliveries {
				if err := d.Ack(false); err != nil {
					return err
				}
			}
			return nil
		})
	}()
	receive := programtest.Start(t, w.URL, "receive")
	await := func() {
		<-consuming
		receive.Await(" [*] Waiting")
	}
	await()

	var after1st, now holding
	for n := 1; n <= reconnections; n++ {
		if n%5 == 2 { // a rabbitmqctl each time would take too long
			v.CloseConnections("fault test")
		} else {
			w.Cut()
		}
		await()
		if n == 1 {
			after1st = hold(t, receive)
		}
	}
	now = hold(t, receive)
	t.Logf("after the 1st reconnection: %v", after1st)
	t.Logf("after %d reconnections:     %v", reconnections, now)
	if now.goroutines > after1st.goroutines || now.files > after1st.files || now.receiveFiles > after1st.receiveFiles {
		t.Error("goroutines or open files are left")
	}
	if float64(now.heap) > 1.1*float64(after1st.heap) {
		t.Error("the heap has grown by more than 10 %")
	}
	receive.Stop()
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// holding is what the test process and the program receive hold.
type holding struct{ goroutines, heap, files, receiveFiles int }

func (h holding) String() string {
	return fmt.Sprintf("%d goroutines, %d open files, %d kB heap; receive: %d open files",
		h.goroutines, h.files, h.heap>>10, h.receiveFiles)
}

// hold waits until what is on its way out is gone: until the figures stay.
func hold(t *testing.T, receive *programtest.Process) (h holding) {
	t.Helper()
	same := 0
	brokertest.Eventually(t, time.Minute, "goroutines and open files stay the same", func() bool {
		last := h
		h = holding{
			goroutines:   runtime.NumGoroutine(),
			files:        openFiles(t, os.Getpid()),
			receiveFiles: openFiles(t, receive.Pid()),
		}
		if same++; h != last {
			same = 0
		}
		return same == 10
	})
	runtime.GC()
	runtime.GC() // what finalizers have let go in the first
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	h.heap = int(m.HeapAlloc)
	return h
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
