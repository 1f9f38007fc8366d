package client_test

import (
	"bytes"
	"go/format"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/oexza/orisun/client/internal/testserver"
)

// The program in the README runs as printed, but for the address, in a module that has nothing but the client.
func TestTheProgramOfTheREADMERuns(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join(testserver.Root(), "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	program := regexp.MustCompile("(?s)```go\n(.*?)```").FindSubmatch(readme)
	if program == nil {
		t.Fatal("README.md has no program in Go")
	}
	// All lines count: imports, blank lines, the closing brace.
	if lines := strings.Count(string(program[1]), "\n"); lines > 20 {
		t.Errorf("it has %d lines, and README says 20", lines)
	}
	if formatted, err := format.Source(program[1]); err != nil || !bytes.Equal(formatted, program[1]) {
		t.Errorf("it is not formatted: %v", err)
	}
	if lines := bytes.Count(readme, []byte("\n")); lines > 200 {
		t.Errorf("README.md has %d lines", lines)
	}
	module := t.TempDir()
	sums, err := os.ReadFile("go.sum")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"main.go": strings.Replace(string(program[1]), "localhost:5005", shared.Address, 1),
		"go.sum":  string(sums),
		"go.mod": "module first\n\ngo 1.26.0\n\nrequire github.com/oexza/orisun/client v0.0.0\n\n" +
			"replace github.com/oexza/orisun/client => " + filepath.Join(testserver.Root(), "client") + "\n",
	} {
		if err := os.WriteFile(filepath.Join(module, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{"<nil>", "the username carol is taken"} {
		run := exec.CommandContext(t.Context(), "go", "run", "-mod=mod", ".")
		run.Dir = module
		out, err := run.CombinedOutput()
		if err != nil || !strings.Contains(string(out), want) {
			t.Errorf("%v: %s\nwant %q", err, out, want)
		}
	}
}
