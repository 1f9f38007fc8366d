package main

import (
	"bytes"
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"mvdan.cc/sh/v3/interp"
	"mvdan.cc/sh/v3/syntax"
)

// programsFor makes commands as documentation prints them those of this test: which program, and which arguments.
func programsFor(t *testing.T, server *process) func(args []string) []string {
	t.Helper()
	transfer := filepath.Join(t.TempDir(), "transfer")
	build := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", transfer, "./transfer")
	build.Dir = "../../examples" // a module of its own
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return func(args []string) []string {
		switch {
		case args[0] == "orisun" && len(args) > 2 && args[1] == "user" && (args[2] == "create" || args[2] == "password"):
			// They ask for a password. The admin's stays the same, so that what follows comes in.
			return append([]string{"sh", "-c", `echo changeit | "$0" "$@"`, binary}, args[1:]...)
		case args[0] == "orisun":
			return append([]string{binary}, args[1:]...)
		case args[0] == "curl":
			for i, arg := range args {
				args[i] = strings.Replace(arg, "localhost:8991", server.http, 1)
			}
			return args
		case strings.HasPrefix(strings.Join(args, " "), "go run -C examples ./transfer "):
			return append([]string{transfer, "-url", "grpc://admin:changeit@" + server.address}, args[5:]...)
		default:
			return args
		}
	}
}

// runPrograms runs a script, and fails the test where it fails.
func runPrograms(t *testing.T, script string, programs func(args []string) []string) string {
	t.Helper()
	file, err := syntax.NewParser().Parse(strings.NewReader("set -e\n"+script), "docs")
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	shell, err := interp.New(interp.StdIO(nil, &out, &out), interp.ExecHandlers(func(next interp.ExecHandlerFunc) interp.ExecHandlerFunc {
		return func(ctx context.Context, args []string) error { return next(ctx, programs(args)) }
	}))
	if err != nil {
		t.Fatal(err)
	}
	if err := shell.Run(t.Context(), file); err != nil {
		t.Errorf("%s\n%v\n%s", script, err, out.String())
	}
	return out.String()
}
