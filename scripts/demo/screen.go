package main

import (
	"fmt"
	"os"
	"slices"
	"sync"
)

// A screen shows the lines of all programs together, in colour on a terminal.
type screen struct {
	out    *os.File
	colour bool
	giveUp func(error) // the screen calls it when it cannot show anything any more

	mu     sync.Mutex
	labels []string // in order of appearance, which gives them their colours
}

func newScreen(out *os.File, giveUp func(error)) *screen {
	info, err := out.Stat()
	terminal := err == nil && info.Mode()&os.ModeCharDevice != 0
	return &screen{out: out, giveUp: giveUp,
		colour: terminal && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
}

// paint gives text one of the colours of ECMA-48.
func (s *screen) paint(code int, text string) string {
	if !s.colour {
		return text
	}
	return fmt.Sprintf("\x1b[%dm%s\x1b[0m", code, text)
}

const (
	bold  = 1
	faint = 2
	red   = 31
	green = 32
)

func (s *screen) printf(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := fmt.Fprintf(s.out, format, args...); err != nil {
		s.giveUp(fmt.Errorf("show the lesson: %w", err))
	}
}

// label returns what stands before each line of a program.
func (s *screen) label(name string) string {
	colours := []int{36, 33, 35, 34, 32, 96} // cyan, yellow, magenta, blue, green, bright cyan
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.Index(s.labels, name)
	if i < 0 {
		i = len(s.labels)
		s.labels = append(s.labels, name)
	}
	return s.paint(colours[i%len(colours)], fmt.Sprintf("%-10s │", name))
}
