package client_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/oexza/orisun/client"
	"github.com/oexza/orisun/client/internal/testserver"
	"github.com/oexza/orisun/client/internal/wire"
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
	programs := [][]string{inGo, inNode, inPython}
	call := func(program []string, args, want string, fails bool) {
		t.Helper()
		args = strings.TrimSpace(args)
		out, err := run(node, program[0], slices.Concat(program[1:], strings.Fields(args))...)
		if (err != nil) != fails || !strings.Contains(out, want) {
			t.Errorf("%s %s: %v, %s\nwant %q", program[0], args, err, out, want)
		}
	}
	call(inGo, "open alice 100", "alice has 100", false)
	call(inNode, "open bob 0", "bob has 0", false)
	call(inPython, "open carol 5", "carol has 5", false)
	call(inGo, "alice bob 30", "bob has 30", false)
	call(inNode, "bob carol 20", "carol has 25", false)
	call(inPython, "carol alice 25", "alice has 95", false)
	for _, program := range programs { // all of them refuse the same
		for args, want := range map[string]string{
			"open alice 0":                  "account alice is open already",
			"open dave -5":                  "the amount must be positive",
			"bob alice 11":                  "the balance does not suffice: bob has 10",
			"bob dave 1":                    "bob and dave are not both open accounts",
			"dave bob 1":                    "dave and bob are not both open accounts",
			"constructor a 1":               "constructor and a are not both open accounts",
			"bob bob 1":                     "must differ",
			"bob alice -1":                  "must be positive",
			"bob alice 0":                   "must be positive",
			"":                              "usage:",
			"open dave":                     "usage:",
			"bob alice":                     "usage:",
			"bob alice 1 2":                 "usage:",
			"bob alice many":                "usage:",
			"bob alice 1e1":                 "usage:",
			"bob alice 9223372036854775808": "usage:",
		} {
			call(program, args, want, true)
		}
	}
	// Each has the numbers of its language: those of JavaScript end at 2^53.
	call(inPython, "open rich 9223372036854775800", "rich has 9223372036854775800", false)
	call(inGo, "alice rich 90", "the balance of rich becomes too large", true)
	call(inPython, "alice rich 90", "the balance of rich becomes too large", true)
	call(inNode, "bob alice 9007199254740992", "usage:", true)
	call(inNode, "open wealthy 9007199254740990", "wealthy has 9007199254740990", false)
	call(inNode, "alice wealthy 90", "the balance of wealthy becomes too large", true)
	// Another transfer comes between the reading and the saving of each: it reads that one, and decides once more.
	var interfere atomic.Bool
	interfering := startProxy(t, fault{page: func(*wire.GetEventsResponse) {
		if interfere.Swap(false) {
			moved := map[string]any{"from": "alice", "to": "bob", "amount": 1}
			_, err := c.Save(t.Context(), boundary, client.Always, client.NewEvent{Type: "MoneyTransferred", Data: moved})
			if err != nil {
				t.Error(err)
			}
		}
	}})
	env = append(env, "ORISUN_ADDRESS="+interfering)
	inGo[2] = "grpc://" + testserver.Credentials + "@" + interfering
	for i, program := range programs {
		interfere.Store(true)
		call(program, "alice bob 5", fmt.Sprintf("bob has %d", 10+6*(i+1)), false)
	}
	for _, program := range [][]string{inNode, inPython} {
		wrong := exec.CommandContext(t.Context(), program[0], program[1], "open", "eve", "1")
		wrong.Dir, wrong.Env = node, slices.Concat(env, []string{"ORISUN_USER=admin:wrong"})
		out, err := wrong.CombinedOutput()
		if err == nil || !strings.Contains(string(out), "UNAUTHENTICATED") || bytes.Count(out, []byte("\n")) != 1 {
			t.Errorf("%v with a wrong password: %v, %s", program, err, out)
		}
	}
	transfers := collect(t, c, boundary, client.Any(client.Type("MoneyTransferred")))
	if want := 3 + 2*len(programs); len(transfers) != want {
		t.Errorf("%d transfers are stored, want %d", len(transfers), want)
	}
}

func TestTheEnrolmentHoldsBothRules(t *testing.T) {
	boundary := newBoundary(t, dial(t, shared.URL))
	program := filepath.Join(t.TempDir(), "enrolment")
	build := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", program, "./enrolment")
	build.Dir = filepath.Join(testserver.Root(), "examples")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, step := range []struct{ args, want string }{
		{"-course maths -places 1", ""},
		{"-course maths -places 30", "enrolment: the course is offered already\n"},
		{"-course maths -student ann", ""},
		{"-course maths -student ann", ""},
		{"-course maths -student bob", "enrolment: the course is full\n"},
		{"-course magic -student bob", "enrolment: there is no such course\n"},
		{"-course maths", "enrolment: -course is needed, with either -student or -places\n"},
	} {
		args := append([]string{"-url", shared.URL, "-boundary", boundary}, strings.Fields(step.args)...)
		out, err := exec.CommandContext(t.Context(), program, args...).CombinedOutput()
		if string(out) != step.want || (err != nil) != (step.want != "") {
			t.Errorf("%s: %v, %q, want %q", step.args, err, out, step.want)
		}
	}
}
