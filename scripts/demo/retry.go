package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

func retry(s *stage) {
	const pause = 300 * time.Millisecond
	s.watch("Watch the tries of Task 1, which fails twice, and of Task 2, which always fails. The first pause is 0.3 s.")
	worker := s.start("worker", "retry_worker -pause 300ms", "Waiting for messages")
	for _, task := range []string{"Task 1!!", "Task 2!!!!!", "Task 3", "Task 4", "Task 5"} {
		s.run("sender", "retry_task '"+task+"'") // quoted: in many shells, ! means something
	}
	worker.Await("now in retry_parked")
	worker.Stop()
	parked := s.holds("retry_parked", 1)

	s.watch("Task 2 is parked. Move it back, for a worker that gives up at once.")
	unpark := s.run("worker", "retry_worker -unpark")
	last := s.start("worker", "retry_worker -retries 0", "Waiting for messages")
	last.Await("now in retry_parked")
	last.Stop()

	twice, never := worker.triesOf("Task 1!!"), worker.triesOf("Task 2!!!!!")
	s.screen.printf("\nThe tries of a task, 0.1 s a column: × failed, ✓ done\n")
	s.show("Task 1", drawTries(twice))
	s.show("Task 2", drawTries(never))

	others := 0
	for _, task := range []string{"Task 3", "Task 4", "Task 5"} {
		if t := worker.triesOf(task); len(t) == 1 && t[0].done && t[0].at.Before(never[len(never)-1].at) {
			others++
		}
	}
	s.claim(pausedAtLeast(pause, twice) && pausedAtLeast(pause, never), "no task is tried again before its pause is over")
	s.claim(slices.Equal(waits(never), []string{"retry_wait_300", "retry_wait_600", "retry_wait_1200", "retry_parked"}),
		"each pause is twice as long as the one before")
	s.claim(len(twice) == 3 && twice[2].done, "a task that fails twice is done at its third try")
	s.claim(len(never) == 4 && parked, "a task that always fails is parked after its fourth try")
	s.claim(others == 3, "the other tasks are done meanwhile")
	s.claim(slices.Equal(unpark.printed(" [x] Sent "), []string{"Task 2!!!!!"}) && len(last.triesOf("Task 2!!!!!")) == 1,
		"a parked task can be moved back, and is tried again")
}

// A try is what a worker did with a task.
type try struct {
	at   time.Time
	done bool
	next string // the queue for the copy, if it failed
}

// triesOf returns the tries of a task, in order.
func (p process) triesOf(task string) (tries []try) {
	mine := false
	for _, line := range p.Lines() {
		if received, ok := strings.CutPrefix(line.Text, " [x] Received "); ok {
			if mine = received == task; mine {
				tries = append(tries, try{at: line.At})
			}
		} else if mine {
			last := &tries[len(tries)-1]
			last.done = line.Text == " [x] Done"
			_, last.next, _ = strings.Cut(line.Text, "; now in ")
		}
	}
	return tries
}

func waits(tries []try) (queues []string) {
	for _, t := range tries {
		queues = append(queues, t.next)
	}
	return queues
}

// pausedAtLeast reports whether each pause between the tries was long enough: the first one pause,
// the others twice as long as the one before.
func pausedAtLeast(pause time.Duration, tries []try) bool {
	for i := 1; i < len(tries); i++ {
		if tries[i].at.Sub(tries[i-1].at) < pause {
			return false
		}
		pause *= 2
	}
	return len(tries) > 1
}

// drawTries draws each try as its number and how it ended.
func drawTries(tries []try) (row string) {
	for i, t := range tries {
		now := int(t.at.Sub(tries[0].at).Round(column) / column)
		row += strings.Repeat(" ", max(0, now-len([]rune(row))))
		mark := "×"
		if t.done {
			mark = "✓"
		}
		row += fmt.Sprint(i+1) + mark
	}
	return row
}
