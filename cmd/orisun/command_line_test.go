package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/oexza/orisun/migrations/pgtest"
	"github.com/oexza/orisun/server/config"
	"github.com/oexza/orisun/server/eventtest"
)

func TestAWrongCommandLineEndsWithTwoAndSaysWhatWasMeant(t *testing.T) {
	for args, want := range map[string]string{
		"lst":                                  `unknown command "lst" for "orisun": the commands are bench, `,
		"sav":                                  `unknown command "sav" for "orisun": did you mean save?`,
		"boundary lst":                         `unknown command "lst" for "orisun boundary": did you mean list?`,
		"boundary lst --json":                  `unknown command "lst" for "orisun boundary": did you mean list?`,
		"index lst orders":                     `did you mean list?`,
		"user remove jane":                     `unknown command "remove" for "orisun user": did you mean delete?`,
		"user zzzzzzzz":                        `the commands are create, delete, list, logout, password, roles`,
		"boundary":                             `orisun boundary needs a command: create, `,
		"help nosuch":                          `unknown command "nosuch" for "orisun"`,
		"help index crate":                     `unknown command "crate" for "orisun index": did you mean create?`,
		"completion fsh":                       `did you mean fish?`,
		"boundary list extra":                  `"extra"`,
		"get orders --cout 3":                  `unknown flag: --cout: did you mean --count?`,
		"--pg-prt 5":                           `did you mean --pg-port?`,
		"config --markdown --json":             `json`,
		"get orders --count -1":                `--count is "-1": it must be a whole number from 0 to 4294967295`,
		"get orders --count many":              `--count is "many": it must be a whole number from 0 to 4294967295`,
		"get orders --timeout 5":               `--timeout is "5": it must be a duration such as 10s`,
		"get orders --desc=perhaps":            `--desc is "perhaps": it must be true or false`,
		"bench --clients 1,x":                  `--clients is "1,x": it must be whole numbers`,
		"bench --rate fast":                    `--rate is "fast": it must be a number`,
		"get orders --after 1":                 `--after is "1": it must be start or a position such as 42/41`,
		"save orders --type T --expect latest": `--expect is "latest": it must be none or a position such as 42/41`,
		"save orders --type T --expect 1/0":    `--expect needs --where`,
		"save orders --type T --expect none":   `--expect needs --where`,
	} {
		code, output := runToEnd(t, nil, strings.Fields(args)...)
		if code != exitMisconfigured || !strings.HasPrefix(output, "orisun: ") || !strings.Contains(output, want) ||
			strings.Contains(output, "strconv") || strings.Contains(output, "Usage") {
			t.Errorf("orisun %s: exit code %d, want %d and %q:\n%s", args, code, exitMisconfigured, want, output)
		}
	}
}

func TestTheHelpOfEveryCommandFitsATerminal(t *testing.T) {
	root := newRootCommand()
	root.InitDefaultHelpCmd()
	commands := 0
	var look func(*cobra.Command)
	look = func(command *cobra.Command) {
		commands++
		args := strings.Fields(command.CommandPath() + " --help")[1:]
		code, output := runToEnd(t, nil, args...)
		if code != 0 || !strings.Contains(output, "\nUsage:\n") {
			t.Errorf("orisun %q: exit code %d, %s", args, code, output)
		}
		for line := range strings.Lines(output) {
			if utf8.RuneCountInString(strings.TrimRight(line, "\n")) > helpColumns {
				t.Errorf("orisun %q has a line of more than %d columns: %s", args, helpColumns, line)
			}
		}
		for _, sub := range command.Commands() {
			look(sub)
		}
	}
	look(root)
	if commands < 20 {
		t.Errorf("%d commands were looked at", commands)
	}
	if code, output := runToEnd(t, nil, "--version"); code != 0 ||
		output != "orisun v0.0.1-test commit abc123 built 2026-01-02\n" {
		t.Errorf("orisun --version: exit code %d, %q", code, output)
	}
}

