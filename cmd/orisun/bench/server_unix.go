//go:build unix

package bench

import (
	"os/exec"
	"syscall"
)

// apart keeps a Ctrl-C at our terminal from the command: we tell it to end ourselves, once.
func apart(command *exec.Cmd) { command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }
