package main

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/server/eventtest"
)

// TestTheServerStaysSmallWhileAClientDoesNotRead measures the real process while 100,000 events of 1 KiB come, as fast
// as they are saved, of which one client reads nothing. Between two GCs the garbage of a fast load counts as well, so
// the bound during the load is the memory limit, and the bound of what is cached for the client is checked after it.
func TestTheServerStaysSmallWhileAClientDoesNotRead(t *testing.T) {
	const (
		limit   = 64 << 20
		events  = 100_000
		perSave = 100
	)
	server := launchWith(t)
	others, stalled := eventtest.Open(t, connect(t, server.address)), eventtest.Open(t, connect(t, server.address))
	client := connect(t, server.address)
	data := `{"pad": "` + strings.Repeat("x", 1<<10-len(`{"pad": ""}`)) + `"}`
	began := memoryOf(t, server)
	largest := began
	for from := 0; from < events; from += perSave {
		request := &orisunpb.SaveEventsRequest{Boundary: eventtest.Boundary}
		for i := range perSave {
			request.Events = append(request.Events, &orisunpb.EventToSave{
				EventId: fmt.Sprint(from + i), EventType: "T", Data: data,
			})
		}
		if _, err := client.SaveEvents(t.Context(), request); err != nil {
			t.Fatal(err)
		}
		for i := range perSave { // the others do not notice
			if !eventtest.Expect(t, others, from+i) {
				return
			}
		}
		if largest = max(largest, memoryOf(t, server)); largest > memoryLimit {
			t.Fatalf("after %d events the server has %s, more than its limit of %s", from+perSave, mebibytes(largest),
				mebibytes(memoryLimit))
		}
	}
	var left uint64
	waitFor(t, func() bool {
		left = memoryOf(t, server)
		return left <= began+limit
	})
	t.Logf("the server began with %s, had %s at most and has %s", mebibytes(began), mebibytes(largest), mebibytes(left))
	for i := range events {
		if !eventtest.Expect(t, stalled, i) {
			return
		}
	}
	server.stop(t, syscall.SIGTERM)
}

// memoryOf is what a process has of its own in memory, and not the pages of the program's file.
func memoryOf(t *testing.T, p *process) (bytes uint64) {
	t.Helper()
	file, err := os.Open("/proc/" + strconv.Itoa(p.cmd.Process.Pid) + "/status")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := file.Close(); err != nil {
			t.Error(err)
		}
	}()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if value, found := strings.CutPrefix(lines.Text(), "RssAnon:"); found {
			if _, err := fmt.Sscanf(value, "%d kB", &bytes); err != nil {
				t.Fatal(err)
			}
			return bytes << 10
		}
	}
	t.Fatal("/proc has no RssAnon")
	return 0
}
