package main

import (
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestEachDotIsAUnitOfWork(t *testing.T) {
	t.Parallel()
	for task, want := range map[string]int{
		"":                             0,
		"Hello World!":                 0,
		"A heavy task...":              3,
		"...":                          3,
		"v1.2 of the.file":             2,
		"… is one character, no dot":   0,
		"\xff.\xff":                    1,
		strings.Repeat(".", 600):       600,
		strings.Repeat(".", 1_000_000): 600, // one message must not hold a worker for days
	} {
		if got := dots([]byte(task)); got != want {
			t.Errorf("dots(%.20q) = %d, want %d", task, got, want)
		}
	}
}
