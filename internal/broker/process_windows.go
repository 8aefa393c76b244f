package broker

import (
	"errors"
	"os/exec"
	"syscall"
)

// There are no native nodes on Windows, and so no signals for them.
const (
	sigStop = syscall.Signal(0)
	sigCont = syscall.Signal(0)
)

func ownGroup(*exec.Cmd) {}

func kill(int, syscall.Signal) error { return errors.ErrUnsupported }
