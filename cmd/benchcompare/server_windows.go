package main

import "os/exec"

// apart does nothing: the server has no PostgreSQL of its own on Windows, so no server starts there.
func apart(*exec.Cmd) {}
