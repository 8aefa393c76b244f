package faults_test

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"rabbitmq-tutorial/internal/harness"
)

// Workers are killed at random, in the middle of a task or just after it, and others take
// their place, until all tasks are done.
func TestEveryTaskIsDoneThoughWorkersAreKilled(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	tasks := harness.Numbered("task.....", size(60, 500))
	// RabbitMQ 4 would give a task up after 20 redeliveries.
	v.SetPolicy("no limit here", "^task_queue$", map[string]any{"delivery-limit": 10_000})
	ch := harness.Channel(t, v.URL)
	harness.DeclareQueue(t, ch, "task_queue")
	harness.Publish(t, ch, "", "task_queue", tasks...)

	var lives []*harness.Process // all workers, dead or alive
	start := func() *harness.Process {
		worker := harness.Start(t, v.URL, "worker", "-unit", "4ms")
		lives = append(lives, worker)
		return worker
	}
	workers := []*harness.Process{start(), start(), start()}
	kills, reported := 0, 0
	begin := time.Now()
	harness.Eventually(t, time.Duration(size(1, 5))*time.Minute, "all tasks are done", func() bool {
		// Kill a worker when it has received between one and five tasks.
		for i, worker := range workers {
			if received := len(receivedBy(worker)); received > rand.IntN(5) {
				worker.Kill()
				kills++
				workers[i] = start()
			}
		}
		done := make(map[string]bool)
		for _, worker := range lives {
			for _, r := range receivedBy(worker) {
				if r.done {
					done[r.task] = true
				}
			}
		}
		if len(done)/100 > reported {
			reported = len(done) / 100
			t.Logf("%d tasks done", len(done))
		}
		return len(done) == len(tasks)
	})
	took := time.Since(begin)
	for _, worker := range workers {
		worker.Await(harness.WaitingForMessages) // it may just have been started
		worker.Stop()
	}
	v.AwaitQueue("task_queue", 0, 0)

	first := make(map[string]int)        // how often a task was received unmarked
	acknowledged := make(map[string]int) // how often a task was done and acknowledged
	received, redelivered := 0, 0
	for _, worker := range lives {
		got := receivedBy(worker)
		for i, r := range got {
			received++
			if r.redelivered {
				redelivered++
			} else if first[r.task]++; first[r.task] > 1 {
				t.Errorf("%s came again without the mark of a redelivery", r.task)
			}
			// With a prefetch of 1, the broker sends a task only when it has the
			// acknowledgement of the one before.
			if i+1 < len(got) {
				if acknowledged[r.task]++; acknowledged[r.task] > 1 {
					t.Errorf("%s was done again though it had been acknowledged", r.task)
				}
			}
		}
	}
	for _, task := range tasks {
		if acknowledged[task] == 0 && !lastOfALife(lives, task) {
			t.Errorf("%s was never acknowledged", task)
		}
	}
	t.Logf("%d tasks, %d workers killed in %.0f s: received %d times, %d of them marked as redelivered, left in the queue 0",
		len(tasks), kills, took.Seconds(), received, redelivered)
	if kills < len(tasks)/10 || redelivered == 0 {
		t.Errorf("only %d kills and %d redeliveries: too few to prove anything", kills, redelivered)
	}
}

type receipt struct {
	task              string
	redelivered, done bool
}

// receivedBy returns what a worker has received so far, in order.
func receivedBy(worker *harness.Process) []receipt {
	var receipts []receipt
	for _, line := range worker.Stdout() {
		if task, ok := strings.CutPrefix(line, " [x] Received "); ok {
			task, redelivered := strings.CutSuffix(task, " (redelivered)")
			receipts = append(receipts, receipt{task: task, redelivered: redelivered})
		} else if strings.HasPrefix(line, " [x] Done") {
			receipts[len(receipts)-1].done = true
		}
	}
	return receipts
}

// lastOfALife reports whether a worker ended right after it had done the task. It may have
// acknowledged the task, which the test cannot see.
func lastOfALife(lives []*harness.Process, task string) bool {
	return slices.ContainsFunc(lives, func(worker *harness.Process) bool {
		got := receivedBy(worker)
		return len(got) > 0 && got[len(got)-1] == receipt{task, got[len(got)-1].redelivered, true}
	})
}
