package main

import (
	"context"
	"fmt"
	"os/exec"
)

// build compiles the server into a folder.
func build(ctx context.Context, dir string, tags string) (binary string, err error) {
	binary = dir + "/orisun"
	compile := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-tags", tags, "-o", binary,
		"github.com/oexza/orisun/cmd/orisun")
	if output, err := compile.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the server: %w\n%s", err, output)
	}
	return binary, nil
}
