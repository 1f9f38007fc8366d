package main

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A command that waits for its input ends with the first signal.
func TestAnInterruptEndsACommandThatReads(t *testing.T) {
	for _, args := range [][]string{
		{"save", "orisun_test_1"},
		{"save", "orisun_test_1", "--type", "T"},
		{"user", "create", "jane", "--role", "user"},
		{"user", "list", "--ask-password"},
	} {
		input, writer, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), binary, args...)
		cmd.Env = []string{"ORISUN_URL=127.0.0.1:1"}
		var said output
		cmd.Stdin, cmd.Stderr = input, &said
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := writer.WriteString("{"); err != nil {
			t.Fatal(err)
		}
		waitFor(t, func() bool {
			unread, err := unix.IoctlGetInt(int(input.Fd()), unix.TIOCINQ)
			if err != nil {
				t.Fatal(err)
			}
			return unread == 0
		})
		if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		select {
		case err := <-ended:
			if err == nil {
				t.Errorf("orisun %q ends well", args)
			}
		case <-time.After(startTimeout):
			t.Fatalf("orisun %q does not end", args)
		}
		if cmd.ProcessState.ExitCode() != exitFailed || !strings.Contains(said.String(), "interrupted: nothing is changed") {
			t.Errorf("orisun %q ends with %v, %s", args, cmd.ProcessState, said.String())
		}
		for _, end := range []*os.File{input, writer} {
			if err := end.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestCommandsTalkToAPersonInATerminal(t *testing.T) {
	server := launchWith(t)
	env := []string{"ORISUN_URL=" + server.address}
	typed := func(v *terminal, after, keys string) {
		t.Helper()
		waitFor(t, func() bool { return strings.Contains(v.text(), after) })
		if _, err := v.person.WriteString(keys); err != nil {
			t.Fatal(err)
		}
	}
	waits := inTerminal(t, env, "save", "orisun_test_1")
	typed(waits, "reading events, JSON objects with event_id, event_type, data and metadata; Ctrl-D ends, Ctrl-C saves "+
		"nothing", "\x03")
	if err := <-waits.ended; err == nil {
		t.Error("an interrupted save ends well")
	}
	saves := inTerminal(t, env, "save", "orisun_test_1")
	typed(saves, "Ctrl-D ends", `{"event_id": "typed", "event_type": "T", "data": {}}`+"\n\x04")
	if err := <-saves.ended; err != nil {
		t.Errorf("%v: %s", err, saves.text())
	}
	empty := inTerminal(t, env, "save", "orisun_test_1", "--type", "T")
	if err := <-empty.ended; err != nil {
		t.Errorf("in a terminal an event without --data: %v: %s", err, empty.text())
	}
	if _, out, _ := runOrisun(t, server, "", "count", "orisun_test_1"); out != "2\n" {
		t.Errorf("there are %s events", out)
	}

	if output, ok := command(t, "s3cret-1\n", env, "user", "create", "jane", "--role", "user"); !ok {
		t.Fatal(output)
	}
	for keys, ends := range map[string]string{
		"no\n": "not confirmed: nothing is changed", "\x03": "interrupted: nothing is changed", "y\n": "not confirmed",
	} {
		refused := inTerminal(t, env, "user", "delete", "jane")
		typed(refused, "Delete user jane? Type yes to go on: ", keys)
		if err := <-refused.ended; err == nil {
			t.Errorf("%q deletes a user", keys)
		}
		waitFor(t, func() bool { return strings.Contains(refused.text(), ends) })
	}
	agreed := inTerminal(t, env, "user", "delete", "jane")
	typed(agreed, "Type yes to go on: ", "yes\n")
	if err := <-agreed.ended; err != nil {
		t.Errorf("%v: %s", err, agreed.text())
	}
	waitFor(t, func() bool { return strings.Contains(agreed.text(), "deleted user jane; its sessions end") })
}
