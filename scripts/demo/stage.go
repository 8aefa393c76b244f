package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"

	"rabbitmq-tutorial/internal/harness"
)

// A stage is where one lesson is acted out. The harness uses it as a test: if a program
// does not do what the lesson waits for, the lesson ends there.
type stage struct {
	ctx    context.Context // ends when the demo is interrupted, and the programs with it
	vhost  *vhost
	screen *screen

	claims, broken int
	err            error // why the lesson could not go on
	cleanups       []func()
}

// act acts the lesson out, and returns when all its programs have ended.
func (s *stage) act(lesson func(*stage)) error {
	ended := make(chan struct{})
	go func() { // a goroutine, so that Fatalf can end it
		defer close(ended)
		defer func() {
			for _, cleanup := range slices.Backward(s.cleanups) {
				cleanup()
			}
		}()
		lesson(s)
	}()
	<-ended
	return s.err
}

func (s *stage) Helper()                {}
func (s *stage) Logf(string, ...any)    {} // the screen shows all that a program prints
func (s *stage) Failed() bool           { return s.err != nil }
func (s *stage) Cleanup(cleanup func()) { s.cleanups = append(s.cleanups, cleanup) }

func (s *stage) Errorf(format string, args ...any) {
	s.err = errors.Join(s.err, fmt.Errorf(format, args...))
}

// Fatalf ends the lesson, because it cannot go on.
func (s *stage) Fatalf(format string, args ...any) {
	s.Errorf(format, args...)
	runtime.Goexit()
}

// watch tells the reader what comes next and what to look at.
func (s *stage) watch(text string) { s.screen.printf("\n%s\n\n", text) }

// claim prints whether a claim of the lesson holds.
func (s *stage) claim(holds bool, format string, args ...any) {
	if s.claims == 0 {
		s.screen.printf("\n")
	}
	s.claims++
	mark := s.screen.paint(green, "✓")
	if !holds {
		s.broken++
		mark = s.screen.paint(red, "✗")
	}
	s.screen.printf("%s %s\n", mark, fmt.Sprintf(format, args...))
}

// soon reports whether something is true, or becomes true within ten seconds.
func (s *stage) soon(is func() bool) bool { return s.within(10*time.Second, is) }

// within is soon with another limit.
func (s *stage) within(limit time.Duration, is func() bool) bool {
	timeout := time.After(limit)
	for !is() {
		select {
		case <-time.After(50 * time.Millisecond):
		case <-timeout:
			return false
		case <-s.ctx.Done():
			s.Fatalf("%w", context.Cause(s.ctx))
		}
	}
	return true
}

// holds reports whether, now or soon, n messages wait in the queue and nobody consumes
// from it. A consumer that stops counts until its unacknowledged messages are back in
// the queue.
func (s *stage) holds(queue string, n int) bool {
	return s.soon(func() bool {
		q, err := s.vhost.inspect(queue)
		if err != nil {
			s.Fatalf("look at queue %q: %w", queue, err)
		}
		return q.Messages == n && q.Consumers == 0
	})
}

// A process is a program that runs, or ran, on the stage.
type process struct{ *harness.Process }

// launch starts a program in the terminal with that label; command is what one would type.
func (s *stage) launch(label, command string) process { return s.launchShowing(label, command, "") }

// launchShowing shows only those lines of the program that begin with prefix.
func (s *stage) launchShowing(label, command, prefix string) process {
	s.show(label, s.screen.paint(faint, " $ .bin/"+command))
	// Quotes do not group words here, but the programs join their words anyway.
	words := strings.Fields(strings.ReplaceAll(command, "'", ""))
	cmd := exec.CommandContext(s.ctx, harness.Path(words[0]), words[1:]...)
	cmd.Env = append(os.Environ(), "AMQP_URL="+s.vhost.url)
	return process{harness.StartShown(s, cmd, func(text string) {
		if strings.HasPrefix(text, prefix) {
			s.show(label, text)
		}
	})}
}

// start launches a program, and waits until it says that it is ready.
func (s *stage) start(label, command, ready string) process {
	p := s.launch(label, command)
	p.Await(ready)
	return p
}

// run launches a program, and waits until it has ended with success.
func (s *stage) run(label, command string) process {
	p := s.launch(label, command)
	p.Exits(0)
	return p
}

// kill ends a program as kill -9 does.
func (s *stage) kill(label string, p process) {
	s.show(label, s.screen.paint(red, " killed (kill -9)"))
	p.Kill()
}

func (s *stage) show(label, text string) { s.screen.printf("%s%s\n", s.screen.label(label), text) }

// printed returns the lines that begin with prefix, without the prefix.
func (p process) printed(prefix string) (texts []string) {
	for _, line := range p.Lines() {
		if text, ok := strings.CutPrefix(line.Text, prefix); ok {
			texts = append(texts, text)
		}
	}
	return texts
}
