package main

import (
	"slices"
	"strings"
)

func workqueue(s *stage) {
	s.watch("Watch the numbers: the tasks go to the two workers in turn. A dot is 0.1 s of work here.")
	worker1, worker2 := s.share("-prefetch 0 -unit 100ms", "1.", "2.", "3.", "4.", "5.", "6.")
	inTurn := []string{numbers(worker1), numbers(worker2)}
	slices.Sort(inTurn)

	s.watch("Now watch the task of worker-1 when the worker is killed in the middle of it.")
	victim, heir := s.workers("-unit 100ms")
	s.tasks("1........")
	victim.Await("[x] Received")
	s.kill("worker-1", victim) // before Task 2 is sent: on a busy machine, that may take longer than Task 1
	s.tasks("2........")
	heir.Await("[x] Done")
	heir.Await("[x] Done")
	heir.Stop()
	orphans := victim.printed(" [x] Received ")
	inherited := len(orphans) == 1 && len(victim.printed(" [x] Done")) == 0 &&
		slices.Contains(heir.printed(" [x] Received "), orphans[0]+" (redelivered)")
	nothingLeft := s.holds("task_queue", 0)

	heavyAndLight := []string{"1......", "2.", "3......", "4.", "5......", "6.", "7......", "8."}

	s.watch("Now tasks 1, 3, 5 and 7 are heavy. In turn, one worker gets all of these, and the other is soon idle.")
	worker1, worker2 = s.share("-prefetch 0 -unit 200ms", heavyAndLight...)
	roundRobin, unfair := newTimeline(worker1.Lines(), worker2.Lines()), mostHeavy(worker1, worker2)

	s.watch("The same tasks with prefetch 1: the next one goes to the worker that is free.")
	worker1, worker2 = s.share("-prefetch 1 -unit 200ms", heavyAndLight...)
	fair, shared := newTimeline(worker1.Lines(), worker2.Lines()), mostHeavy(worker1, worker2)

	s.draw("Round-robin, -prefetch 0", roundRobin)
	s.draw("Fair dispatch, -prefetch 1", fair)

	s.claim(slices.Equal(inTurn, []string{"1 3 5", "2 4 6"}),
		"without a prefetch limit, the workers get the tasks in turn")
	s.claim(inherited, "the task of a killed worker is delivered again, and the other worker finishes it")
	s.claim(nothingLeft, "no task is left in the queue")
	// Not the times: on a busy machine, the sender may be slower than the workers.
	s.claim(shared < unfair, "fair dispatch shares the heavy tasks: the busier worker gets %d of the 4, not %d", shared, unfair)
}

// mostHeavy returns how many heavy tasks the busiest worker got.
func mostHeavy(workers ...process) (most int) {
	for _, worker := range workers {
		heavy := 0
		for _, task := range worker.printed(" [x] Received ") {
			if strings.HasSuffix(task, "......") {
				heavy++
			}
		}
		most = max(most, heavy)
	}
	return most
}

// workers starts two workers.
func (s *stage) workers(flags string) (worker1, worker2 process) {
	worker1 = s.start("worker-1", "worker "+flags, "Waiting for messages")
	worker2 = s.start("worker-2", "worker "+flags, "Waiting for messages")
	return worker1, worker2
}

// tasks sends tasks one after another.
func (s *stage) tasks(names ...string) {
	for _, name := range names {
		s.run("sender", "new_task Task "+name)
	}
}

// share starts two workers, sends the tasks, and stops the workers when all tasks are done.
func (s *stage) share(flags string, tasks ...string) (worker1, worker2 process) {
	worker1, worker2 = s.workers(flags)
	s.tasks(tasks...)
	if !s.soon(func() bool { return len(worker1.printed(" [x] Done"))+len(worker2.printed(" [x] Done")) == len(tasks) }) {
		s.Fatalf("the workers have not done the %d tasks", len(tasks))
	}
	worker1.Stop()
	worker2.Stop()
	return worker1, worker2
}

// number returns the number in the name of a task.
func number(task string) string { return strings.Trim(strings.TrimPrefix(task, "Task "), ".") }

func numbers(worker process) string {
	tasks := worker.printed(" [x] Received ")
	for i, task := range tasks {
		tasks[i] = number(task)
	}
	return strings.Join(tasks, " ")
}
