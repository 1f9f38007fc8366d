package postgres

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// passing are the capabilities that give access through closed directories, the weaker one first: containers often
// have the second alone.
var passing = [][]uintptr{{unix.CAP_DAC_READ_SEARCH}, {unix.CAP_DAC_OVERRIDE}}

// sysProcAttr gives the child its account and a process group of its own, so that a Ctrl-C in our terminal reaches us
// alone. The child gets a fast shutdown when the thread that started it ends.
func (a account) sysProcAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: a.credential, AmbientCaps: a.ambient, Setpgid: true, Pdeathsig: syscall.SIGINT}
}
