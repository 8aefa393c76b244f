package harness

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
)

// deadline bounds every wait for an event. Only a failing test waits that long, so it must be
// longer than what the slowest machine needs.
const deadline = time.Minute

// T is what runs a program: a test, a benchmark, or a demo.
type T interface {
	Helper()
	Cleanup(func())
	Failed() bool
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any) // does not return
}

// programs is the environment variable that names the folder with the built programs.
const programs = "TEST_PROGRAMS"

// Build builds the programs of the lessons into a folder, where Path then finds them. If TEST_PROGRAMS
// already names a folder, it does nothing: scripts/test.sh builds the programs once for all tests.
func Build(dir string) error {
	if os.Getenv(programs) != "" {
		return nil
	}
	build := exec.Command("go", "build", "-o", dir+string(filepath.Separator), "rabbitmq-tutorial/cmd/...")
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

// A Process is a started program and what it has printed so far.
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

// Start starts a program with the broker's URL in AMQP_URL. It kills the process when the
// test ends, if it still runs.
func Start(t T, url, name string, args ...string) *Process {
	t.Helper()
	cmd := exec.Command(Path(name), args...)
	cmd.Env = append(os.Environ(), "AMQP_URL="+url)
	return StartCmd(t, cmd)
}

// StartCmd is Start for any program and environment.
func StartCmd(t T, cmd *exec.Cmd) *Process { t.Helper(); return StartShown(t, cmd, nil) }

// StartShown is StartCmd for the demos: it passes each line to show before Await can find it. As in a
// terminal, the lines of stdout and stderr keep their order, and none is marked as Stderr.
func StartShown(t T, cmd *exec.Cmd, show func(text string)) *Process {
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

// crash is what no program may print.
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

// Await waits for a line that contains text and returns it. It looks at the lines of stdout after the
// last one that it found there, and at those of stderr likewise: their order is not known. It fails the
// test if the program ends, or a minute passes, without that line.
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
			ended = true // then all its lines are read
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

// Output returns all that was printed so far. It marks stderr, and cuts lines after 1,000 characters.
func (p *Process) Output() string {
	var b bytes.Buffer
	mark := map[bool]string{false: "out", true: "err"}
	for _, line := range p.Lines() {
		fmt.Fprintf(&b, "  %s %s %.1000s\n", line.At.Format("05.000"), mark[line.Stderr], line.Text)
	}
	return b.String()
}

// Interrupt sends Ctrl+C: SIGINT, or on Windows CTRL_BREAK, which looks the same to a Go program.
func (p *Process) Interrupt() { p.t.Helper(); p.Signal(os.Interrupt) }

// Kill ends the process as kill -9 does: it has no time to react. Kill returns when it has ended.
func (p *Process) Kill() { p.t.Helper(); p.Signal(os.Kill); p.Wait() }

// Signal sends a signal, on Windows only os.Interrupt or os.Kill. The process may have ended already.
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

// Exits waits for the end of the process, and fails the test if its exit status is another.
func (p *Process) Exits(status int) {
	p.t.Helper()
	if got := p.Wait(); got != status {
		p.t.Fatalf("%s %.100q: exit status %d, want %d; it printed:\n%s", p.name, p.cmd.Args[1:], got, status, p.Output())
	}
}

// Stop sends Ctrl+C and expects exit status 0.
func (p *Process) Stop() {
	p.t.Helper()
	p.Interrupt()
	p.Exits(0)
}

// Run runs a program to its end, expects the exit status, and returns the process with
// what it printed.
func Run(t T, url string, status int, name string, args ...string) *Process {
	t.Helper()
	p := Start(t, url, name, args...)
	p.Exits(status)
	return p
}
