package harness

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// deadline bounds every wait for an event. It is for tests that fail: it only
// has to be longer than what the slowest machine needs.
const deadline = time.Minute

// T is who a program is run for: a test, a benchmark, or a demo.
type T interface {
	Helper()
	Cleanup(func())
	Failed() bool
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any) // does not return
}

// Main builds the programs, and others whose packages are named, and runs the
// tests of a package. Call it from TestMain: os.Exit(harness.Main(m)).
func Main(m *testing.M, others ...string) int {
	flag.Parse()
	if flag.Lookup("test.fuzz").Value.String() != "" {
		return m.Run() // fuzz tests need no programs, and each of their workers comes here
	}
	dir, err := os.MkdirTemp("", "programs-")
	if err == nil {
		defer os.RemoveAll(dir)
		err = Build(dir, others...)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	// A program with the race detector would stay for a second after its end, to see
	// whether a race comes yet.
	os.Setenv("GORACE", "atexit_sleep_ms=0")
	return m.Run()
}

// programs is the environment variable that names the folder with the built programs.
const programs = "TEST_PROGRAMS"

// Build builds the programs, and others whose packages are named, into a folder, where Path
// finds them from then on; with the race detector if the caller has it. It does nothing where
// TEST_PROGRAMS names a folder with programs already: scripts/bench.sh builds them once for
// several runs, and the demos' tests have theirs.
func Build(dir string, others ...string) error {
	if os.Getenv(programs) != "" {
		return nil
	}
	args := append([]string{"build", "-o", dir + string(filepath.Separator), "rabbitmq-tutorial/cmd/..."}, others...)
	if info, _ := debug.ReadBuildInfo(); slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		args = slices.Insert(args, 1, "-race")
	}
	build := exec.Command("go", args...)
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("build the programs: %w", err)
	}
	return os.Setenv(programs, dir)
}

// Path returns the file of a built program.
func Path(name string) string {
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	return filepath.Join(os.Getenv(programs), name)
}

// A Process is a program that was started, with what it has printed so far.
type Process struct {
	t    T
	name string
	cmd  *exec.Cmd
	show func(text string) // or nil
	done chan struct{}     // closed when the process has ended and its output is read

	mu     sync.Mutex
	lines  []Line
	more   chan struct{} // closed and replaced with every line
	looked map[bool]int  // how far Await has looked: at stderr if true, else at stdout
}

// A Line is a line that a program printed, without its end.
type Line struct {
	Text   string
	Stderr bool
	At     time.Time
}

// Start starts a program with the broker's URL in AMQP_URL. The process is killed
// when the test ends, if it is still there.
func Start(t T, url, name string, args ...string) *Process {
	t.Helper()
	cmd := exec.Command(Path(name), args...)
	cmd.Env = append(os.Environ(), "AMQP_URL="+url)
	return StartCmd(t, cmd)
}

// StartCmd is Start for any program and environment.
func StartCmd(t T, cmd *exec.Cmd) *Process { t.Helper(); return start(t, cmd, nil) }

// StartShown is StartCmd for somebody who watches: it gives each line to show before Await can find
// it. Like a terminal it keeps the order of all lines, and marks none of them as Stderr.
func StartShown(t T, cmd *exec.Cmd, show func(text string)) *Process {
	t.Helper()
	return start(t, cmd, show)
}

