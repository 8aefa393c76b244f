package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// deadline bounds every wait of a demo. It is long, as it passes only when
// something went wrong.
const deadline = 20 * time.Second

// A stage is where one lesson is acted out. When something goes wrong on it, or
// the demo is interrupted, its context ends: the programs are killed, and
// whatever the lesson still wants to do there does nothing.
type stage struct {
	demo   context.Context // ends when the demo is interrupted, and ctx with it
	ctx    context.Context
	cancel context.CancelCauseFunc
	broker *broker
	screen *screen

	running        sync.WaitGroup
	claims, broken int

	mu   sync.Mutex    // guards the processes' rest, lines and ended, and news
	news chan struct{} // is closed, and replaced, when one of those has changed
}

func newStage(ctx context.Context, b *broker, screen *screen) *stage {
	s := &stage{demo: ctx, broker: b, screen: screen, news: make(chan struct{})}
	s.ctx, s.cancel = context.WithCancelCause(ctx)
	return s
}

// close kills the programs that still run.
func (s *stage) close() {
	s.cancel(nil)
	s.running.Wait()
}

// failf ends the lesson, because it cannot go on.
func (s *stage) failf(format string, args ...any) { s.cancel(fmt.Errorf(format, args...)) }

func (s *stage) printf(format string, args ...any) {
	if err := s.screen.printf(format, args...); err != nil {
		s.failf("show the lesson: %w", err)
	}
}

// watch tells the reader what comes and what to look at.
func (s *stage) watch(text string) { s.say("%s\n", text) }

func (s *stage) say(format string, args ...any) {
	if s.ctx.Err() == nil {
		s.printf("\n"+format+"\n", args...)
	}
}

// claim says whether something is as the lesson claims.
func (s *stage) claim(holds bool, format string, args ...any) {
	if s.demo.Err() != nil {
		return // interrupted, which says nothing about the claim
	}
	if s.claims == 0 {
		s.printf("\n")
	}
	s.claims++
	text := fmt.Sprintf(format, args...)
	switch {
	case s.ctx.Err() != nil:
		s.broken++
		s.printf("%s %s (not checked)\n", s.screen.paint(red, "✗"), text)
	case !holds:
		s.broken++
		s.printf("%s %s\n", s.screen.paint(red, "✗"), text)
	default:
		s.printf("%s %s\n", s.screen.paint(green, "✓"), text)
	}
}

// holds reports whether n messages wait in the queue, or do so soon, and nobody
// consumes from it: a consumer that stops counts until the messages that it did
// not acknowledge are back in the queue.
func (s *stage) holds(queue string, n int) bool {
	poll := time.NewTicker(50 * time.Millisecond)
	defer poll.Stop()
	timeout := time.After(deadline / 4)
	for s.ctx.Err() == nil {
		q, err := s.broker.inspect(queue)
		if err != nil {
			s.failf("look at queue %q: %w", queue, err)
		} else if q.Messages == n && q.Consumers == 0 {
			return true
		}
		select {
		case <-poll.C:
		case <-timeout:
			return false
		case <-s.ctx.Done():
		}
	}
	return false
}

// until waits until done says so, and reports whether it did before the deadline.
func (s *stage) until(done func() bool) bool {
	timeout := time.After(deadline)
	for {
		s.mu.Lock()
		reached, news := done(), s.news
		s.mu.Unlock()
		if reached {
			return true
		}
		select {
		case <-news:
		case <-timeout:
			return false
		case <-s.ctx.Done():
			return false
		}
	}
}

// A process is a program that runs, or ran, on the stage.
type process struct {
	stage *stage
	label string
	cmd   *exec.Cmd

	rest  []byte // of a line whose end is yet to come
	lines []line
	ended bool
}

type line struct {
	at   time.Time
	text string
}

// start starts a program of the tutorial, as if in a terminal with that label.
func (s *stage) start(label, name string, args ...string) *process {
	p := &process{stage: s, label: label}
	if s.ctx.Err() != nil {
		return p
	}
	self, err := os.Executable()
	if err != nil {
		s.failf("find the programs: %w", err)
		return p
	}
	p.cmd = exec.CommandContext(s.ctx, filepath.Join(filepath.Dir(self), name), args...)
	p.cmd.Env = append(os.Environ(), "AMQP_URL="+s.broker.url)
	p.cmd.Stdout, p.cmd.Stderr = p, p // one pipe, so that the lines keep their order

	p.show(s.screen.paint(faint, " $ "+commandLine(name, args)))
	if err := p.cmd.Start(); err != nil {
		s.failf("start %s: %w", name, err)
		return p
	}
	s.running.Go(func() {
		p.cmd.Wait() // its result stays in ProcessState
		s.mu.Lock()
		defer s.mu.Unlock()
		p.ended = true
		p.tell()
	})
	return p
}

// commandLine is what to type in a shell.
func commandLine(name string, args []string) string {
	words := []string{".bin/" + name}
	for _, arg := range args {
		if strings.ContainsAny(arg, " *#?") {
			arg = "'" + arg + "'"
		}
		words = append(words, arg)
	}
	return strings.Join(words, " ")
}

func (p *process) show(text string) {
	p.stage.printf("%s%s\n", p.stage.screen.label(p.label), text)
}

// Write takes what the program prints.
func (p *process) Write(text []byte) (int, error) {
	p.stage.mu.Lock()
	defer p.stage.mu.Unlock()
	p.rest = append(p.rest, text...)
	for {
		head, tail, complete := bytes.Cut(p.rest, []byte("\n"))
		if !complete {
			break
		}
		p.lines = append(p.lines, line{time.Now(), string(head)})
		p.show(string(head))
		p.rest = tail
	}
	p.tell()
	return len(text), nil
}

func (p *process) tell() {
	close(p.stage.news)
	p.stage.news = make(chan struct{})
}

// count returns the number of lines that contain text. The stage is locked.
func (p *process) count(text string) (n int) {
	for _, l := range p.lines {
		if strings.Contains(l.text, text) {
			n++
		}
	}
	return n
}

// await waits until n lines contain text.
func (p *process) await(n int, text string) *process {
	count := 0
	p.stage.until(func() bool {
		count = p.count(text)
		return count >= n || p.ended
	})
	if count < n {
		p.stage.failf("%s has printed %q %d times, not %d", p.label, text, count, n)
	}
	return p
}

// exits waits for the end of the program and for its exit status.
func (p *process) exits(status int) *process {
	switch ended := p.stage.until(func() bool { return p.ended }); {
	case !ended:
		p.stage.failf("%s did not end within %v", p.label, deadline)
	case p.cmd.ProcessState.ExitCode() != status:
		p.stage.failf("%s ended with %v, not with exit status %d", p.label, p.cmd.ProcessState, status)
	}
	return p
}

// stop presses Ctrl+C.
func (p *process) stop() {
	if p.stage.ctx.Err() == nil {
		p.cmd.Process.Signal(os.Interrupt) // fails if the program has ended: exits sees it
		p.exits(0)
	}
}

// kill is kill -9.
func (p *process) kill() {
	if p.stage.ctx.Err() == nil {
		p.show(p.stage.screen.paint(red, " killed (kill -9)"))
		p.cmd.Process.Kill()
		p.exits(-1) // which stands for: by a signal
	}
}

// printed returns the lines that begin with prefix, without it.
func (p *process) printed(prefix string) (texts []string) {
	p.stage.mu.Lock()
	defer p.stage.mu.Unlock()
	for _, l := range p.lines {
		if text, ok := strings.CutPrefix(l.text, prefix); ok {
			texts = append(texts, text)
		}
	}
	return texts
}
