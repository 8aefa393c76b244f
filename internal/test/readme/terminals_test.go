package readme

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"

	"rabbitmq-tutorial/internal/broker"
	"rabbitmq-tutorial/internal/harness"
)

var writing = flag.Bool("write", false, "write what the commands print into the READMEs, instead of comparing")

func TestMain(m *testing.M) {
	flag.Set("test.parallel", "100") // most sections wait for a place to be free
	os.Exit(m.Run())
}

// This types the console blocks of the pages as a reader does, and compares what is then to be seen
// with what the page says.
func TestBlocksPrintWhatThePagesShow(t *testing.T) {
	version := harness.SharedBroker(t).Version()
	shared, err := broker.Open(broker.Config{Dir: os.Getenv("TEST_BROKER")})
	check(t, err)
	free := openPlaces(t)
	front := read(t, "README.md")
	var mu sync.Mutex
	seen := map[*output]string{}
	blocks, commands, notRun := 0, 0, map[string]int{}
	for _, p := range pages(t) {
		for _, s := range p.sections(t, lessonsUntil(front, p.name)) {
			if len(s.blocks) == 0 {
				continue
			}
			t.Run(s.name, func(t *testing.T) {
				t.Parallel()
				if shared.Kind == broker.Compose && needOwnBroker(s.blocks) {
					for _, b := range s.blocks { // in Compose, it would be the same project as that of the user's make up
						b.marked = "needs a native node of RabbitMQ"
					}
				}
				run := slices.DeleteFunc(slices.Clone(s.blocks), func(b *block) bool { return b.notRun(version) != "" })
				var printed map[*output]string
				if len(run) > 0 {
					printed = free.take(t, s.lesson, run).run(t, run, version)
				}
				mu.Lock()
				defer mu.Unlock()
				maps.Copy(seen, printed)
				for _, b := range s.blocks {
					if why := b.notRun(version); why != "" {
						notRun[why]++
						continue
					}
					blocks++
					commands += strings.Count(b.commands, "\n")
				}
			})
		}
	}
	t.Cleanup(func() { // after all sections
		if *writing {
			write(t, seen)
		}
		told := fmt.Sprintf("readme: %d blocks with %d commands run", blocks, commands)
		for _, reason := range slices.Sorted(maps.Keys(notRun)) {
			told += fmt.Sprintf("; %d not run: %s", notRun[reason], reason)
		}
		t.Log(told)
		check(t, os.WriteFile(filepath.Join(root, ".bin", "readme.txt"), []byte(told+"\n"), 0o644)) // scripts/test.sh shows it
	})
}

var (
	// Programs that go on while the next blocks are typed: a consumer, and one that will see the broker stop.
	consumes = regexp.MustCompile(`\A \[.\] A?[Ww]aiting `)
	outlives = regexp.MustCompile(`; connecting again\n`)

	// Figures that may be some seconds old, or that a busy machine makes larger: try again.
	lists  = regexp.MustCompile(`\Amake ctl ARGS='list_.*\n\z`)
	clocks = regexp.MustCompile(`, after \d s\n| back after \d s\n`)
)

// run types the blocks, each in a terminal. A terminal that is used again first gets the Ctrl+C that its
// output shows; the others get theirs at the end. It returns what was seen.
func (at *place) run(t *testing.T, blocks []*block, version string) map[*output]string {
	seen := map[*output]string{}
	var going []*terminal
	end := func(x *terminal) bool { seen[x.shown] = x.end(); return true }
	for _, b := range blocks {
		going = slices.DeleteFunc(going, func(x *terminal) bool { return x.number != "" && x.number == b.terminal && end(x) })
		x := at.open(t, b, b.output(version))
		if consumes.MatchString(x.shown.text) || outlives.MatchString(x.shown.text) {
			x.await(func() bool { x.mu.Lock(); defer x.mu.Unlock(); return len(x.text) > 0 })
			going = append(going, x)
			continue
		}
		again := lists.MatchString(b.commands) || clocks.MatchString(x.shown.text)
		for start := time.Now(); again && time.Since(start) < 30*time.Second; {
			if x.awaitEnd(); x.shows(x.shown.text) {
				break
			}
			x = at.open(t, b, x.shown)
		}
		end(x)
	}
	// First those that the page stops: their messages go to the others.
	going = slices.DeleteFunc(going, func(x *terminal) bool { return x.shownStopped() && end(x) })
	for _, x := range going {
		end(x)
	}
	return seen
}

// A terminal runs the commands of one block.
type terminal struct {
	t       *testing.T
	number  string
	shown   *output // what the page shows
	tty     *os.File
	rename  *strings.Replacer
	stopped bool
	ended   bool
	more    chan struct{} // gets a value when there is more to see
	done    chan struct{} // closed when the commands have ended

	mu   sync.Mutex
	text []byte
}

