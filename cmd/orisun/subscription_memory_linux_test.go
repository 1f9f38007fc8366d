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

	"github.com/oexza/orisun/migrations/pgtest"
	orisunpb "github.com/oexza/orisun/proto"
)

// TestTheServerStaysSmallWhileAClientDoesNotRead measures the real process, in which 100,000 events of 1 KiB a minute come, before a client
// stops reading and for the minute in which it does not read.
func TestTheServerStaysSmallWhileAClientDoesNotRead(t *testing.T) {
	const (
		limit   = 64 << 20
		perSave = 100
		before  = 40_000  // events: JetStream keeps in memory what was written within ten seconds
		during  = 100_000 // events
	)
	server := launch(t, environment(t.TempDir(), outside(pgtest.Clone(t))...))
	others, stalled := open(t, connect(t, server.address)), open(t, connect(t, server.address))
	client := connect(t, server.address)
	data := `{"pad": "` + strings.Repeat("x", 1<<10-len(`{"pad": ""}`)) + `"}`
	pace := time.NewTicker(time.Minute / (during / perSave))
	defer pace.Stop()
	var size uint64
	for from := 0; from < before+during; from += perSave {
		request := &orisunpb.SaveEventsRequest{Boundary: followedBoundary}
		for i := range perSave {
			request.Events = append(request.Events, &orisunpb.EventToSave{EventId: fmt.Sprint(from + i), EventType: "T", Data: data})
		}
		if _, err := client.SaveEvents(t.Context(), request); err != nil {
			t.Fatal(err)
		}
		for i := range perSave { // the others do not notice
			if !expect(t, others, from+i) || from < before && !expect(t, stalled, from+i) {
				return
			}
		}
		now := memoryOf(t, server)
		if from < before {
			size = max(size, now)
		} else if now > size+limit {
			t.Fatalf("after %d events the server has %.1f MiB, and had %.1f at most before the client stopped reading: it grew by more than 64",
				from, float64(now)/(1<<20), float64(size)/(1<<20))
		}
		<-pace.C
	}
	t.Logf("the server had %.1f MiB at most before the client stopped reading, %.1f a minute later", float64(size)/(1<<20), float64(memoryOf(t, server))/(1<<20))
	for i := before; i < before+during; i++ {
		if !expect(t, stalled, i) {
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
	t.Fatal("/proc tells no RssAnon")
	return 0
}
