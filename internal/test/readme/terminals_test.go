package readme

import (
	"flag"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"rabbitmq-tutorial/internal/harness"
)

func TestMain(m *testing.M) {
	flag.Set("test.parallel", "12") // most of the time the terminals wait for a worker's work
	os.Exit(m.Run())
}

var (
	headings = regexp.MustCompile(`(?m)^#{1,6} .*$`)

	// A terminal: the commands that were typed in it, and what was to be seen.
	terminals = regexp.MustCompile("(?m)^```sh\n((?:go run \\./.*\n)+)```\n```text\n((?s:.*?))^```$")
)

// This runs the commands of each section and compares what they print with what the page
// says. The terminals are started in their order; a program that waits for messages
// goes on while the next ones run. Where its output shows ^C, it gets its Ctrl+C when the
// other terminals have ended.
func TestTerminalsShowWhatTheProgramsPrint(t *testing.T) {
	for _, p := range pages(t) {
		starts := headings.FindAllStringIndex(p.text, -1)
		for i, start := range starts {
			end := len(p.text)
			if i+1 < len(starts) {
				end = starts[i+1][0]
			}
			section := terminals.FindAllStringSubmatch(p.text[start[1]:end], -1)
			if len(section) == 0 {
				continue
			}
			t.Run(path.Join(p.name, strings.Trim(p.text[start[0]:start[1]], "# ")), func(t *testing.T) {
				t.Parallel()
				runSection(t, harness.NewVhost(t).URL, section)
			})
		}
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
			if strings.Contains(output, "^C") && strings.Contains(commands, "/worker") {
				commands += " -unit 4s" // on a busy machine it must still be at work when its Ctrl+C comes
			}
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
			if line != "" && !goRuns(line) && (!isAnswer(line) || strings.Contains(c.output, "^C")) {
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
	words := strings.Fields(strings.TrimPrefix(command, "go run "))
	for i := range words {
		words[i] = strings.Trim(words[i], "'")
	}
	return harness.Start(t, url, path.Base(words[0]), words[1:]...)
}

// goRuns reports whether go run itself prints the line, and not the program.
func goRuns(line string) bool {
	return strings.HasPrefix(line, "exit status ") || strings.HasPrefix(line, "signal: ")
}

// isAnswer reports whether the line is about a call. Calls that are made at once are answered
// in any order.
func isAnswer(line string) bool { return strings.HasPrefix(line, " [.]") }

// sortAnswers sorts the answers that stand together.
func sortAnswers(lines []string) {
	for i, n := 0, 0; i < len(lines); i = n + 1 {
		for n = i; n < len(lines) && isAnswer(lines[n]); n++ {
		}
		slices.Sort(lines[i:n])
	}
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
	sortAnswers(stdout)
	sortAnswers(wantOut)
	if !slices.Equal(stdout, wantOut) || !slices.Equal(stderr, wantErr) || status != wantStatus {
		t.Errorf("%s printed:\n%s\n%s\nand ended with status %d; the page says:\n%s",
			commands, strings.Join(stdout, "\n"), strings.Join(stderr, "\n"), status, want)
	}
}
