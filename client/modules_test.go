package client_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oexza/orisun/client/internal/testserver"
)

// `go install github.com/oexza/orisun/cmd/orisun@version` needs a module without replacements and exclusions.
func TestTheServersModuleCanBeInstalled(t *testing.T) {
	edit := exec.CommandContext(t.Context(), "go", "mod", "edit", "-json", filepath.Join(testserver.Root(), "go.mod"))
	out, err := edit.Output()
	if err != nil {
		t.Fatal(err)
	}
	var module struct {
		Module           struct{ Path string }
		Require          []struct{ Path string }
		Replace, Exclude []any
	}
	if err := json.Unmarshal(out, &module); err != nil {
		t.Fatal(err)
	}
	if len(module.Replace) > 0 || len(module.Exclude) > 0 || len(module.Require) == 0 {
		t.Errorf("%+v", module)
	}
	for _, required := range module.Require {
		if strings.HasPrefix(required.Path, module.Module.Path) {
			t.Errorf("it requires %s, which has no version of its own", required.Path)
		}
	}
}

// A program links the client beside messages of package orisun, as other clients of this protocol have them. protobuf
// ends a program whose messages collide when it starts.
func TestTheMessagesDoNotCollideWithThoseOfAnotherClient(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod": "module both\n\ngo 1.26.0\n",
		"go.work": "go 1.26.0\n\nuse (\n\t.\n\t" + testserver.Root() + "\n\t" +
			filepath.Join(testserver.Root(), "client") + "\n)\n",
		"main.go": `package main

import (
	"fmt"

	"github.com/oexza/orisun/client"
	orisunpb "github.com/oexza/orisun/proto"
)

func main() {
	fmt.Print(client.Type("T"), " ", new(orisunpb.Event).ProtoReflect().Descriptor().FullName())
}
`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run := exec.CommandContext(t.Context(), "go", "run", ".")
	run.Dir, run.Env = dir, append(os.Environ(), "GOWORK="+filepath.Join(dir, "go.work"))
	if out, err := run.CombinedOutput(); err != nil || string(out) != "[{event_type T}] orisun.Event" {
		t.Errorf("%v: %s", err, out)
	}
}
