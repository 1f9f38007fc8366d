package client_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/oexza/orisun/client"
	"github.com/oexza/orisun/client/internal/testserver"
)

// The same transfer in Go, Node.js and Python, all on the same accounts. .ci/programs installs what they need.
func TestTheTransferInThreeLanguages(t *testing.T) {
	c := dial(t, shared.URL)
	boundary := newBoundary(t, c)
	env := append(
		os.Environ(),
		"ORISUN_ADDRESS="+shared.Address,
		"ORISUN_USER="+testserver.Credentials,
		"ORISUN_BOUNDARY="+boundary,
	)
	run := func(dir, name string, args ...string) (string, error) {
		command := exec.CommandContext(t.Context(), name, args...)
		command.Dir, command.Env = dir, env
		out, err := command.CombinedOutput()
		return string(out), err
	}
	work := t.TempDir()
	build := func(dir, name string, args ...string) {
		t.Helper()
		if out, err := run(dir, name, args...); err != nil {
			t.Fatalf("%s %v: %v\n%s", name, args, err, out)
		}
	}
	root := testserver.Root()
	program, node := filepath.Join(work, "transfer"), filepath.Join(work, "examples", "node")
	build(filepath.Join(root, "examples"), "go", "build", "-buildvcs=false", "-o", program, "./transfer")
	if err := os.CopyFS(node, os.DirFS(filepath.Join(root, "examples", "node"))); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(root, "proto"), filepath.Join(work, "proto")); err != nil {
		t.Fatal(err)
	}
	build(node, "npm", "install", "--no-audit", "--no-fund", "--silent")
	inGo := []string{program, "-url", shared.URL, "-boundary", boundary}
	inNode := []string{"node", "transfer.js"}
	inPython := []string{"/usr/bin/python3", filepath.Join(root, "examples", "python", "transfer.py")}
	for _, step := range []struct {
		program []string
		args    string
		want    string // "" is success without output
		fails   bool
	}{
		{inGo, "open alice 100", "alice has 100", false},
		{inGo, "open alice 0", `account "alice" is open already`, true},
		{inGo, "open bob 0", "bob has 0", false},
		{inNode, "open erin 0", "", false},
		{inPython, "open carol 5", "", false},
		{inGo, "alice bob 30", "bob has 30", false},
		{inNode, "transfer bob carol 20", "bob has 10, carol has 25", false},
		{inPython, "transfer carol alice 25", "carol has 0, alice has 95", false},
		{inGo, "bob alice 11", "the balance does not suffice: bob has 10", true},
		{inNode, "transfer bob alice 11", "the balance does not suffice: bob has 10", true},
		{inPython, "transfer bob alice 11", "the balance does not suffice: bob has 10", true},
		{inGo, "bob dave 1", `"bob" and "dave" are not both open accounts`, true},
		{inGo, "dave bob 1", `"dave" and "bob" are not both open accounts`, true},
		{inNode, "transfer bob dave 1", "there is no account dave", true},
		{inNode, "transfer dave bob 1", "there is no account dave", true},
		{inPython, "transfer bob dave 1", "there is no account dave", true},
		{inPython, "transfer dave bob 1", "there is no account dave", true},
		{inNode, "open alice 0", "account alice is open already", true},
		{inPython, "open alice 0", "account alice is open already", true},
		{inGo, "open dave -5", "the amount must be positive", true},
		{inNode, "open dave -5", "a balance that is not negative", true},
		{inPython, "open dave -5", "a balance that is not negative", true},
		{inGo, "bob bob 1", "must differ", true},
		{inNode, "transfer bob bob 1", "must differ", true},
		{inPython, "transfer bob bob 1", "must differ", true},
		{inGo, "bob alice -1", "must be positive", true},
		{inGo, "bob alice 0", "must be positive", true},
		{inNode, "transfer bob alice -1", "must be positive", true},
		{inNode, "transfer bob alice 0", "must be positive", true},
		{inPython, "transfer bob alice -1", "must be positive", true},
		{inPython, "transfer bob alice 0", "must be positive", true},
		{inGo, "bob alice many", "usage:", true},
		{inNode, "transfer bob alice many", "usage:", true},
		{inPython, "transfer bob alice many", "usage:", true},
		{inGo, "bob alice", "usage:", true},
		{inGo, "bob alice 1 2", "usage:", true},
		{inNode, "", "usage:", true},
		{inPython, "", "usage:", true},
		{inNode, "open dave", "usage:", true},
		{inGo, "bob alice 9223372036854775808", "usage:", true},
		{inNode, "transfer bob alice 9007199254740992", "usage:", true},
		{inPython, "transfer bob alice 9223372036854775808", "usage:", true},
		{inPython, "open rich 9223372036854775800", "", false},
		{inGo, "alice rich 90", "the balance of rich becomes too large", true},
		{inPython, "transfer alice rich 90", "the balance of rich becomes too large", true},
		{inNode, "open wealthy 9007199254740990", "", false},
		{inNode, "transfer alice wealthy 90", "the balance of wealthy becomes too large", true},
	} {
		args := slices.Concat(step.program[1:], strings.Fields(step.args))
		out, err := run(node, step.program[0], args...)
		if (err != nil) != step.fails || !strings.Contains(out, step.want) || step.want == "" && out != "" {
			t.Errorf("%v: %v, %s\nwant %q", args, err, out, step.want)
		}
	}
	for _, program := range [][]string{inNode, inPython} {
		wrong := exec.CommandContext(t.Context(), program[0], program[1], "open", "eve", "1")
		wrong.Dir, wrong.Env = node, slices.Concat(env, []string{"ORISUN_USER=admin:wrong"})
		out, err := wrong.CombinedOutput()
		if err == nil || !strings.Contains(string(out), "UNAUTHENTICATED") || bytes.Count(out, []byte("\n")) != 1 {
			t.Errorf("%v with a wrong password: %v, %s", program, err, out)
		}
	}
	if transfers := collect(t, c, boundary, client.Any(client.Type("MoneyTransferred"))); len(transfers) != 3 {
		t.Errorf("%d transfers are stored", len(transfers))
	}
}
