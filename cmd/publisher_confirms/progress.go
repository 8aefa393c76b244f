package main

import (
	"fmt"
	"os"
	"time"
)

// progress shows on a terminal how far a way of publishing has come. It writes to
// stderr, which leaves stdout to the results.
type progress struct {
	name     string
	n, done  int
	next     time.Time
	terminal bool
}

func newProgress(name string, n int) *progress {
	info, err := os.Stderr.Stat()
	return &progress{name: name, n: n, terminal: err == nil && info.Mode()&os.ModeCharDevice != 0}
}

// add counts a message. It draws ten times a second at most.
func (p *progress) add() {
	p.done++
	if now := time.Now(); p.terminal && now.After(p.next) {
		fmt.Fprintf(os.Stderr, "     %s: %d of %d\r", p.name, p.done, p.n)
		p.next = now.Add(100 * time.Millisecond)
	}
}

// end removes the display.
func (p *progress) end() {
	if p.terminal {
		fmt.Fprint(os.Stderr, "\x1b[K")
	}
}
