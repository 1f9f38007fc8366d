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
		for _, reason := range regexp.MustCompile(`(?m)(?:^\s*(?:const )?reason[A-Z]\w*\s*= |Reason: *)"([A-Z_]+)"`).FindAllStringSubmatch(string(text), -1) {
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
	server := launch(t, environment(t.TempDir()))
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
			t.Errorf("docs/operations.md does not tell of %s", name)
		}
	}
}

func TestTheLinksBetweenTheGuidesLeadSomewhere(t *testing.T) {
	guides, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, guide := range append(guides, "../../README.md") {
		text, err := os.ReadFile(guide)
		if err != nil {
			t.Fatal(err)
		}
		for _, link := range regexp.MustCompile(`\]\(([^)#]+)[^)]*\)`).FindAllStringSubmatch(string(text), -1) {
			if strings.HasPrefix(link[1], "https://") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(guide), link[1])); err != nil {
				t.Errorf("%s links to %s: %v", guide, link[1], err)
			}
		}
	}
}

// The guides' commands in bash run as they are printed; only addresses differ, and go run uses the program built here.
func TestTheCommandsOfTheGuidesRun(t *testing.T) {
	server := launch(t, environment(t.TempDir()))
	t.Setenv("ORISUN_URL", "grpc://admin:changeit@"+server.address)
	programs := programsFor(t, server)
	for _, c := range []struct {
		guide string
		wants []string
	}{
		{"docs/tutorial.md", []string{"alice has 70, bob has 30", "MoneyTransferred", "from=alice"}},
		{"docs/operations.md", []string{`"ready": true`}},
		{"docs/http.md", []string{`"logPosition"`, `"events":[`, `"data":{"username":"alice"}`}},
		{"docs/security.md", []string{"janedoe", "Jane Doe", "read:orders"}},
	} {
		blocks := regexp.MustCompile("(?s)```bash\n(.*?)```").FindAllStringSubmatch(readDoc(t, c.guide), -1)
		said := ""
		for _, block := range blocks {
			said += runPrograms(t, block[1], programs)
		}
		for _, want := range c.wants {
			if !strings.Contains(said, want) {
				t.Errorf("%s: the commands do not print %q but\n%s", c.guide, want, said)
			}
		}
	}
	if said := runPrograms(t, "go run -C examples ./transfer -from alice -to bob -amount 80 || true", programs); !strings.Contains(said, "the balance does not suffice: alice has 70") {
		t.Errorf("a transfer of what alice does not have: %s", said)
	}
}

// marked is the block of a guide that follows the comment with this text.
func marked(t *testing.T, guide, comment string) string {
	t.Helper()
	found := regexp.MustCompile("(?s)<!-- " + regexp.QuoteMeta(comment) + " -->\n```sql\n(.*?)```").FindStringSubmatch(readDoc(t, guide))
	if found == nil {
		t.Fatalf("%s has no block %q", guide, comment)
	}
	return found[1]
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
		err := pool.QueryRow(t.Context(), `SELECT count(obj_description(p.oid, 'pg_proc')) FROM pg_proc p WHERE p.pronamespace = 'orisun'::regnamespace AND p.proname = $1`,
			name[1]).Scan(&described)
		if err != nil || described != 1 {
			t.Errorf("orisun.%s: %d functions describe themselves: %v", name[1], described, err)
		}
	}
}

// Two servers of two databases of one PostgreSQL hold leases on boundaries of the same numbers.
func TestTheClusterGuideSaysWhoPublishesTheBoundariesOfThisDatabase(t *testing.T) {
	query := marked(t, "docs/cluster.md", "who publishes what")
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
