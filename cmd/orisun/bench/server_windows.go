package bench

import "os/exec"

// apart does nothing: the server has no PostgreSQL of its own on Windows, so that none is started there.
func apart(*exec.Cmd) {}
