//go:build !linux

package main

import "syscall"

// diesWithUs can do no more here than to keep the terminal's interrupt from the process.
func diesWithUs() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
