// Package lessons tests the programs of the lessons as a learner meets them:
// built, started with arguments, and watched through what they print and through
// what the broker then holds.
package lessons_test

import (
	"flag"
	"slices"
	"testing"

	"go.uber.org/goleak"

	"rabbitmq-tutorial/internal/harness"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(programs{m}) }

// programs is the tests, which need the built programs.
type programs struct{ *testing.M }

func (p programs) Run() int {
	// The tests wait for processes more than they compute: more of them than there
	// are processors can run side by side.
	flag.Set("test.parallel", "12")
	flag.Parse() // -parallel has the last word
	return harness.Main(p.M)
}

// wantStdout compares all that the program has printed to stdout.
func wantStdout(t testing.TB, p *harness.Process, want ...string) {
	t.Helper()
	if got := p.Stdout(); !slices.Equal(got, want) {
		t.Errorf("stdout is\n%.1000q\nwant\n%.1000q", got, want)
	}
}

// wantStderr compares all that the program has printed to stderr. That it took
// half a second to stop may be the machine's fault.
func wantStderr(t testing.TB, p *harness.Process, want ...string) {
	t.Helper()
	got := slices.DeleteFunc(p.Stderr(), func(line string) bool {
		return line == " [!] finishing what is in hand; press CTRL+C again to leave at once"
	})
	if !slices.Equal(got, want) {
		t.Errorf("stderr is\n%.1000q\nwant\n%.1000q", got, want)
	}
}
