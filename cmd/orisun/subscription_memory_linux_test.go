package main

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/server/eventtest"
)

// TestTheServerStaysSmallWhileAClientDoesNotRead measures the real process from its start on, while 100,000 events of
// 1 KiB come within a minute of which one client reads nothing.
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
	pace := time.NewTicker(time.Minute / (events / perSave))
	defer pace.Stop()
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
		if largest = max(largest, memoryOf(t, server)); largest > began+limit {
			t.Fatalf("after %d events the server has %.1f MiB, and began with %.1f: it grew by more than 64",
				from+perSave, float64(largest)/(1<<20), float64(began)/(1<<20))
		}
		<-pace.C
	}
	t.Logf("the server began with %.1f MiB and had %.1f at most", float64(began)/(1<<20), float64(largest)/(1<<20))
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
