package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/oexza/orisun/server/eventtest"
)

// terminal is one that a command of the real binary runs in.
type terminal struct {
	t      *testing.T
	person *os.File // the side where a person would sit
	ended  chan error

	mu    sync.Mutex
	shown bytes.Buffer
}

func inTerminal(t *testing.T, environment []string, args ...string) *terminal {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(person.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(person.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	line, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), binary, args...)
	cmd.Env = environment
	cmd.Stdin, cmd.Stdout, cmd.Stderr = line, line, line
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	terminal := &terminal{t: t, person: person, ended: make(chan error, 1)}
	go func() { terminal.ended <- cmd.Wait() }()
	read := make(chan struct{})
	go func() {
		defer close(read)
		var some [256]byte
		for {
			n, err := person.Read(some[:])
			terminal.mu.Lock()
			terminal.shown.Write(some[:n])
			terminal.mu.Unlock()
			if err != nil { // the line is closed
				return
			}
		}
	}()
	t.Cleanup(func() {
		if err := line.Close(); err != nil {
			t.Error(err)
		}
		<-read
		if err := person.Close(); err != nil {
			t.Error(err)
		}
	})
	return terminal
}

func (v *terminal) text() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.shown.String()
}

func (v *terminal) shows() bool {
	v.t.Helper()
	settings, err := unix.IoctlGetTermios(int(v.person.Fd()), unix.TCGETS)
	if err != nil {
		v.t.Fatal(err)
	}
	return settings.Lflag&unix.ECHO != 0
}

// answer types keys where a prompt stands and nothing is shown.
func (v *terminal) answer(prompt, keys string) {
	v.t.Helper()
	waitFor(v.t, func() bool { return strings.HasSuffix(v.text(), prompt) && !v.shows() })
	if _, err := v.person.WriteString(keys); err != nil {
		v.t.Fatal(err)
	}
}

func TestPasswordsAreAskedForInATerminalAndNotShown(t *testing.T) {
	server := launchWith(t)
	create := func(username string) *terminal {
		return inTerminal(t, []string{"ORISUN_URL=" + server.address}, "user", "create", username, "--role", "user",
			"--ask-password")
	}
	created := create("janedoe")
	created.answer("Password of admin: ", "changeit\n")
	created.answer("New password: ", "s3cret-1\n")
	created.answer("Once more: ", "s3cret-1\n")
	if err := <-created.ended; err != nil || !created.shows() {
		t.Errorf("%v, the terminal shows what is typed: %v", err, created.shows())
	}
	waitFor(t, func() bool { return strings.Contains(created.text(), "created user janedoe") })
	for _, secret := range []string{"changeit", "s3cret"} {
		if strings.Contains(created.text(), secret) {
			t.Errorf("the terminal shows %q", created.text())
		}
	}
	if output, ok := command(t, "", []string{"ORISUN_URL=grpc://janedoe:s3cret-1@" + server.address}, "get",
		eventtest.Boundary); !ok {
		t.Errorf("the user cannot log in: %s", output)
	}

	differing := create("joe")
	differing.answer("Password of admin: ", "changeit\n")
	differing.answer("New password: ", "s3cret-1\n")
	differing.answer("Once more: ", "s3cret-2\n")
	interrupted := create("joe")
	interrupted.answer("Password of admin: ", "changeit\n")
	interrupted.answer("New password: ", "s3\x03")
	for name, left := range map[string]*terminal{"two passwords": differing, "an interrupt": interrupted} {
		if err := <-left.ended; err == nil || !left.shows() {
			t.Errorf("%s: %v, the terminal shows what is typed: %v", name, err, left.shows())
		}
		waitFor(t, func() bool { return strings.Contains(left.text(), "nothing is changed") })
	}
	if output, ok := command(t, "", []string{"ORISUN_URL=" + server.address}, "user", "list"); !ok ||
		strings.Contains(output, "joe") {
		t.Errorf("the users are %s", output)
	}
}
