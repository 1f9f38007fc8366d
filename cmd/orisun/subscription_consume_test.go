//go:build unix

package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/server/eventtest"
	"github.com/oexza/orisun/server/servertest"
)

// worker is an `orisun subscription consume` of the real binary. Its program runs in a folder of the test, where it
// leaves and finds files.
type worker struct {
	t           *testing.T
	cmd         *exec.Cmd
	out, errors output
	ended       chan error
}

func startWorker(t *testing.T, server *servertest.Server, folder, program string, args ...string) *worker {
	t.Helper()
	args = append([]string{"subscription", "consume", eventtest.Boundary, "mailer", "--exec", program}, args...)
	w := &worker{t: t, cmd: exec.Command(binary, args...), ended: make(chan error, 1)}
	w.cmd.Dir = folder
	w.cmd.Env = []string{"ORISUN_URL=grpc://admin:changeit@" + server.Address, "PATH=" + os.Getenv("PATH")}
	w.cmd.Stdout, w.cmd.Stderr = &w.out, &w.errors
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { w.ended <- w.cmd.Wait() }()
	t.Cleanup(func() {
		w.signal(syscall.SIGKILL)
		if err := <-w.ended; err != nil {
			t.Logf("the worker ended: %v", err)
		}
	})
	return w
}

func (w *worker) signal(signal syscall.Signal) {
	w.t.Helper()
	if err := w.cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		w.t.Error(err)
	}
}

// end signals the worker and returns how it ended.
func (w *worker) end(signal syscall.Signal) error {
	w.t.Helper()
	w.signal(signal)
	err := <-w.ended
	w.ended <- err
	return err
}

// await waits until a condition holds.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	timeout, poll := time.NewTimer(startTimeout), time.NewTicker(10*time.Millisecond)
	defer timeout.Stop()
	defer poll.Stop()
	for !holds() {
		select {
		case <-poll.C:
		case <-timeout.C:
			t.Fatalf("%s: not within %s", what, startTimeout)
		}
	}
}

func exists(path string) func() bool {
	return func() bool {
		_, err := os.Stat(path)
		return err == nil
	}
}

