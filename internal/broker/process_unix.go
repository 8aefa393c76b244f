//go:build unix

package broker

import (
	"os/exec"
	"syscall"
)

const (
	sigStop = syscall.SIGSTOP
	sigCont = syscall.SIGCONT
)

// ownGroup gives cmd a process group of its own. Call it before cmd starts.
func ownGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// kill sends a signal to a process, or with -pid to its group.
func kill(pid int, signal syscall.Signal) error { return syscall.Kill(pid, signal) }
