//go:build unix

package harness

import (
	"os"
	"os/exec"
)

// makeInterruptible has nothing to do: a signal can be sent to any process.
func makeInterruptible(*exec.Cmd) {}

func signal(p *os.Process, s os.Signal) error { return p.Signal(s) }
