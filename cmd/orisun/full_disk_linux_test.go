package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/oexza/orisun/migrations/pgtest"
	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/server/eventtest"
)

// saveLarge saves an event that PostgreSQL cannot make small, and notes where it is.
func saveLarge(ctx context.Context, store orisunpb.EventStoreClient, acks *acknowledged, id string, size int) error {
	noise := make([]byte, size)
	for i := range noise {
		noise[i] = byte('a' + rand.N(26))
	}
	answer, err := store.SaveEvents(ctx, &orisunpb.SaveEventsRequest{
		Boundary: eventtest.Boundary,
		Events:   []*orisunpb.EventToSave{{EventId: id, EventType: "Large", Data: fmt.Sprintf(`{"noise": %q}`, noise)}},
	})
	if err == nil {
		acks.note(id, answer.GetLogPosition().GetGlobalId())
	}
	return err
}

// countLines counts the lines of a log that are a problem and say something.
func countLines(log, text string) (lines int) {
	for _, line := range problems(log) {
		if strings.Contains(line, text) {
			lines++
		}
	}
	return lines
}

// TestAFullDiskAtPostgreSQLIsAPause: saves wait for room, or end with their callers; reads are answered meanwhile.
func TestAFullDiskAtPostgreSQLIsAPause(t *testing.T) {
	const writers, each = 8, 10
	disk := newSmallDisk(t, "128m")
	server := launch(t, environment(t.TempDir(), "ORISUN_PG_DATA_DIR="+disk.dir+"/pg"), disk.enter...)
	store := connect(t, server.address)
	acks := &acknowledged{positions: map[string]int64{}}
	if err := saveLarge(t.Context(), store, acks, "before", 1000); err != nil {
		t.Fatal(err)
	}
	disk.fill(t, 0)

	var writing sync.WaitGroup
	for w := range writers {
		writing.Go(func() {
			for i := range each {
				if err := saveLarge(t.Context(), store, acks, fmt.Sprintf("w%d-%d", w, i), 40_000); err != nil {
					t.Errorf("writer %d, event %d: %v", w, i, err)
					return
				}
			}
		})
	}
	waitFor(t, func() bool { return countLines(server.logged(), "saves wait: PostgreSQL has no room for them") > 0 })
	impatient, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	again := &acknowledged{positions: map[string]int64{}}
	if err := saveLarge(impatient, store, again, "impatient", 40_000); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("a save with a deadline: %v", err)
	}
	code, ready := readyz(t, server)
	if code != http.StatusOK || ready.Checks["saves"].OK ||
		!strings.Contains(ready.Checks["saves"].Reason, "No space left on device") {
		t.Errorf("/readyz: %d, %+v", code, ready)
	}
	page, err := store.GetEvents(t.Context(), &orisunpb.GetEventsRequest{Boundary: eventtest.Boundary})
	if err != nil || len(page.GetEvents()) < 1 {
		t.Errorf("a read: %v, %v", page, err)
	}

	disk.makeRoom(t)
	writing.Wait()
	if err := saveLarge(t.Context(), store, acks, "impatient", 40_000); err != nil {
		t.Error(err)
	}
	if code, ready = readyz(t, server); code != http.StatusOK {
		t.Errorf("/readyz: %d, %+v", code, ready)
	}
	waitFor(t, func() bool { _, ready = readyz(t, server); return ready.Checks["saves"].OK })
	compare(t, store, acks)
	if n := len(acks.positions); n != writers*each+2 {
		t.Errorf("%d saves were acknowledged", n)
	}
	log := server.logged()
	if n, m := countLines(log, "no room"), strings.Count(log, `"msg":"saves are stored again"`); n != 1 || m != 1 {
		t.Errorf("that there is no room is logged %d times, and that there is again %d times", n, m)
	}
	// The impatient one is logged as well if its deadline passed at the server before the client called it off.
	if n := countLines(log, "gRPC call"); n > 1 {
		t.Errorf("%d calls are logged, the impatient one among them", n)
	}
}

