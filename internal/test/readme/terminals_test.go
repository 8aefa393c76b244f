package readme

import (
	"flag"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"rabbitmq-tutorial/internal/harness"
)

func TestMain(m *testing.M) {
	flag.Set("test.parallel", "12") // most of the time the terminals wait for a worker's work
	os.Exit(harness.Main(m))
}

var (
	headings = regexp.MustCompile(`(?m)^#{1,6} .*$`)

	// A terminal: the commands that were typed in it, and what was to be seen.
	terminals = regexp.MustCompile("(?m)^```sh\n((?:go run \\./cmd/.*\n)+)```\n```text\n((?s:.*?))^```$")
)

// This runs the commands of each section and compares what they print
// with what the README says. The terminals are started in their order; a program
// that waits for messages goes on while the next ones run. Where its output shows
// ^C, it gets its Ctrl+C when the other terminals have ended.
func TestTerminalsShowWhatTheProgramsPrint(t *testing.T) {
	text := read(t, "README.md")
	starts := headings.FindAllStringIndex(text, -1)
	sections := 0
	for i, start := range starts {
		end := len(text)
		if i+1 < len(starts) {
			end = starts[i+1][0]
		}
		section := terminals.FindAllStringSubmatch(text[start[1]:end], -1)
		if len(section) == 0 {
			continue
		}
		sections++
		t.Run(strings.Trim(text[start[0]:start[1]], "# "), func(t *testing.T) {
			t.Parallel()
			runSection(t, harness.NewVhost(t).URL, section)
		})
	}
	if sections == 0 {
		t.Error("no terminals found")
	}
}

func runSection(t *testing.T, url string, section [][]string) {
	type waiting struct {
		*harness.Process
		output string
	}
	var consumers []waiting
	for _, terminal := range section {
		commands, output := terminal[1], terminal[2]
		if first, _, _ := strings.Cut(output, "\n"); strings.Contains(first, "Waiting for") || strings.Contains(first, "Awaiting") {
			p := start(t, url, commands)
			p.Await(first)
			consumers = append(consumers, waiting{p, output})
			continue
		}
		var stdout, stderr []string
		status := 0
		for command := range strings.Lines(commands) {
			p := start(t, url, command)
			status = max(status, p.Wait())
			stdout, stderr = append(stdout, p.Stdout()...), append(stderr, p.Stderr()...)
		}
		compare(t, commands, output, stdout, stderr, status)
	}
	for _, c := range consumers {
		_, rest, _ := strings.Cut(c.output, "\n")
		for line := range strings.Lines(rest) {
			line, interrupt := strings.CutPrefix(strings.TrimRight(line, "\n"), "^C")
			if interrupt {
				c.Interrupt()
			}
			if line != "" && !goRuns(line) {
				c.Await(line)
			}
		}
		if strings.Contains(c.output, "^C") {
			c.Wait()
		}
	}
	for _, c := range consumers {
		if !strings.Contains(c.output, "^C") {
			c.Interrupt()
			if status := c.Wait(); status != 0 {
				t.Errorf("exit status %d after Ctrl+C", status)
			}
		}
		compare(t, "", c.output, c.Stdout(), c.Stderr(), 0)
	}
}

// start starts the program of a command line such as "go run ./cmd/send".
func start(t *testing.T, url, command string) *harness.Process {
	words := strings.Fields(strings.TrimPrefix(command, "go run ./cmd/"))
	for i := range words {
		words[i] = strings.Trim(words[i], "'")
	}
	return harness.Start(t, url, words[0], words[1:]...)
}

// goRuns reports whether go run itself prints the line, and not the program.
func goRuns(line string) bool {
	return strings.HasPrefix(line, "exit status ") || strings.HasPrefix(line, "signal: ")
}

func compare(t *testing.T, commands, want string, stdout, stderr []string, status int) {
	t.Helper()
	var wantOut, wantErr []string
	wantStatus := 0
	for line := range strings.Lines(strings.ReplaceAll(want, "^C", "")) {
		switch line = strings.TrimRight(line, "\n"); {
		case line == "exit status 1":
			wantStatus = 1
		case line == "" || goRuns(line):
		case strings.HasPrefix(line, " [!]"):
			wantErr = append(wantErr, line)
		default:
			wantOut = append(wantOut, line)
		}
	}
	if !strings.Contains(want, "finishing") { // a machine that is busy may be slow to end a program
		stderr = slices.DeleteFunc(stderr, func(line string) bool { return strings.HasPrefix(line, " [!] finishing") })
	}
	if !slices.Equal(stdout, wantOut) || !slices.Equal(stderr, wantErr) || status != wantStatus {
		t.Errorf("%s printed:\n%s\n%s\nand ended with status %d; the README says:\n%s",
			commands, strings.Join(stdout, "\n"), strings.Join(stderr, "\n"), status, want)
	}
}
