package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"rabbitmq-tutorial/internal/harness"
)

// A timeline shows who worked when.
type timeline struct {
	rows     []string      // one for each worker, with a bar for each task
	makespan time.Duration // from the first task's arrival to the last one's end
}

// column is the time that one character of a row stands for.
const column = 100 * time.Millisecond

// newTimeline takes what each of the workers has printed.
func newTimeline(workers ...[]harness.Line) (t timeline) {
	var start, end time.Time
	for _, line := range slices.Concat(workers...) {
		if strings.HasPrefix(line.Text, " [x] Received ") && (start.IsZero() || line.At.Before(start)) {
			start = line.At
		}
		if line.Text == " [x] Done" && line.At.After(end) {
			end = line.At
		}
	}
	t.makespan = end.Sub(start)

	for _, lines := range workers {
		row := ""
		for _, line := range lines {
			now := int(line.At.Sub(start).Round(column) / column)
			missing := max(0, now-utf8.RuneCountInString(row))
			if task, ok := strings.CutPrefix(line.Text, " [x] Received "); ok {
				row += strings.Repeat(" ", missing) + number(task)
			} else if line.Text == " [x] Done" {
				row += strings.Repeat("█", missing)
			}
		}
		t.rows = append(t.rows, row)
	}
	return t
}

// draw shows the timeline of worker-1, worker-2 and so on.
func (s *stage) draw(title string, t timeline) {
	s.screen.printf("\n%s: %.1f s\n", title, t.makespan.Seconds())
	for i, row := range t.rows {
		s.show(fmt.Sprintf("worker-%d", i+1), row)
	}
}
