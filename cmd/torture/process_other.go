//go:build !linux

package main

import "syscall"

// diesWithUs can here only protect the process from the terminal's interrupt.
func diesWithUs() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
