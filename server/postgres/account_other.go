//go:build unix && !linux

package postgres

import "syscall"

// passing is empty: other systems have no capabilities to give to a child.
var passing [][]uintptr

// sysProcAttr gives the child its account and a process group of its own, so that a Ctrl-C in our terminal reaches us
// alone.
func (a account) sysProcAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: a.credential, Setpgid: true}
}
