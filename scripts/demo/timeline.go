package main

import (
	"fmt"
	"strings"
	"time"

	"rabbitmq-tutorial/internal/harness"
)

// A timeline shows who worked when.
type timeline struct {
	rows     []string      // one a worker, with a bar a task
	makespan time.Duration // from the first task's arrival to the last one's end
}

// column is the time that a character of a row stands for.
const column = 100 * time.Millisecond

// newTimeline takes what each of the workers has printed.
func newTimeline(workers ...[]harness.Line) (t timeline) {
	var start, end time.Time
	for _, lines := range workers {
		for _, line := range lines {
			if strings.HasPrefix(line.Text, " [x] Received ") && (start.IsZero() || line.At.Before(start)) {
				start = line.At
			}
			if line.Text == " [x] Done" && line.At.After(end) {
				end = line.At
			}
		}
	}
	t.makespan = end.Sub(start)

	for _, lines := range workers {
		var row []rune
		for _, line := range lines {
			now := int(line.At.Sub(start).Round(column) / column)
			if task, ok := strings.CutPrefix(line.Text, " [x] Received "); ok {
				row = append(fill(row, ' ', now), []rune(number(task))...)
			} else if line.Text == " [x] Done" {
				row = fill(row, '█', now)
			}
		}
		t.rows = append(t.rows, string(row))
	}
	return t
}

// fill makes the row n characters long.
func fill(row []rune, with rune, n int) []rune {
	for len(row) < n {
		row = append(row, with)
	}
	return row
}

// draw shows the timeline of worker-1, worker-2 and so on.
func (s *stage) draw(title string, t timeline) {
	s.screen.printf("\n%s: %.1f s\n", title, t.makespan.Seconds())
	for i, row := range t.rows {
		s.show(fmt.Sprintf("worker-%d", i+1), row)
	}
}
