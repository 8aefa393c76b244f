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

// ownGroup has cmd lead a process group of its own when it is started.
func ownGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// kill signals a process, or with -pid its group.
func kill(pid int, signal syscall.Signal) error { return syscall.Kill(pid, signal) }
