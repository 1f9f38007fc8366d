package main

import (
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/oexza/orisun/migrations/pgtest"
)

func readDoc(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile("../../" + path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestEveryReasonIsInTheErrorsGuide(t *testing.T) {
	guide := readDoc(t, "docs/errors.md")
	files, err := filepath.Glob("../../service/*.go")
	if err != nil {
		t.Fatal(err)
	}
	more, err := filepath.Glob("../../service/*/*.go")
	if err != nil {
		t.Fatal(err)
	}
	reasons := 0
	for _, file := range append(files, more...) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, reason := range regexp.MustCompile(`(?m)(?:^\s*(?:const )?reason[A-Z]\w*\s*= |Reason: *)"([A-Z_]+)"`).
			FindAllStringSubmatch(string(text), -1) {
			reasons++
			if !strings.Contains(guide, "| `"+reason[1]+"` |") {
				t.Errorf("docs/errors.md does not say what to do about %s of %s", reason[1], file)
			}
		}
	}
	if reasons < 2 {
		t.Errorf("%d reasons are found in the source", reasons)
	}
}

func TestEveryMetricOfOursIsInTheOperationsGuide(t *testing.T) {
	guide := readDoc(t, "docs/operations.md")
	server := launchWith(t)
	saveTraced(t.Context(), t, connect(t, server.address), "a")
	subscribeNamed(t.Context(), t, server, nil)
	var names map[string]bool
	waitFor(t, func() bool {
		_, text := ask(t, http.MethodGet, "http://"+server.http+"/metrics", "")
		names = map[string]bool{}
		for _, found := range regexp.MustCompile(`(?m)^# TYPE (orisun_\S+)`).FindAllStringSubmatch(text, -1) {
			names[found[1]] = true
		}
		return names["orisun_feed_subscribers"] && names["orisun_flush_saves"]
	})
	for name := range names {
		if !strings.Contains(guide, "`"+name) {
			t.Errorf("docs/operations.md does not list %s", name)
		}
	}
}

func TestTheFunctionsForPeopleAreThereAndDescribeThemselves(t *testing.T) {
	pool := pgtest.New(t)
	_, section, _ := strings.Cut(readDoc(t, "docs/dba.md"), "## Functions for people")
	section, _, _ = strings.Cut(section, "\n## ")
	named := regexp.MustCompile("`orisun\\.(\\w+)\\(").FindAllStringSubmatch(section, -1)
	if len(named) < 12 {
		t.Errorf("docs/dba.md lists %d functions", len(named))
	}
	for _, name := range named {
		var described int
		err := pool.QueryRow(t.Context(),
			`SELECT count(obj_description(p.oid, 'pg_proc')) FROM pg_proc p WHERE p.pronamespace = 'orisun'::regnamespace
				AND p.proname = $1`,
			name[1]).Scan(&described)
		if err != nil || described != 1 {
			t.Errorf("orisun.%s: %d functions describe themselves: %v", name[1], described, err)
		}
	}
}

// Two servers of two databases of one PostgreSQL hold leases on boundaries of the same numbers.
func TestTheClusterGuideSaysWhoPublishesTheBoundariesOfThisDatabase(t *testing.T) {
	query := markedBlock(t, "docs/cluster.md", "the publishers")
	config := pgtest.NewEmpty(t)
	for _, database := range []*pgx.ConnConfig{config, pgtest.NewEmpty(t)} {
		server := launch(t, environment(t.TempDir(), outside(database)...))
		waitFor(t, func() bool { return strings.Count(server.logged(), "Successfully acquired lock for boundary") == 3 })
	}
	conn, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := conn.Query(t.Context(), strings.Replace(query, "SELECT a.client_addr, a.pid, b.name", "SELECT b.name", 1))
	if err != nil {
		t.Fatal(err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(names) != 3 {
		t.Errorf("three boundaries are published, the query answers %v: %v", names, err)
	}
	if err := conn.Close(t.Context()); err != nil {
		t.Error(err)
	}
}
