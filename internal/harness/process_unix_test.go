//go:build unix

package harness_test

import (
	"os/exec"
	"slices"
	"testing"

	"rabbitmq-tutorial/internal/harness"
)

const oneTwoThreeFour = "echo one; echo two >&2; echo three; printf four >&2"

func TestProcessIsShownAsInATerminal(t *testing.T) {
	t.Parallel()
	p := harness.StartShown(t, exec.Command("sh", "-c", oneTwoThreeFour), func(string) {})
	p.Exits(0)
	if got, want := p.Stdout(), []string{"one", "two", "three", "four"}; !slices.Equal(got, want) {
		t.Errorf("the lines are %q, want %q", got, want)
	}
}

func TestProcessTellsStdoutFromStderr(t *testing.T) {
	t.Parallel()
	p := harness.StartCmd(t, exec.Command("sh", "-c", oneTwoThreeFour))
	p.Exits(0)
	if got, want := p.Stdout(), []string{"one", "three"}; !slices.Equal(got, want) {
		t.Errorf("stdout is %q, want %q", got, want)
	}
	if got, want := p.Stderr(), []string{"two", "four"}; !slices.Equal(got, want) {
		t.Errorf("stderr is %q, want %q", got, want)
	}
}
