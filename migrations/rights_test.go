package migrations_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/oexza/orisun/migrations/pgtest"
)

// TestEachMissingRightIsFound grants a role all that is missing, then takes back one statement after the other.
func TestEachMissingRightIsFound(t *testing.T) {
	pool := pgtest.New(t)
	pgtest.Boundary(t, pool, "orders")
	role := pool.Config().ConnConfig.Database + "-app"
	execute := func(statement string) {
		if _, err := pool.Exec(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	missing := func() []string {
		rows, err := pool.Query(t.Context(), "SELECT orisun.find_missing_rights($1)", role)
		if err != nil {
			t.Fatal(err)
		}
		grants, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		return grants
	}
	execute(`CREATE ROLE "` + role + `"`)
	all := missing()
	for _, want := range []string{
		`GRANT USAGE ON SCHEMA orisun TO "` + role + `"`,
		`GRANT SELECT, INSERT ON TABLE public.orders_orisun_es_event TO "` + role + `"`,
		`GRANT USAGE, UPDATE ON SEQUENCE public.orders_orisun_es_event_global_id_seq TO "` + role + `"`,
	} {
		if !slices.Contains(all, want) {
			t.Errorf("%q is not among\n%s", want, strings.Join(all, "\n"))
		}
	}
	for _, grant := range all {
		execute(grant)
	}
	if left := missing(); len(left) > 0 {
		t.Fatalf("after all GRANTs are missing: %v", left)
	}
	for _, grant := range all {
		execute(strings.Replace(strings.Replace(grant, "GRANT", "REVOKE", 1), " TO ", " FROM ", 1))
		if got := missing(); !slices.Equal(got, []string{grant}) {
			t.Errorf("%s was taken back, and missing is\n%s", grant, strings.Join(got, "\n"))
		}
		execute(grant)
	}
}
