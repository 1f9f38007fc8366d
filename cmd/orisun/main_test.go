package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/oexza/orisun/migrations/pgtest"
)

// binary is the program as users run it, built once for the tests that kill it or talk to it from outside.
var binary string

func TestMain(m *testing.M) {
	if settings, ok := os.LookupEnv(crowdEnv); ok {
		if err := crowdMain(settings); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if _, ok := os.LookupEnv(attackEnv); ok { // a child of TestSoak: the server runs already
		os.Exit(m.Run())
	}
	os.Exit(func() (code int) {
		directory, err := os.MkdirTemp("", "orisun-binary-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer func() {
			if err := os.RemoveAll(directory); err != nil {
				fmt.Fprintln(os.Stderr, err)
				code = 1
			}
		}()
		binary = filepath.Join(directory, "orisun")
		const linked = "github.com/oexza/orisun/server/version."
		build := exec.CommandContext(context.Background(), "go", "build", "-buildvcs=false",
			"-ldflags", "-X "+linked+"version=v0.0.1-test -X "+linked+"commit=abc123 -X "+linked+"date=2026-01-02", "-o",
			binary, ".")
		build.Stderr = os.Stderr
		if err := build.Run(); err != nil {
			fmt.Fprintln(os.Stderr, "build the binary under test:", err)
			return 1
		}
		return pgtest.Run(m)
	}())
}
