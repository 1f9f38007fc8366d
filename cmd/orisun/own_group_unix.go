//go:build unix

package main

import (
	"os/exec"
	"syscall"
)

// ownGroup keeps a terminal's Ctrl-C from a program, so that it finishes the event in hand.
func ownGroup(run *exec.Cmd) { run.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }
