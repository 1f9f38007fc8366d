package main

import (
	"cmp"
	"context"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

//go:embed preload/clock.c
var preload string

// buildPreload compiles the library that PostgreSQL loads first.
func buildPreload(ctx context.Context, path string) error {
	cc := cmp.Or(os.Getenv("CC"), "cc") //nolint:forbidigo // as every build does
	args := []string{"-O2", "-shared", "-fPIC", "-x", "c", "-o", path, "-"}
	compile := exec.CommandContext(ctx, cc, args...) //nolint:gosec // the user's own compiler
	compile.Stdin = strings.NewReader(preload)
	if output, err := compile.CombinedOutput(); err != nil {
		return fmt.Errorf("compile preload/clock.c, without which PostgreSQL's clock cannot jump (.ci/cc installs a "+
			"compiler): %w\n%s", err, output)
	}
	return os.Chmod(path, 0o755) //nolint:gosec // PostgreSQL's account loads it
}
