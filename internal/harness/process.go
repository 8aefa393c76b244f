// Package programtest runs the tutorial's programs in tests: as processes of their
// own, watched through what they print, and built with the race detector if the
// tests are.
package harness

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// deadline bounds every wait for an event. It is for tests that fail: it only
// has to be longer than what the slowest machine needs.
const deadline = time.Minute

// bin is the folder with the built programs. scripts/bench.sh names one: it runs the
// benchmarks several times and builds the programs once.
var bin = os.Getenv("TEST_PROGRAMS")

// Main builds the programs, and others whose packages are named, and runs the
// tests of a package. Call it from TestMain: os.Exit(harness.Main(m)).
func Main(m *testing.M, others ...string) int {
	flag.Parse()
	if flag.Lookup("test.fuzz").Value.String() != "" {
		return m.Run() // fuzz tests need no programs, and each of their workers comes here
	}
	if bin != "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "programs-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	bin = dir
	args := []string{"build", "-o", dir}
	if info, _ := debug.ReadBuildInfo(); slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		args = append(args, "-race")
	}
	args = append(args, "rabbitmq-tutorial/cmd/...")
	build := exec.Command("go", append(args, others...)...)
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build the programs: %v\n%s", err, out)
		return 1
	}
	// A program with the race detector would stay for a second after its end, to see
	// whether a race comes yet.
	os.Setenv("GORACE", "atexit_sleep_ms=0")
	return m.Run()
}

// Path returns the file of a built program.
func Path(name string) string {
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	return filepath.Join(bin, name)
}

// A Process is a program that was started, with what it has printed so far.
type Process struct {
	t    testing.TB
	name string
	cmd  *exec.Cmd
	done chan struct{} // closed when the process has ended and its output is read

	mu     sync.Mutex
	lines  []Line
	more   chan struct{} // closed and replaced with every line
	cursor [2]int        // how far Await has looked, at stdout and at stderr
}

// A Line is a line that a program printed, without its end.
type Line struct {
	Text   string
	Stderr bool
	At     time.Time
}

// Start starts a program with the broker's URL in AMQP_URL. The process is killed
// when the test ends, if it is still there.
func Start(t testing.TB, url, name string, args ...string) *Process {
	t.Helper()
	return StartCmd(t, append(os.Environ(), "AMQP_URL="+url), Path(name), args...)
}

// StartCmd is Start for any program and environment.
func StartCmd(t testing.TB, env []string, path string, args ...string) *Process {
	t.Helper()
	p := &Process{
		t:    t,
		name: filepath.Base(path),
		cmd:  exec.Command(path, args...),
		done: make(chan struct{}),
		more: make(chan struct{}),
	}
	p.cmd.Env = env
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var readers sync.WaitGroup
	readers.Go(func() { p.read(stdout, false) })
	readers.Go(func() { p.read(stderr, true) })
	go func() {
		readers.Wait()
		p.cmd.Wait() // ExitCode has its result
		close(p.done)
	}()
	t.Cleanup(func() {
		p.cmd.Process.Kill()
		<-p.done
		for _, line := range p.Lines() {
			if crash.MatchString(line.Text) {
				t.Errorf("%s must not print %.200q", p.name, line.Text)
				break
			}
		}
		if t.Failed() {
			t.Logf("%s printed:\n%s", p.name, p.Output())
		}
	})
	return p
}

// crash is what no program may print, in whatever state it ends.
var crash = regexp.MustCompile(`panic: |goroutine \d|DATA RACE`)

func (p *Process) read(r io.Reader, stderr bool) {
	in := bufio.NewReader(r)
	for {
		text, err := in.ReadString('\n')
		if text != "" {
			p.mu.Lock()
			p.lines = append(p.lines, Line{strings.TrimSuffix(text, "\n"), stderr, time.Now()})
			close(p.more)
			p.more = make(chan struct{})
			p.mu.Unlock()
		}
		if err != nil {
			return
		}
	}
}

// Await waits for a line that contains text, among those printed since the line
// that the last Await found, and returns it. How lines of stdout and lines of
// stderr follow one another is not known, so that a line of one may be awaited
// after a later line of the other. It fails the test when the program
// ends, or a minute passes, without that line.
func (p *Process) Await(text string) Line {
	p.t.Helper()
	timeout := time.After(deadline)
	next := 0
	for ended := false; ; {
		p.mu.Lock()
		for ; next < len(p.lines); next++ {
			line := p.lines[next]
			cursor := &p.cursor[0]
			if line.Stderr {
				cursor = &p.cursor[1]
			}
			if next >= *cursor && strings.Contains(line.Text, text) {
				*cursor = next + 1
				p.mu.Unlock()
				return line
			}
		}
		more := p.more
		p.mu.Unlock()
		if ended {
			p.t.Fatalf("%s ended without printing %q", p.name, text)
		}
		select {
		case <-more:
		case <-p.done:
			ended = true // its last lines are in by now
		case <-timeout:
			p.t.Fatalf("%s has not printed %q within %v", p.name, text, deadline)
		}
	}
}

// Lines returns what was printed so far.
func (p *Process) Lines() []Line {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lines[:len(p.lines):len(p.lines)]
}

// Stdout returns the lines printed to stdout so far.
func (p *Process) Stdout() []string { return p.texts(false) }

// Stderr returns the lines printed to stderr so far.
func (p *Process) Stderr() []string { return p.texts(true) }

func (p *Process) texts(stderr bool) (texts []string) {
	for _, line := range p.Lines() {
		if line.Stderr == stderr {
			texts = append(texts, line.Text)
		}
	}
	return texts
}

// Output returns all that was printed so far, stderr marked, long lines cut.
func (p *Process) Output() string {
	var b bytes.Buffer
	for _, line := range p.Lines() {
		mark := "out"
		if line.Stderr {
			mark = "err"
		}
		fmt.Fprintf(&b, "  %s %s %.200s\n", line.At.Format("05.000"), mark, line.Text)
	}
	return b.String()
}

// Interrupt sends SIGINT, as Ctrl+C does.
func (p *Process) Interrupt() { p.Signal(os.Interrupt) }

// Kill sends SIGKILL.
func (p *Process) Kill() { p.Signal(os.Kill) }

// Signal sends a signal. That the process has ended already is no failure.
func (p *Process) Signal(s os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Fatalf("signal %v to %s: %v", s, p.name, err)
	}
}

// Name is the name of the program.
func (p *Process) Name() string { return p.name }

// Pid is the process id.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Wait waits for the end of the process and returns its exit status, or -1 if a
// signal ended it.
func (p *Process) Wait() int {
	p.t.Helper()
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(deadline):
		p.t.Fatalf("%s does not end", p.name)
		return -1
	}
}

// Running reports whether the process has not ended yet.
func (p *Process) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Stop sends SIGTERM and expects what the contract promises: exit status 0.
func (p *Process) Stop() {
	p.t.Helper()
	p.Signal(syscall.SIGTERM)
	if status := p.Wait(); status != 0 {
		p.t.Fatalf("%s ended with status %d after SIGTERM", p.name, status)
	}
}

// Run runs a program to its end, expects the exit status, and returns the process
// for a look at what it printed.
func Run(t testing.TB, url string, status int, name string, args ...string) *Process {
	t.Helper()
	p := Start(t, url, name, args...)
	if got := p.Wait(); got != status {
		t.Fatalf("%s %.100q: exit status %d, want %d; it printed:\n%s", name, args, got, status, p.Output())
	}
	return p
}
