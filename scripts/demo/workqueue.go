package main

import (
	"slices"
	"strings"
	"time"
)

func workqueue(s *stage) {
	s.watch("Watch the numbers: the tasks go to the two workers in turn. A dot is 0.1 s of work here.")
	worker1, worker2 := s.workers("-prefetch", "0", "-unit", "100ms")
	s.tasks("1.", "2.", "3.", "4.", "5.", "6.")
	s.finish(6, worker1, worker2)
	inTurn := []string{numbers(worker1), numbers(worker2)}
	slices.Sort(inTurn)

	s.watch("Now watch the task of worker-1 when the worker is killed in the middle of it.")
	victim, heir := s.workers("-unit", "100ms")
	s.tasks("1........", "2........")
	heir.await(1, "[x] Received")
	victim.await(1, "[x] Received")
	victim.kill()
	heir.await(2, "[x] Done")
	heir.stop()
	orphans := victim.printed(" [x] Received ")
	inherited := len(orphans) == 1 && len(victim.printed(" [x] Done")) == 0 &&
		slices.Contains(heir.printed(" [x] Received "), orphans[0]+" (redelivered)")
	nothingLeft := s.holds("task_queue", 0)

	heavyAndLight := []string{"1......", "2.", "3......", "4.", "5......", "6.", "7......", "8."}

	s.watch("Now tasks 1, 3, 5 and 7 are heavy. In turn, one worker gets all of these, and the other is soon idle.")
	worker1, worker2 = s.workers("-prefetch", "0", "-unit", "200ms")
	s.tasks(heavyAndLight...)
	s.finish(8, worker1, worker2)
	roundRobin := s.timeline(worker1, worker2)

	s.watch("The same tasks with prefetch 1: the next one goes to the worker that is free.")
	worker1, worker2 = s.workers("-prefetch", "1", "-unit", "200ms")
	s.tasks(heavyAndLight...)
	s.finish(8, worker1, worker2)
	fair := s.timeline(worker1, worker2)

	s.say("Round-robin, -prefetch 0: %.1f s\n%s", roundRobin.makespan.Seconds(), roundRobin.rows)
	s.say("Fair dispatch, -prefetch 1: %.1f s\n%s", fair.makespan.Seconds(), fair.rows)

	s.claim(slices.Equal(inTurn, []string{"1 3 5", "2 4 6"}),
		"without a prefetch limit, the workers get the tasks in turn")
	s.claim(inherited, "the task of a killed worker is delivered again, and the other worker finishes it")
	s.claim(nothingLeft, "no task is left in the queue")
	s.claim(fair.makespan < roundRobin.makespan, "fair dispatch is done sooner: %.1f s, not %.1f s",
		fair.makespan.Seconds(), roundRobin.makespan.Seconds())
}

// workers starts two of them.
func (s *stage) workers(flags ...string) (worker1, worker2 *process) {
	worker1 = s.start("worker-1", "worker", flags...).await(1, "[*] Waiting for messages")
	worker2 = s.start("worker-2", "worker", flags...).await(1, "[*] Waiting for messages")
	return worker1, worker2
}

// tasks sends them one after another.
func (s *stage) tasks(names ...string) {
	for _, name := range names {
		s.start("sender", "new_task", "Task", name).exits(0)
	}
}

// finish waits until n tasks are done, and stops the workers.
func (s *stage) finish(n int, worker1, worker2 *process) {
	if !s.until(func() bool { return worker1.count("[x] Done")+worker2.count("[x] Done") >= n }) {
		s.failf("%d tasks were not done within %v", n, deadline)
	}
	worker1.stop()
	worker2.stop()
}

// number returns the number of a task that a worker has received.
func number(task string) string { return strings.Trim(strings.TrimPrefix(task, "Task "), ".") }

func numbers(worker *process) string {
	tasks := worker.printed(" [x] Received ")
	for i, task := range tasks {
		tasks[i] = number(task)
	}
	return strings.Join(tasks, " ")
}

// A timeline shows who worked when.
type timeline struct {
	rows     string        // a row a worker, a bar a task
	makespan time.Duration // from the first task's arrival to the last one's end
}

// column is the time that a character of a timeline stands for.
const column = 100 * time.Millisecond

// timeline draws what the workers did.
func (s *stage) timeline(workers ...*process) (t timeline) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var start, end time.Time
	for _, w := range workers {
		for _, l := range w.lines {
			if strings.HasPrefix(l.text, " [x] Received ") && (start.IsZero() || l.at.Before(start)) {
				start = l.at
			}
			if l.text == " [x] Done" && l.at.After(end) {
				end = l.at
			}
		}
	}
	t.makespan = end.Sub(start)

	var rows []string
	for _, w := range workers {
		var row []rune
		at := func(l line) int { return int(l.at.Sub(start).Round(column) / column) }
		for _, l := range w.lines {
			if task, ok := strings.CutPrefix(l.text, " [x] Received "); ok {
				row = fill(row, ' ', at(l))
				row = append(row, []rune(number(task))...)
			} else if l.text == " [x] Done" {
				row = fill(row, '█', at(l))
			}
		}
		rows = append(rows, s.screen.label(w.label)+string(row))
	}
	t.rows = strings.Join(rows, "\n")
	return t
}

// fill makes the row n characters long.
func fill(row []rune, with rune, n int) []rune {
	for len(row) < n {
		row = append(row, with)
	}
	return row
}