func (at *place) open(t *testing.T, b *block, shown *output) *terminal {
	x := &terminal{t: t, number: b.terminal, shown: shown, rename: strings.NewReplacer(at.names...),
		more: make(chan struct{}, 1), done: make(chan struct{})}
	console := strings.TrimPrefix(at.api, "http://guest:guest@")
	commands := strings.ReplaceAll(b.commands, "localhost:15672", console)
	if strings.Contains(commands, "NODE=2") { // on the page, node 2 leads the queue
		commands = strings.ReplaceAll(commands, "NODE=2", "NODE="+at.leader(t))
	}
	cmd := exec.Command("bash", "-c", commands)
	cmd.Dir, cmd.Env = at.dir, at.env
	var err error
	x.tty, err = pty.Start(cmd)
	check(t, err)
	go func() {
		buffer := make([]byte, 4096)
		for {
			n, err := x.tty.Read(buffer)
			x.mu.Lock()
			x.text = append(x.text, buffer[:n]...)
			x.mu.Unlock()
			select {
			case x.more <- struct{}{}:
			default:
			}
			if err != nil { // all programs have left the terminal
				break
			}
		}
		cmd.Wait() // the exit status does not matter: go run prints it
		close(x.done)
	}()
	t.Cleanup(func() {
		x.tty.Write([]byte{0x1c}) // Ctrl+\ ends what still runs
		<-x.done
		x.tty.Close()
	})
	return x
}

var (
	overwritten = regexp.MustCompile(`[^\n]*\r|\x1b\[K`)
	finishing   = " [!] finishing what is in hand; press CTRL+C again to leave at once"
	interrupted = "^Csignal: interrupt\n"
	away        = regexp.MustCompile(` \[!\] connect to .*; (connecting again|trying another broker)\n`)
)

// screen returns what is to be seen, with the names that the page has.
func (x *terminal) screen() string {
	x.mu.Lock()
	text := strings.ReplaceAll(string(x.text), "\r\n", "\n")
	x.mu.Unlock()
	text = x.rename.Replace(overwritten.ReplaceAllString(text, ""))
	text = away.ReplaceAllString(text, notYet+"\n")
	if !strings.Contains(x.shown.text, finishing) { // a busy machine may be slow to end a program
		text = strings.ReplaceAll(text, finishing, "")
	}
	// With Ctrl+C, a terminal drops what it has not shown yet: now and then, the last line.
	if x.ended && strings.HasSuffix(x.shown.text, interrupted) && !strings.HasSuffix(text, interrupted) {
		text += interrupted
	}
	if x.stopped {
		text = strings.TrimSuffix(strings.TrimSuffix(text, "\n"), "^C")
	}
	return text
}

func (x *terminal) shows(text string) bool {
	return slices.Equal(comparable(x.screen()), comparable(text))
}

// patience is for the slowest machine: only a failing test waits that long.
const patience = 3 * time.Minute

// await waits until the screen is right, or the commands have ended.
func (x *terminal) await(right func() bool) {
	timeout := time.After(patience)
	for !right() {
		select {
		case <-x.more:
		case <-x.done:
			return
		case <-timeout:
			if !*writing {
				x.fail()
			}
			return
		}
	}
}

func (x *terminal) awaitEnd() {
	x.t.Helper()
	select {
	case <-x.done:
	case <-time.After(patience):
		x.fail()
	}
}

func (x *terminal) fail() {
	x.t.Helper()
	x.t.Fatalf("%s:%d: this was seen:\n%s\nThe page shows:\n%s", x.shown.file, x.shown.first+1, x.screen(), x.shown.text)
}

func (x *terminal) shownStopped() bool { return strings.Contains(x.shown.text, "^C") }

// end presses Ctrl+C for each ^C of the page, when the text above it is to be seen. A consumer that the page does not
// stop is stopped at last. end returns what was seen before that.
func (x *terminal) end() string {
	press := func(before string) {
		x.await(func() bool { return x.shows(before) })
		x.tty.Write([]byte{3})
	}
	text := x.shown.text
	for i := range len(text) {
		if strings.HasPrefix(text[i:], "^C") {
			press(text[:i])
		}
	}
	switch {
	case x.shownStopped():
	case consumes.MatchString(text):
		press(text)
		x.stopped = true
	case outlives.MatchString(text):
		x.await(func() bool { return x.shows(text) }) // then it ends by itself
	}
	x.awaitEnd()
	x.ended = true
	if !*writing && !x.shows(text) {
		x.fail()
	}
	return x.screen()
}
