//go:build unix

package main

import (
	"os/exec"
	"syscall"
)

// apart protects the command from a Ctrl-C at our terminal. We signal it to end ourselves, once.
func apart(command *exec.Cmd) { command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }
