package migrations_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/oexza/orisun/db"
	"github.com/oexza/orisun/db/boundary"
	"github.com/oexza/orisun/migrations"
	"github.com/oexza/orisun/migrations/pgtest"
)

// plantOverloads makes, as a role that may create in schema public and nothing else, functions of the names that a
// boundary's own have: with each set of parameters replaced by text, and each one by anyelement; and operators between
// the types that the server compares. Each fails when it is called.
func plantOverloads(t *testing.T, conn *pgx.Conn) (planted int) {
	t.Helper()
	rows, err := conn.Query(t.Context(), `
		SELECT p.proname::text, ARRAY(SELECT format_type(a, NULL) FROM unnest(p.proargtypes) a),
		  coalesce(p.proargnames[:p.pronargs], '{}'), p.proretset,
		       format_type(p.prorettype, NULL)
		  FROM pg_proc p WHERE p.pronamespace = 'public'::regnamespace AND starts_with(p.proname, 'bank_orisun_')`)
	if err != nil {
		t.Fatal(err)
	}
	type function struct {
		Name         string
		Types, Names []string
		IsSet        bool
		Returns      string
	}
	functions, err := pgx.CollectRows(rows, pgx.RowToStructByPos[function])
	if err != nil || len(functions) < 8 {
		t.Fatalf("%d functions of the boundary, %v", len(functions), err)
	}
	var statements []string
	plant := func(f function, types []string, more string) {
		var parameters []string
		for i, name := range f.Names {
			parameters = append(parameters, name+" "+types[i])
		}
		if more != "" {
			parameters = append(parameters, more)
		}
		returns := f.Returns
		if strings.HasPrefix(returns, "orisun.") { // whose name mallory may not use
			returns = "record"
		}
		if f.IsSet {
			returns = "SETOF " + returns
		}
		statements = append(statements,
			fmt.Sprintf(`CREATE FUNCTION public.%s(%s) RETURNS %s
				LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'planted: %%', current_user; END $$`,
				f.Name, strings.Join(parameters, ", "), returns))
	}
	for _, f := range functions {
		for set := 1; set < 1<<len(f.Types); set++ {
			types := make([]string, len(f.Types))
			for i := range types {
				if types[i] = f.Types[i]; set&(1<<i) != 0 {
					types[i] = "text"
				}
			}
			plant(f, types, "")
		}
		for i := range f.Types {
			types := append([]string(nil), f.Types...)
			types[i] = "anyelement"
			plant(f, types, "")
		}
	}
	for operator, operands := range map[string]string{
		"=": "bigint,text,jsonb,integer", ">": "bigint,integer", "<": "bigint,integer", ">=": "bigint", "<=": "bigint",
		"@>": "jsonb", "->>": "jsonb", "->": "jsonb", "||": "text,jsonb", "+": "bigint", "-": "bigint",
	} {
		for operand := range strings.SplitSeq(operands, ",") {
			right, returns := operand, "boolean"
			switch operator {
			case "->>":
				right, returns = "text", "text"
			case "->":
				right, returns = "text", "jsonb"
			case "||", "+", "-":
				returns = operand
			}
			name := fmt.Sprintf("public.planted_%x_%s", operator, operand)
			statements = append(statements, fmt.Sprintf(`CREATE OR REPLACE FUNCTION %s(%s, %s) RETURNS %s LANGUAGE plpgsql AS
				$$ BEGIN RAISE EXCEPTION 'planted operator: %%', current_user; END $$`, name, operand, right, returns),
				fmt.Sprintf(`CREATE OPERATOR public.%s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = %s)`, operator, operand,
					right, name))
		}
	}
	if _, err := conn.Exec(t.Context(), "SET ROLE mallory; "+strings.Join(statements, ";\n")+"; RESET ROLE"); err != nil {
		t.Fatal(err)
	}
	return len(statements)
}

// TestWhatTheServerCallsCannotBeReplaced lets a role that has only CREATE on schema public plant overloads of all that
// the server calls there.
func TestWhatTheServerCallsCannotBeReplaced(t *testing.T) {
	for _, as := range []string{"a superuser", "the owner of the database"} {
		t.Run(as, func(t *testing.T) {
			config := pgtest.NewEmpty(t)
			super := connect(t, config)
			mustExec(t, super, `CREATE ROLE mallory; CREATE ROLE keeper LOGIN PASSWORD 'keeper'; GRANT CREATE,
				USAGE ON SCHEMA public TO PUBLIC`)
			t.Cleanup(func() {
				if _, err := super.Exec(context.Background(),
					`DROP OWNED BY mallory; DROP ROLE mallory; REASSIGN OWNED BY keeper TO postgres; DROP OWNED BY keeper; DROP
						ROLE keeper`); err != nil {
					t.Error(err)
				}
			})
			server := config.Copy()
			if as != "a superuser" {
				mustExec(t, super, "ALTER DATABASE "+config.Database+" OWNER TO keeper")
				server.User, server.Password = "keeper", "keeper"
			}
			if _, err := migrations.Up(t.Context(), server, migrations.DefaultTable); err != nil {
				t.Fatal(err)
			}
			conn := session(t, server)
			if as == "a superuser" { // a function that is replaced keeps its owner, who could replace it again
				mustExec(t, super, `SET ROLE mallory;
					CREATE FUNCTION public.bank_orisun_choose_index(p_criterion jsonb) RETURNS text
					LANGUAGE sql AS $$ SELECT 'planted' $$; RESET ROLE`)
			}
			mustExec(t, conn, `SELECT orisun.initialize_boundary_tables('bank', 'public')`)
			wantNoneOf(t, super, "mallory")
			if as == "a superuser" {
				callAll(t, conn, "before")
				return
			}
			if planted := plantOverloads(t, super); planted < 1000 {
				t.Fatalf("%d functions were planted", planted)
			}
			callAll(t, conn, "before")
			for _, statement := range []string{"index", "another"} {
				statements, err := db.New().CreateIndex(t.Context(), conn, db.CreateIndexParams{
					Boundary: "bank", Name: statement, Combinator: "AND", FieldKeys: []string{statement}, FieldTypes: []string{"TEXT"},
					ConditionKeys: []string{}, ConditionOperators: []string{}, ConditionValues: []string{},
				})
				if err != nil {
					t.Fatal(err)
				}
				for _, statement := range statements {
					mustExec(t, conn, statement)
				}
			}
			mustExec(t, super, "DROP OWNED BY mallory")
			plantOverloads(t, super)
			callAll(t, conn, "after")
			wantNoneOf(t, super, "mallory")
		})
	}
}

