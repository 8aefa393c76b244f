// Package lessons tests the programs of the lessons as a learner meets them: it
// starts them with arguments, and looks at what they print and at what the broker
// holds.
package lessons_test

import (
	"flag"
	"slices"
	"testing"

	"go.uber.org/goleak"

	"rabbitmq-tutorial/internal/harness"
)

func TestMain(m *testing.M) {
	// The tests mostly wait for processes, so more of them than there are processors can run
	// side by side. A -parallel of the user overrides it.
	flag.Set("test.parallel", "12")
	goleak.VerifyTestMain(m)
}

// wantStdout compares all that the program has printed to stdout.
func wantStdout(t testing.TB, p *harness.Process, want ...string) {
	t.Helper()
	if got := p.Stdout(); !slices.Equal(got, want) {
		t.Errorf("stdout is\n%.1000q\nwant\n%.1000q", got, want)
	}
}

// wantStderr compares all that the program has printed to stderr, except that it took half a
// second to stop: the machine may be busy.
func wantStderr(t testing.TB, p *harness.Process, want ...string) {
	t.Helper()
	got := slices.DeleteFunc(p.Stderr(), func(line string) bool {
		return line == " [!] finishing what is in hand; press CTRL+C again to leave at once"
	})
	if !slices.Equal(got, want) {
		t.Errorf("stderr is\n%.1000q\nwant\n%.1000q", got, want)
	}
}