func TestSaveTakesItsDataFromWhereverTheyAre(t *testing.T) {
	server := launchWith(t)
	file := filepath.Join(t.TempDir(), "data.json")
	if err := os.WriteFile(file, []byte("{\"from\": \"a file\"}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args  []string
		stdin string
		want  string // of data and metadata
	}{
		{nil, `{"a":1}`, `{"a":1} {}`},
		{nil, "", `{} {}`},
		{[]string{"--data", "-"}, "\n{\"a\": 2}\n", `{"a":2} {}`},
		{[]string{"--data", "@" + file}, `{"ignored": 1}`, `{"from":"a file"} {}`},
		{[]string{"--data", `{"a": 3}`, "--metadata", "@" + file}, `{"ignored": 1}`, `{"a":3} {"from":"a file"}`},
		{[]string{"--ask-password"}, "changeit\n{\"a\": 4}", `{"a":4} {}`},
	} {
		code, _, errOut := runOrisun(t, server, c.stdin,
			append([]string{"save", "orisun_test_1", "--type", "Foo"}, c.args...)...)
		if code != 0 {
			t.Errorf("save %q: exit code %d, %s", c.args, code, errOut)
		}
		_, out, _ := runOrisun(t, server, "", "get", "orisun_test_1", "--desc", "--count", "1", "--json")
		data, metadata, _ := strings.Cut(c.want, "} {")
		if !strings.Contains(out, `"data":`+data+"}") || !strings.Contains(out, `"metadata":{`+metadata) {
			t.Errorf("save %q of %q stored %s", c.args, c.stdin, out)
		}
	}
	for _, c := range []struct {
		args  []string
		stdin string
		want  string
	}{
		{nil, "", "the standard input holds no event"},
		{nil, `{"event_type": "T"} x`, "event 2 of the standard input"},
		{[]string{"--type", "T", "--data", "@/nowhere"}, "", "--data: open /nowhere"},
		{[]string{"--type", "T", "--metadata", "-"}, "{}", "--metadata is -"},
		{[]string{"--data", "{}"}, "", "give its --type"},
	} {
		code, _, errOut := runOrisun(t, server, c.stdin, append([]string{"save", "orisun_test_1"}, c.args...)...)
		if code != exitMisconfigured || !strings.Contains(errOut, c.want) {
			t.Errorf("save %q of %q: exit code %d, %s", c.args, c.stdin, code, errOut)
		}
	}
}

// The outputs of all commands with --json are one dialect: an object on each line, names as in the protocol, numbers as
// numbers, positions as 42/41.
func TestEveryCommandPrintsTheSameJSON(t *testing.T) {
	server := launch(t, environment(t.TempDir(), outside(pgtest.NewEmpty(t))...))
	run := func(args ...string) string {
		t.Helper()
		code, out, errOut := runOrisun(t, server, "", args...)
		if code != 0 {
			t.Fatalf("orisun %q: exit code %d, %s", args, code, errOut)
		}
		return out
	}
	run("boundary", "create", "orders", "--schema", "sales")
	for i := range 3 {
		run("save", "orders", "--type", "Placed", "--id", fmt.Sprint(i), "--data",
			fmt.Sprintf(`{"user_id": "%d", "n": 12345678901234567890}`, i))
	}
	run("index", "create", "orders", "user_id", "--field", "user_id")
	for _, c := range []struct {
		args  string
		lines int
		wants []string
	}{
		{
			"get orders --where user_id=1", 1,
			[]string{`"position":"2/1"`, `"event_id":"1"`, `"n":12345678901234567890`, `"metadata":{}`},
		},
		{"get orders --all", 3, []string{`"position":"1/0"`, `"position":"3/2"`}},
		{
			"latest orders --where user_id=1 --or --where user_id=x", 1,
			[]string{`"context_position":"2/1"`, `"criterion":{"tags":[{"key":"user_id","value":"1"}]}`, `"event":null`},
		},
		{"count orders", 1, []string{`"count":3`}},
		{
			"explain orders --where user_id=1", 1,
			[]string{`"events":1`, `"index":"orders_user_id_idx"`, `"served":true`, `"plan":{"Plan":{`},
		},
		{
			"index list orders", 1,
			[]string{
				`"name":"user_id"`, `"fields":[{"json_key":"user_id","value_type":"TEXT"}]`, `"state":"READY"`, `"scans":`,
			},
		},
		{
			"boundary get orders", 1,
			[]string{
				`"name":"orders"`, `"status":"ACTIVE"`, `"placement":{"backend":"postgres","namespace":"sales"}`,
				`"definition_position":"`, `"existed_before_catalog":false`,
			},
		},
		{"boundary list", 4, []string{`"definition_position":null`}},
		{"user list", 1, []string{`"username":"admin"`, `"roles":["admin"]`, `"created_at":"20`}},
		{"save orders --type Placed", 1, []string{`"position":"4/3"`}},
		{"version", 1, []string{`"version":"v0.0.1-test"`}},
		{"config", len(config.Read(nil, nil).Settings), []string{`"variable":"ORISUN_PG_PORT"`}},
	} {
		out := run(append(strings.Fields(c.args), "--json")...)
		if n := strings.Count(out, "\n"); n != c.lines {
			t.Errorf("orisun %s --json prints %d lines, want %d:\n%s", c.args, n, c.lines, out)
		}
		for line := range strings.Lines(out) {
			if !strings.HasPrefix(line, "{") || !strings.HasSuffix(line, "}\n") {
				t.Errorf("orisun %s --json prints the line %s", c.args, line)
			}
		}
		for _, want := range c.wants {
			if !strings.Contains(out, want) {
				t.Errorf("orisun %s --json lacks %s:\n%s", c.args, want, out)
			}
		}
	}
	if out := run("count", "orders"); out != "4\n" {
		t.Errorf("orisun count prints %s", out)
	}
	conflict := []string{"save", "orders", "--type", "Placed", "--where", "user_id=1", "--data", `{"user_id": "1"}`}
	if code, _, errOut := runOrisun(t, server, "", conflict...); code != exitContextChanged {
		t.Errorf("a save with a changed context has exit code %d: %s", code, errOut)
	}
	if out := run("conflicts", "orders"); !strings.Contains(out, "user_id=1") ||
		!strings.Contains(out, "\n1 conflict since ") || !strings.Contains(out, " UTC: 1 on node ") {
		t.Errorf("orisun conflicts prints %s", out)
	}
	if out := run("conflicts", "orders", "--json"); !strings.Contains(out, `"count":1`) ||
		!strings.Contains(out, `"value":"1"`) {
		t.Errorf("orisun conflicts --json prints %s", out)
	}
}

func TestGetAllPrintsEveryPage(t *testing.T) {
	server := launchWith(t)
	eventtest.Save(t, connect(t, server.address), "w", 0, 2*allCount+1)
	for args, want := range map[string]int{
		"--all": 2*allCount + 2, "--all --json": 2*allCount + 1, "--all --desc --where odd=true --json": allCount,
		"--all --after 2001/1999 --json": 1,
	} {
		code, out, errOut := runOrisun(t, server, "", append([]string{"get", eventtest.Boundary}, strings.Fields(args)...)...)
		if n := strings.Count(out, "\n"); code != 0 || n != want {
			t.Errorf("get %s: exit code %d, %d lines, want %d: %s", args, code, n, want, errOut)
		}
	}
}

func TestAServerThatDoesNotAnswerIsGivenUpAfterTheTimeout(t *testing.T) {
	config := pgtest.Clone(t)
	server := launch(t, environment(t.TempDir(), outside(config)...))
	_, release := holdPositions(t, config)
	defer release()
	code, _, errOut := runOrisun(t, server, "", "save", "orisun_test_1", "--type", "T", "--timeout", "50ms")
	if code != exitUnavailable ||
		!strings.Contains(errOut, "no answer within --timeout 50ms from "+server.address+": a change may have been made") {
		t.Errorf("exit code %d, %s", code, errOut)
	}
}

func TestShellsAreOfferedBoundariesIndexesAndUsers(t *testing.T) {
	server := launchWith(t)
	if code, _, errOut := runOrisun(t, server, "", "index", "create", "orisun_test_1", "by_user", "--field",
		"user_id"); code != 0 {
		t.Fatal(errOut)
	}
	for args, want := range map[string]string{
		"get ": "orisun_admin\tadmin boundary\norisun_test_1\tboundary1\n" +
			"orisun_test_2\tboundary2\n:4\n",
		"tail orisun_t":                "orisun_test_1\tboundary1\norisun_test_2\tboundary2\n:4\n",
		"count orisun_test_1 ":         ":4\n",
		"index drop orisun_test_1 ":    "by_user\n:4\n",
		"index drop orisun_test_1 x":   ":4\n",
		"user delete a":                "admin\tadmin\n:4\n",
		"user roles ":                  "admin\tadmin\n:4\n",
		"get --server 127.0.0.1:1 ":    ":4\n",
		"get --ask-password ":          ":4\n",
		"index advise orisun_test_2":   "orisun_test_2\tboundary2\n:4\n",
		"boundary get orisun_a":        "orisun_admin\tadmin boundary\n:4\n",
		"explain orisun_test_1 --wher": "--where\t",
	} {
		code, out, errOut := runOrisun(t, server, "", append([]string{"__complete"}, strings.Split(args, " ")...)...)
		if code != 0 || !strings.HasPrefix(out, want) {
			t.Errorf("%q is completed by %q, want %q; exit code %d, %s", args, out, want, code, errOut)
		}
	}
}
