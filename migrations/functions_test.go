package migrations_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/oexza/orisun/migrations/pgtest"
)

func texts(t *testing.T, pool *pgxpool.Pool, query string, arguments ...any) []string {
	t.Helper()
	rows, err := pool.Query(t.Context(), query, arguments...)
	if err != nil {
		t.Fatal(err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestTheGuideListsTheFunctionsOfABoundary(t *testing.T) {
	want := texts(t, pgtest.New(t),
		`SELECT proname::text FROM pg_proc WHERE pronamespace = 'orisun_boundary'::regnamespace ORDER BY 1`)
	guide, err := os.ReadFile("../docs/dba.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(guide), "## A boundary's own functions")
	section, _, _ = strings.Cut(section, "\n## ")
	var got []string
	for _, row := range regexp.MustCompile("(?m)^\\| (`.*?) \\|").FindAllStringSubmatch(section, -1) {
		for _, name := range regexp.MustCompile("`(\\w+)`").FindAllStringSubmatch(row[1], -1) {
			got = append(got, name[1])
		}
	}
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("docs/dba.md lists other functions (-schema +guide):\n%s", diff)
	}
}

// TestAFunctionOfABoundaryIsWhatTheMigrationShows compares each clone, comment included, with its template. Only what
// depends on the boundary's indexes is more.
func TestAFunctionOfABoundaryIsWhatTheMigrationShows(t *testing.T) {
	pool := pgtest.New(t)
	pgtest.Boundary(t, pool, "bank")
	mustIndex(t, pool, "bank", textIndex("account", "account"))
	const definitions = `SELECT pg_get_functiondef(p.oid) || obj_description(p.oid, 'pg_proc') FROM pg_proc p
		WHERE p.pronamespace = $1::text::regnamespace AND p.proname LIKE $2 ORDER BY p.proname`
	templates := texts(t, pool, definitions, "orisun_boundary", "%")
	clones := texts(t, pool, definitions, "public", "bank\\_orisun\\_%")
	if len(clones) != len(templates) || len(clones) < 10 {
		t.Fatalf("%d clones of %d functions", len(clones), len(templates))
	}

	named := regexp.MustCompile(`orisun_boundary\.(\w+)`)
	marker := regexp.MustCompile(`\n *-- indexes: [^\n]*`)
	branch := regexp.MustCompile(`(?s)\n    IF 'account' = ANY \(v_indexes\) THEN\n.*?\n    END IF;`)
	branches := 0
	for i, clone := range clones {
		title, body, _ := strings.Cut(templates[i], "\n")
		want := named.ReplaceAllString(title, "public.bank_orisun_$1") + "\n" +
			named.ReplaceAllString(body, `"public"."bank_orisun_$1"`)
		if marker.MatchString(want) {
			branches++
			if !branch.MatchString(clone) {
				t.Errorf("there is no branch for the index:\n%s", clone)
			}
			want, clone = marker.ReplaceAllString(want, ""), branch.ReplaceAllString(clone, "")
		}
		if strings.Contains(title, ".number(") || strings.Contains(title, ".choose_index(") {
			continue
		}
		if diff := cmp.Diff(strings.Split(want, "\n"), strings.Split(clone, "\n")); diff != "" {
			t.Errorf("(-migration +boundary):\n%s", diff)
		}
	}
	if branches != 2 {
		t.Errorf("%d functions have branches for indexes, want lookup and find_dependents", branches)
	}
}

// A lease session holds a lock of its pid, and a save one of its boundary's number: the two are often the same number
// where PostgreSQL has a process namespace of its own.
func TestABoundaryWhoseNumberIsThePidOfALeaseSessionIsSavedTo(t *testing.T) {
	pool := pgtest.New(t)
	leases := acquire(t, pool)
	mustExec(t, leases, `SELECT orisun.begin_leases();
		SELECT setval(pg_get_serial_sequence('orisun.boundary', 'number'), pg_backend_pid(), false)`)
	pgtest.Boundary(t, pool, "bank")
	saver := acquire(t, pool)
	mustExec(t, saver, "SET lock_timeout = '2s'")
	got := save(t, saver, "bank", request{none, account("alice"), []event{moved("a", "alice")}})[0]
	if got.Outcome != "saved" {
		t.Errorf("the save is %s", got.Outcome)
	}

	classes := texts(t, pool, `SELECT p.proname || ' ' || p.prosrc FROM pg_proc p
		WHERE p.pronamespace = 'orisun'::regnamespace AND p.proname LIKE '%\_class' ORDER BY 1`)
	seen := map[string]string{}
	for _, class := range classes {
		name, number, _ := strings.Cut(class, " ")
		if other, taken := seen[number]; taken {
			t.Errorf("the locks of %s and %s have the same first key", name, other)
		}
		seen[number] = name
	}
	if len(seen) < 4 {
		t.Errorf("classes of locks: %v", classes)
	}
}
