package lessons_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"rabbitmq-tutorial/internal/harness"
)

// This runs the scripts in testdata: the built programs are on PATH, and
// AMQP_URL names a virtual host of the script's own.
func TestProgramsKeepTheCommandLineContract(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			bin := filepath.Dir(harness.Path("send"))
			env.Setenv("PATH", bin+string(os.PathListSeparator)+env.Getenv("PATH"))
			env.Setenv("AMQP_URL", harness.NewVhost(t).URL)
			env.Setenv("GORACE", os.Getenv("GORACE"))
			env.Setenv("KEY255", strings.Repeat("k", 255))
			return nil
		},
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"exits": exits},
		RequireUniqueNames:  true,
		RequireExplicitExec: true,
	})
}

// crashed matches what no program may print; S3cret is the scripts' password.
var crashed = regexp.MustCompile(`panic: |goroutine \d|DATA RACE|S3|cret`)

// exits STATUS PROGRAM ARG… runs a program to its end and compares its exit
// status. On stderr it must print what the contract says for that status.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits STATUS PROGRAM ARG...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Check(err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit status %d, want %d", got, want)
	}
	stdout, stderr := ts.ReadFile("stdout"), ts.ReadFile("stderr")
	if leak := crashed.FindString(stdout + stderr); leak != "" {
		ts.Fatalf("%q is printed", leak)
	}
	lines := slices.DeleteFunc(slices.Collect(strings.Lines(stderr)), func(line string) bool {
		return strings.HasSuffix(line, "; trying another broker\n")
	})
	switch got {
	case 1: // one line says what failed
		if len(lines) != 1 || !strings.HasPrefix(stderr, " [!] ") {
			ts.Fatalf("stderr is not one line")
		}
	case 2: // one line, and the usage
		if stdout != "" || len(lines) < 2 || !strings.HasPrefix(stderr, " [!] ") || !strings.Contains(stderr, "\nUsage:\n  "+args[1]) {
			ts.Fatalf("the contract wants one line and the usage on stderr, and nothing on stdout")
		}
	}
}