// wantNoneOf fails where a role owns a function that the server calls.
func wantNoneOf(t *testing.T, conn *pgx.Conn, role string) {
	t.Helper()
	var foreign int
	err := conn.QueryRow(t.Context(), `
		SELECT count(*)
		  FROM pg_proc p
		  JOIN pg_proc t ON t.pronamespace = 'orisun_boundary'::regnamespace AND p.proname = 'bank_orisun_' || t.proname
		    AND p.proargtypes = t.proargtypes
		 WHERE p.pronamespace = 'public'::regnamespace AND p.proowner = $1::text::regrole`, role).Scan(&foreign)
	if err != nil || foreign != 0 {
		t.Errorf("%d functions of the boundary belong to %s, %v", foreign, role, err)
	}
}

// callAll calls what the server calls, and what calls that.
func callAll(t *testing.T, conn *pgx.Conn, id string) {
	t.Helper()
	var boundaries boundary.Boundaries
	own, err := boundaries.On(t.Context(), conn, "bank")
	if err != nil {
		t.Fatal(err)
	}
	queries := db.New()
	must := func(call string, rows int, err error, least int) {
		t.Helper()
		if err != nil || rows < least {
			t.Errorf("%s: %d rows, %v", call, rows, err)
		}
	}
	data := fmt.Sprintf(`{"index": %q, "note": %q}`, id, id)
	for range 2 { // the second time it is a repetition
		saved, err := queries.SaveRequests(t.Context(), own, db.SaveRequestsParams{
			ExpectedTransactionIds: []int64{-1, -1}, ExpectedGlobalIds: []int64{-1, -1},
			CriterionRequests: []int32{1, 1, 2}, Criteria: []string{`{"index": "none"}`, `{"note": "none"}`, `{"index": "new"}`},
			EventRequests: []int32{1, 2}, EventIds: []string{id, id + "2"}, EventTypes: []string{"T", "T"},
			Data: []string{data, `{"index": "new2"}`}, Metadata: []string{"{}", "{}"},
		})
		must("save_requests", len(saved), err, 2)
	}
	for _, criteria := range [][]string{
		{}, {`{"index": "` + id + `"}`}, {`{"note": "` + id + `"}`}, {`{"index": "` + id + `"}`, `{"note": "` + id + `"}`},
	} {
		for _, descending := range []bool{false, true} {
			page, err := queries.ReadPage(t.Context(), own, db.ReadPageParams{
				Criteria: criteria, Descending: descending, Count: 10,
			})
			must("read_page", len(page), err, 1)
		}
		followed, err := queries.FollowEvents(t.Context(), own, db.FollowEventsParams{
			Criteria: criteria, TransactionID: -1, GlobalID: -1, ScanWindow: 4096, Count: 10,
		})
		must("follow_events", len(followed), err, 1)
		explained, err := queries.ExplainPage(t.Context(), conn, db.ExplainPageParams{
			Boundary: "bank", Criteria: criteria, Count: 10,
		})
		must("explain_page", len(explained), err, 1)
		if len(criteria) > 0 {
			found, err := queries.ReadFirstOfEach(t.Context(), own, db.ReadFirstOfEachParams{
				Criteria: criteria, Descending: true, Count: 1,
			})
			must("latest", len(found), err, 1)
		}
	}
	next, err := queries.NextEvents(t.Context(), own, db.NextEventsParams{GlobalID: -1, Count: 10})
	must("next_events", len(next), err, 1)
	events, err := queries.GetMatchingEvents(t.Context(), conn, db.GetMatchingEventsParams{
		Boundary: "bank", Criteria: `[{"tags": [{"key": "index", "value": "` + id + `"}]}]`, Count: 10,
	})
	must("get_matching_events", len(events), err, 1)
	_, err = conn.Exec(t.Context(),
		`SELECT orisun.insert_events_with_consistency('bank', '{}', '[{"event_id": "`+id+`3", "event_type": "T", "data": `+
			`{}}]')`)
	must("insert_events_with_consistency", 1, err, 1)
	_, err = conn.Exec(t.Context(),
		`SELECT * FROM orisun.get_latest_by_criteria('bank', '[{"tags": [{"key": "index", "value": "`+id+`"}]}]')`)
	must("get_latest_by_criteria", 1, err, 1)
	_, err = queries.GetLastPosition(t.Context(), conn, "bank")
	must("get_last_position", 1, err, 1)
}