func touch(t *testing.T, path string) {
	t.Helper()
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

// commands runs client commands of the real binary against one server.
type commands struct {
	t      *testing.T
	server *servertest.Server
}

// run returns what a command prints. Its exit code must be code.
func (c commands) run(code int, args ...string) string {
	c.t.Helper()
	got, out, errOut := runOrisun(c.t, &process{address: c.server.Address}, "", args...)
	if got != code {
		c.t.Fatalf("orisun %s: exit code %d, want %d: %s%s", strings.Join(args, " "), got, code, out, errOut)
	}
	return out + errOut
}

func (c commands) want(text string, args ...string) {
	c.t.Helper()
	if got := c.run(0, args...); !strings.Contains(got, text) {
		c.t.Errorf("orisun %s prints %q, want %q", strings.Join(args, " "), got, text)
	}
}

func TestConsumeRunsAProgramForEachEventAndParksWhatItRefuses(t *testing.T) {
	server := servertest.Start(t)
	eventtest.Save(t, orisunpb.NewEventStoreClient(server.Dial(t)), "w", 0, 4)
	c := commands{t, server}
	const b = eventtest.Boundary
	c.want("mailer", "subscription", "create", b, "mailer", "--max-refusals", "2")
	folder := t.TempDir()
	// The second event is refused with bytes that are no UTF-8. The last event leaves without reading its input.
	w := startWorker(t, server, folder, `
		read -r event
		case "$event" in
		*'"w-1"'*) test -e healed || { echo first >&2; printf 'no \377 address\n\n' >&2; exit 3; };;
		*'"w-3"'*) exec true;;
		esac
		printf '%s\n' "$event"`, "--name", "shell")
	last := formatPosition(eventtest.Stored(t, orisunpb.NewEventStoreClient(server.Dial(t)), nil)[3].GetPosition())
	c.want(last, "subscription", "wait", b, "mailer", last, "--timeout", "60s")
	parked := c.run(0, "subscription", "parked", b, "mailer")
	reason := "2         no \uFFFD address"
	if lines := strings.Split(parked, "\n"); len(lines) != 3 || !strings.Contains(lines[1], reason) {
		t.Errorf("parked:\n%s", parked)
	}
	if got := c.run(0, "subscription", "show", b, "mailer"); !strings.Contains(got, "shell") {
		t.Errorf("show:\n%s", got)
	}
	if got := w.errors.String(); strings.Count(got, "first\n") != 2 {
		t.Errorf("on standard error: %q", got)
	}
	if got := w.out.String(); strings.Count(got, "\n") != 2 || !strings.Contains(got, `"event_id":"w-0"`) {
		t.Errorf("on standard output: %q", got)
	}

	touch(t, filepath.Join(folder, "healed"))
	c.want("1 parked event is delivered again", "subscription", "replay", b, "mailer", "--all")
	await(t, "the event is replayed", func() bool { return strings.Contains(w.out.String(), `"w-1"`) })
	await(t, "nothing is parked", func() bool {
		return !strings.Contains(c.run(0, "subscription", "parked", b, "mailer"), "address")
	})
	if err := w.end(syscall.SIGTERM); err != nil {
		t.Errorf("%v: %s", err, w.errors.String())
	}
	c.want("0 parked events are removed", "subscription", "skip", b, "mailer", "--all")
	c.want("-1/-1", "subscription", "reset", b, "mailer", "--to", "beginning", "--yes")
	c.want("mailer", "subscription", "list", b)
	late := c.run(1, "subscription", "wait", b, "mailer", last, "--timeout", "10ms")
	if !strings.Contains(late, "the subscription is at {-1,-1} after 10ms") {
		t.Errorf("wait: %s", late)
	}
	c.want("deleted subscription mailer", "subscription", "delete", b, "mailer", "--yes")
	if got := c.run(1, "subscription", "consume", b, "mailer", "--exec", "true"); !strings.Contains(got, "mailer") {
		t.Errorf("consume of a subscription that is deleted: %s", got)
	}
}

// blocking is a program that says which event it has, and waits until the test lets it go on, or its folder is removed.
const blocking = `read -r event
	case "$event" in
	*'"w-0"'*) touch begun-0; while test -e begun-0 && ! test -e proceed; do sleep 0.05; done;;
	*) touch begun-1;;
	esac`

func TestAnInterruptFinishesTheEventInHand(t *testing.T) {
	server := servertest.Start(t)
	store := orisunpb.NewEventStoreClient(server.Dial(t))
	eventtest.Save(t, store, "w", 0, 2)
	c := commands{t, server}
	c.run(0, "subscription", "create", eventtest.Boundary, "mailer")
	folder := t.TempDir()
	w := startWorker(t, server, folder, blocking)
	await(t, "the program begins", exists(filepath.Join(folder, "begun-0")))
	w.signal(syscall.SIGINT)
	await(t, "it says so", func() bool { return strings.Contains(w.errors.String(), "finishing 1 event in hand") })
	select {
	case err := <-w.ended:
		t.Fatalf("it ended with an event in hand: %v", err)
	default:
	}
	touch(t, filepath.Join(folder, "proceed"))
	if err := <-w.ended; err != nil {
		t.Errorf("%v: %s", err, w.errors.String())
	}
	w.ended <- nil
	if exists(filepath.Join(folder, "begun-1"))() {
		t.Error("the second event was begun")
	}
	first := formatPosition(eventtest.Stored(t, store, nil)[0].GetPosition())
	c.want(first, "subscription", "wait", eventtest.Boundary, "mailer", first)
	c.want(first, "subscription", "list", eventtest.Boundary)
}

func TestAnEventOfAWorkerThatIsKilledGoesToAnother(t *testing.T) {
	server := servertest.Start(t)
	store := orisunpb.NewEventStoreClient(server.Dial(t))
	eventtest.Save(t, store, "w", 0, 2)
	c := commands{t, server}
	c.run(0, "subscription", "create", eventtest.Boundary, "mailer", "--ack-timeout", "1h")
	first, second := t.TempDir(), t.TempDir()
	w := startWorker(t, server, first, blocking)
	await(t, "the first program begins", exists(filepath.Join(first, "begun-0")))
	touch(t, filepath.Join(second, "proceed"))
	standby := startWorker(t, server, second, blocking)
	await(t, "the second consumer is there", func() bool {
		return strings.Count(c.run(0, "subscription", "show", eventtest.Boundary, "mailer"), "127.0.0.1") == 2
	})
	if exists(filepath.Join(second, "begun-0"))() {
		t.Error("two consumers have an event at the same time")
	}
	if err := w.end(syscall.SIGKILL); err == nil {
		t.Error("it ended well")
	}
	await(t, "the event goes to the second", exists(filepath.Join(second, "begun-0")))
	last := formatPosition(eventtest.Stored(t, store, nil)[1].GetPosition())
	c.want(last, "subscription", "wait", eventtest.Boundary, "mailer", last, "--timeout", "60s")
	touch(t, filepath.Join(first, "proceed")) // the program of the killed worker ends, too
	if err := standby.end(syscall.SIGTERM); err != nil {
		t.Errorf("%v: %s", err, standby.errors.String())
	}
}

// The partition is assigned to the same worker again while its program runs: the settlement is of the new delivery.
func TestAnEventWhosePartitionMovedAwayAndBackIsSettled(t *testing.T) {
	server := servertest.Start(t)
	conn := server.Dial(t)
	store, subscriptions := orisunpb.NewEventStoreClient(conn), orisunpb.NewSubscriptionsClient(conn)
	eventtest.Save(t, store, "w", 0, 1)
	c := commands{t, server}
	c.run(0, "subscription", "create", eventtest.Boundary, "mailer", "--ack-timeout", "1h")
	folder := t.TempDir()
	w := startWorker(t, server, folder, blocking)
	await(t, "the program begins", exists(filepath.Join(folder, "begun-0")))
	state := func() *orisunpb.SubscriptionPartition {
		got, err := subscriptions.GetSubscription(t.Context(),
			&orisunpb.GetSubscriptionRequest{Boundary: eventtest.Boundary, Name: "mailer"})
		if err != nil {
			t.Fatal(err)
		}
		return got.GetSubscription().GetPartitionStates()[0]
	}
	epoch := state().GetEpoch()
	db, err := pgx.ConnectConfig(t.Context(), server.Database)
	if err != nil {
		t.Fatal(err)
	}
	_, err = db.Exec(t.Context(), "DELETE FROM orisun.subscription_node") // as if the lease had ended
	if err := errors.Join(err, db.Close(t.Context())); err != nil {
		t.Fatal(err)
	}
	await(t, "the event is delivered in a new epoch", func() bool {
		now := state()
		return now.GetEpoch() > epoch && now.GetOldestUnacknowledged() != nil
	})
	touch(t, filepath.Join(folder, "proceed"))
	last := formatPosition(eventtest.Stored(t, store, nil)[0].GetPosition())
	c.want(last, "subscription", "wait", eventtest.Boundary, "mailer", last, "--timeout", "60s")
	if err := w.end(syscall.SIGTERM); err != nil {
		t.Errorf("%v: %s", err, w.errors.String())
	}
}