// TestAFullDiskThatEndsOurOwnPostgreSQLIsLoggedInALineAndLosesNothing: PostgreSQL ends where it cannot write its log of
// changes.
func TestAFullDiskThatEndsOurOwnPostgreSQLIsLoggedInALineAndLosesNothing(t *testing.T) {
	disk := newSmallDisk(t, "128m")
	env := environment(t.TempDir(), "ORISUN_PG_DATA_DIR="+disk.dir+"/pg")
	server := launch(t, env, disk.enter...)
	store := connect(t, server.address)
	disk.fill(t, 12<<20) // less than the next file of that log
	acks := &acknowledged{positions: map[string]int64{}}
	for i := 0; ; i++ {
		if err := saveLarge(t.Context(), store, acks, "e"+strconv.Itoa(i), 40_000); err != nil {
			break // the server has ended, or is about to
		}
	}
	err := <-server.exited
	server.exited <- err
	server.signalled = syscall.SIGKILL // stop has nothing to signal
	wantOneLine := func(what, log string) {
		t.Helper()
		lines := problems(log)
		last := lines[len(lines)-1]
		if !strings.Contains(last, `"level":"ERROR","msg":"the server ends"`) ||
			!strings.Contains(last, "No space left on device") || !strings.Contains(last, disk.dir+"/pg/postgres.log") {
			t.Errorf("%s says\n%s", what, strings.Join(lines, ""))
		}
	}
	if code := server.cmd.ProcessState.ExitCode(); code != exitFailed {
		t.Errorf("exit code %d", code)
	}
	wantOneLine("its end", server.logged())
	code, output := runToEndBy(t, disk.enter, env)
	if code != exitFailed {
		t.Errorf("a start without room: exit code %d", code)
	}
	wantOneLine("a start without room", output)

	disk.makeRoom(t)
	store = connect(t, launch(t, env, disk.enter...).address)
	if err := saveLarge(t.Context(), store, acks, "after", 40_000); err != nil {
		t.Fatal(err)
	}
	compare(t, store, acks)
}

// TestAFullDiskAtJetStreamDelaysNoSaveAndHealsByItself: subscribers get what is saved meanwhile, and the stream gets it
// when there is room.
func TestAFullDiskAtJetStreamDelaysNoSaveAndHealsByItself(t *testing.T) {
	disk := newSmallDisk(t, "24m")
	server := launch(t, environment(t.TempDir(), append(outside(pgtest.Clone(t)), "ORISUN_NATS_STORE_DIR="+disk.dir)...),
		disk.enter...)
	store := connect(t, server.address)
	followed := eventtest.Open(t, store)
	saved := 0
	saveMore := func() {
		t.Helper()
		acks := &acknowledged{positions: map[string]int64{}}
		if err := saveLarge(t.Context(), store, acks, strconv.Itoa(saved), 20_000); err != nil {
			t.Fatal(err)
		}
		if acks.positions[strconv.Itoa(saved)] != int64(saved) || !eventtest.Expect(t, followed, saved) {
			t.Fatalf("event %d is saved at %v", saved, acks.positions)
		}
		saved++
	}
	for range 10 {
		saveMore()
	}
	recreated := regexp.MustCompile(`"msg":"recreating the stream","boundary":"` + eventtest.Boundary + `",`)
	// What JetStream gives back, when it recreates the stream, is filled as well.
	waitFor(t, func() bool {
		disk.fill(t, 0)
		saveMore()
		<-time.After(100 * time.Millisecond)
		return recreated.MatchString(server.logged())
	})
	waitFor(t, func() bool {
		disk.fill(t, 0)
		code, ready := readyz(t, server)
		return code == http.StatusOK && !ready.Checks["jetstream"].OK &&
			strings.Contains(ready.Checks["jetstream"].Reason, "no space left on device")
	})
	for text, most := range map[string]int{
		"NATS: ": 1, `again","boundary":"` + eventtest.Boundary: 1,
		`recreating the stream","boundary":"` + eventtest.Boundary: 1,
	} {
		if n := countLines(server.logged(), text); n != most {
			t.Errorf("%q is logged %d times:\n%s", text, n, strings.Join(problems(server.logged()), ""))
		}
	}

	disk.makeRoom(t)
	saveMore()
	waitFor(t, func() bool { _, ready := readyz(t, server); return ready.Checks["jetstream"].OK })
	saveMore()
	compareStream(t, store, server, whereItBegins)
}