func start(t T, cmd *exec.Cmd, show func(string)) *Process {
	t.Helper()
	p := &Process{t: t, name: filepath.Base(cmd.Path), cmd: cmd, show: show,
		done: make(chan struct{}), more: make(chan struct{}), looked: map[bool]int{}}
	stdout, stderr := &output{of: p}, &output{of: p, stderr: true}
	if show != nil {
		stderr = stdout
	}
	cmd.Stdout, cmd.Stderr = stdout, stderr
	makeInterruptible(cmd)
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", p.name, err)
	}
	go func() {
		cmd.Wait() // ExitCode has its result
		for _, o := range []*output{stdout, stderr} {
			if len(o.rest) > 0 { // a last line without its end
				o.Write([]byte("\n"))
			}
		}
		close(p.done)
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-p.done
		lines := p.Lines()
		if i := slices.IndexFunc(lines, func(line Line) bool { return crash.MatchString(line.Text) }); i >= 0 {
			t.Errorf("%s must not print %.200q", p.name, lines[i].Text)
		}
		if t.Failed() {
			t.Logf("%s printed:\n%s", p.name, p.Output())
		}
	})
	return p
}

// crash is what no program may print, in whatever state it ends.
var crash = regexp.MustCompile(`panic: |goroutine \d|DATA RACE`)

// An output cuts what a program writes into lines.
type output struct {
	of     *Process
	stderr bool
	rest   []byte // of a line whose end is yet to come
}

func (o *output) Write(text []byte) (int, error) {
	o.rest = append(o.rest, text...)
	for {
		line, rest, whole := bytes.Cut(o.rest, []byte("\n"))
		if !whole {
			return len(text), nil
		}
		o.of.add(Line{string(line), o.stderr, time.Now()})
		o.rest = rest
	}
}

func (p *Process) add(line Line) {
	if p.show != nil {
		p.show(line.Text)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lines = append(p.lines, line)
	close(p.more)
	p.more = make(chan struct{})
}

// Await waits for a line that contains text and returns it. It looks at the lines of stdout and of
// stderr that came after the last ones it found there: which of the two came first is not known.
// It fails the test when the program ends, or a minute passes, without that line.
func (p *Process) Await(text string) Line {
	p.t.Helper()
	timeout := time.After(deadline)
	next := 0
	for ended := false; ; {
		p.mu.Lock()
		for ; next < len(p.lines); next++ {
			line := p.lines[next]
			if next >= p.looked[line.Stderr] && strings.Contains(line.Text, text) {
				p.looked[line.Stderr] = next + 1
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
	return slices.Clip(p.lines)
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
	mark := map[bool]string{false: "out", true: "err"}
	for _, line := range p.Lines() {
		fmt.Fprintf(&b, "  %s %s %.200s\n", line.At.Format("05.000"), mark[line.Stderr], line.Text)
	}
	return b.String()
}

// Interrupt is Ctrl+C: SIGINT, or on Windows CTRL_BREAK, which a Go program cannot tell from it.
func (p *Process) Interrupt() { p.t.Helper(); p.Signal(os.Interrupt) }

// Kill is kill -9, and so nothing that the process could answer.
func (p *Process) Kill() { p.t.Helper(); p.Signal(os.Kill) }

// Signal sends a signal, on Windows only os.Interrupt and os.Kill. That the process has ended
// already is no failure.
func (p *Process) Signal(s os.Signal) {
	p.t.Helper()
	if err := signal(p.cmd.Process, s); err != nil && !errors.Is(err, os.ErrProcessDone) && p.Running() {
		p.t.Fatalf("send %s the signal %v: %v", p.name, s, err)
	}
}

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

// Exits waits for the end of the process and fails the test if its exit status is another one.
func (p *Process) Exits(status int) {
	p.t.Helper()
	if got := p.Wait(); got != status {
		p.t.Fatalf("%s %.100q: exit status %d, want %d; it printed:\n%s", p.name, p.cmd.Args[1:], got, status, p.Output())
	}
}

// Stop presses Ctrl+C and expects what the contract promises: exit status 0.
func (p *Process) Stop() {
	p.t.Helper()
	p.Interrupt()
	p.Exits(0)
}

// Run runs a program to its end, expects the exit status, and returns the process
// for a look at what it printed.
func Run(t T, url string, status int, name string, args ...string) *Process {
	t.Helper()
	p := Start(t, url, name, args...)
	p.Exits(status)
	return p
}
