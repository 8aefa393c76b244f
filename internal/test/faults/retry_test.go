package faults_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"rabbitmq-tutorial/internal/harness"
)

// A third of the tasks fail, up to five times each. Workers are killed at random, and so is the broker,
// until each task is done or parked.
func TestEveryFailingTaskIsDoneOrParkedThoughWorkersAndBrokerAreKilled(t *testing.T) {
	t.Parallel()
	const retries = 3
	tasks, brokerKills := size(90, 500), size(1, 8)
	broker := harness.StartBroker(t)
	v := broker.NewVhost()
	// Otherwise a wait queue may lose what it is passing on when the broker is killed.
	v.SetPolicy("at least once", "^retry_wait_", map[string]any{"dead-letter-strategy": "at-least-once", "overflow": "reject-publish"})
	// RabbitMQ 4 would give a task up after 20 redeliveries.
	v.SetPolicy("no limit here", "^retry_tasks$", map[string]any{"delivery-limit": 10_000})

	var lives []*harness.Process // all workers, dead or alive
	start := func() *harness.Process {
		worker := harness.Start(t, v.URL, "retry_worker", "-pause=100ms", fmt.Sprint("-retries=", retries))
		lives = append(lives, worker)
		return worker
	}
	workers := []*harness.Process{start(), start(), start()}
	for _, worker := range workers {
		worker.Await(harness.WaitingForMessages)
	}
	broker.SaveQueues()

	fails := make(map[string]int) // how often a task fails
	var bodies []string
	for i := range tasks {
		n := 0
		if i%3 == 0 {
			n = 1 + i/3%5
		}
		task := fmt.Sprintf("task %d%s", i+1, strings.Repeat("!", n))
		bodies = append(bodies, task)
		fails[task] = n
	}
	harness.Publish(t, harness.Channel(t, v.URL), "", "retry_tasks", bodies...)

	kills := 0
	done := func() map[string]bool {
		done := make(map[string]bool)
		for _, worker := range lives {
			for _, r := range receivedBy(worker) {
				if r.done {
					done[r.task] = true
				}
			}
		}
		return done
	}
	toDo := 0
	for _, n := range fails {
		if n <= retries {
			toDo++
		}
	}
	begin, broken := time.Now(), 0
	harness.Eventually(t, time.Duration(size(3, 15))*time.Minute, "all tasks are done or parked", func() bool {
		// Kill a worker when it has received between one and twenty tasks.
		for i, worker := range workers {
			if !worker.Running() { // as it does if there is no broker for its first connection
				if len(worker.Stdout()) > 0 {
					t.Fatalf("a worker has ended:\n%s", worker.Output())
				}
				workers[i] = start()
			}
			if received := len(receivedBy(worker)); received > rand.IntN(20) {
				worker.Kill()
				kills++
				workers[i] = start()
			}
		}
		finished := len(done())
		// Kill the broker whenever so many more are done.
		if broken < brokerKills && finished > (broken+1)*toDo/(brokerKills+1) {
			broker.Kill()
			broken++
			broker.Up()
			t.Logf("broker killed; %d tasks done", finished)
		}
		return finished == toDo && v.Queue("retry_parked").Ready >= tasks-toDo
	})
	took := time.Since(begin)
	for _, worker := range workers {
		worker.Await(harness.WaitingForMessages) // it may just have been started
	}
	for _, queue := range []string{"retry_wait_100", "retry_wait_200", "retry_wait_400", "retry_tasks"} {
		v.AwaitQueue(queue, 0, 0)
	}
	for _, worker := range workers {
		worker.Stop()
	}

	parked := make(map[string]int)
	for _, d := range v.Drain("retry_parked") {
		task := string(d.Body)
		parked[task]++
		if d.Headers["attempts"] != int64(retries+1) || d.Headers["error"] != fmt.Sprintf("exclamation mark %d of %d", retries+1, fails[task]) {
			t.Errorf("%s is parked with %v", task, d.Headers)
		}
	}
	tries := make(map[string]int)
	for _, worker := range lives {
		for _, r := range receivedBy(worker) {
			tries[r.task]++
		}
	}
	isDone, all, twice := done(), 0, 0
	for task, n := range fails {
		switch {
		case n <= retries && (!isDone[task] || parked[task] > 0), n > retries && (isDone[task] || parked[task] == 0):
			t.Errorf("%s: done %v, parked %d times", task, isDone[task], parked[task])
		}
		allowed := min(n, retries) + 1
		if tries[task] < allowed || tries[task] > allowed+kills+broken {
			t.Errorf("%s was tried %d times, want %d, and at most %d more", task, tries[task], allowed, kills+broken)
		}
		all += tries[task]
		twice += tries[task] - allowed
	}
	t.Logf("%d tasks: %d done, %d parked, none lost; %d tries, %d of them because of %d kills of a worker and %d of the broker; %.0f s",
		tasks, len(isDone), len(parked), all, twice, kills, broken, took.Seconds())
	if kills < tasks/20 || broken < brokerKills {
		t.Errorf("only %d kills of a worker and %d of the broker: too few to prove anything", kills, broken)
	}
}
