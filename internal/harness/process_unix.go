//go:build unix

package harness

import (
	"os"
	"os/exec"
)

// makeInterruptible does nothing: any process can be sent a signal.
func makeInterruptible(*exec.Cmd) {}

func signal(p *os.Process, s os.Signal) error { return p.Signal(s) }
