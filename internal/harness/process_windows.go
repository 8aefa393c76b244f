package harness

import (
	"os"
	"os/exec"
	"syscall"
)

// makeInterruptible gives the program a process group of its own, because Windows sends a console event
// to a whole group.
func makeInterruptible(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP}
}

// signal sends CTRL_BREAK for os.Interrupt: CTRL_C does not reach a group that is not the console's own.
func signal(p *os.Process, s os.Signal) error {
	if s != os.Interrupt {
		return p.Signal(s)
	}
	generate := syscall.NewLazyDLL("kernel32.dll").NewProc("GenerateConsoleCtrlEvent")
	if ok, _, err := generate.Call(syscall.CTRL_BREAK_EVENT, uintptr(p.Pid)); ok == 0 {
		return os.NewSyscallError("GenerateConsoleCtrlEvent", err)
	}
	return nil
}
