package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/oexza/orisun/migrations/pgtest"
	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/server/eventtest"
)

// psqlSession is a person's session. Statements are typed into it, and what it prints is read.
type psqlSession struct {
	in  io.WriteCloser
	out *bufio.Reader
}

func openPsql(t *testing.T, config *pgx.ConnConfig) *psqlSession {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "psql", "-X", "-At", "-h", config.Host, "-p", strconv.Itoa(int(config.Port)),
		"-U", config.User, config.Database)
	cmd.Env = append(os.Environ(), "PGPASSWORD="+config.Password)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := in.Close(); err != nil {
			t.Error(err)
		}
		if err := cmd.Wait(); err != nil && t.Context().Err() == nil {
			t.Error(err)
		}
	})
	return &psqlSession{in, bufio.NewReader(out)}
}

// run types a statement and returns the first line that it prints.
func (p *psqlSession) run(t *testing.T, statement string) string {
	t.Helper()
	if _, err := io.WriteString(p.in, statement+";\n"); err != nil {
		t.Fatal(err)
	}
	line, err := p.out.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(line)
}

// TestTheLogNamesTheSessionThatHoldsABoundary inserts by hand and leaves the transaction open, twice.
func TestTheLogNamesTheSessionThatHoldsABoundary(t *testing.T) {
	const message = `"msg":"saves wait: another session of PostgreSQL holds the boundary's lock`
	config := pgtest.Clone(t)
	server := launch(t, environment(t.TempDir(), outside(config)...))
	store := connect(t, server.address)
	person := openPsql(t, config)
	pid := person.run(t, "SELECT pg_backend_pid()")
	for round := range 2 {
		person.run(t, "BEGIN")
		person.run(t, fmt.Sprintf("INSERT INTO public.%s_orisun_es_event (event_id, event_type, data) "+
			"VALUES ('by hand %d', 'T', '{}')", eventtest.Boundary, round))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		began := time.Now()
		var saving sync.WaitGroup
		for i := range 8 {
			saving.Go(func() {
				request := &orisunpb.SaveEventsRequest{
					Boundary: eventtest.Boundary,
					Events:   []*orisunpb.EventToSave{{EventId: fmt.Sprint("save ", round, i), EventType: "T", Data: `{}`}},
				}
				if i%2 == 0 { // the check of which has a time limit, after which it is tried again
					request.Query = &orisunpb.SaveQuery{Criteria: unindexed(1).GetCriteria()}
				}
				if _, err := store.SaveEvents(ctx, request); err != nil {
					t.Error(err)
				}
			})
		}
		waitFor(t, func() bool { return strings.Count(server.logged(), message) > round })
		if waited := time.Since(began); waited < time.Second {
			t.Errorf("the line comes after %s", waited)
		}
		waitFor(t, func() bool { return time.Since(began) > 5*time.Second }) // a second line would come meanwhile
		person.run(t, "ROLLBACK")
		saving.Wait()
		lines := strings.Count(server.logged(), message)
		if lines != round+1 {
			t.Errorf("%d lines after %d waits", lines, round+1)
		}
	}
	for line := range strings.Lines(server.logged()) {
		if !strings.Contains(line, message) {
			continue
		}
		t.Log(line)
		for _, want := range []string{
			`"boundary":"` + eventtest.Boundary + `"`, `"pid":` + pid, `"user":"` + config.User + `"`, `"application":"psql"`,
			`"client":"socket"`,
			`"state":"idle in transaction"`, `"transaction_age":"`,
		} {
			if !strings.Contains(line, want) {
				t.Errorf("the line lacks %s", want)
			}
		}
	}
}
