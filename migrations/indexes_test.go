package migrations_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/oexza/orisun/db"
	"github.com/oexza/orisun/migrations/pgtest"
)

// An index is a definition as the tests write it down.
type index struct {
	name       string
	fields     []field
	conditions []condition
	combinator string
}

type (
	field     struct{ key, kind string }
	condition struct{ key, operator, value string }
)

// createIndex does what psql does with \gexec: it runs what orisun.create_index answers.
func createIndex(ctx context.Context, pool *pgxpool.Pool, boundary string, ix index) error {
	params := db.CreateIndexParams{
		Boundary: boundary, Name: ix.name, Combinator: "AND",
		FieldKeys: []string{}, FieldTypes: []string{}, ConditionKeys: []string{}, ConditionOperators: []string{},
		ConditionValues: []string{},
	}
	if ix.combinator != "" {
		params.Combinator = ix.combinator
	}
	for _, f := range ix.fields {
		params.FieldKeys = append(params.FieldKeys, f.key)
		params.FieldTypes = append(params.FieldTypes, f.kind)
	}
	for _, c := range ix.conditions {
		params.ConditionKeys = append(params.ConditionKeys, c.key)
		params.ConditionOperators = append(params.ConditionOperators, c.operator)
		params.ConditionValues = append(params.ConditionValues, c.value)
	}
	return inOneSession(ctx, pool, func(conn *pgx.Conn) ([]string, error) {
		return db.New().CreateIndex(ctx, conn, params)
	})
}

func dropIndex(ctx context.Context, pool *pgxpool.Pool, boundary, name string) error {
	return inOneSession(ctx, pool, func(conn *pgx.Conn) ([]string, error) {
		return db.New().DropIndex(ctx, conn, db.DropIndexParams{Boundary: boundary, Name: name})
	})
}

func inOneSession(ctx context.Context, pool *pgxpool.Pool, compose func(*pgx.Conn) ([]string, error)) error {
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	statements, err := compose(conn.Conn())
	if err != nil {
		return err
	}
	for _, statement := range statements {
		if _, err := conn.Exec(ctx, statement, pgx.QueryExecModeSimpleProtocol); err != nil {
			return err
		}
	}
	return nil
}

func hasState(err error, state string) bool {
	var refused *pgconn.PgError
	return errors.As(err, &refused) && refused.Code == state
}

func textIndex(name string, keys ...string) index {
	ix := index{name: name}
	for _, key := range keys {
		ix.fields = append(ix.fields, field{key, "TEXT"})
	}
	return ix
}

func mustIndex(t testing.TB, pool *pgxpool.Pool, boundary string, ix index) {
	t.Helper()
	if err := createIndex(t.Context(), pool, boundary, ix); err != nil {
		t.Fatalf("create index %+v: %v", ix, err)
	}
}

// listed is the boundary's indexes as "name state", in psql's and ListIndexes' order.
func listed(t testing.TB, pool *pgxpool.Pool, boundary string) (names []string) {
	t.Helper()
	rows, err := db.New().ListIndexes(t.Context(), pool, boundary)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		names = append(names, row.Name+" "+row.State)
	}
	return names
}

type explanation struct {
	Events, Buffers int
	Scans           []struct {
		Criteria         []int
		Index            string
		Served           bool
		Events, Filtered int
	}
}

func explain(t testing.TB, pool *pgxpool.Pool, boundary string, q query) (explained explanation) {
	t.Helper()
	var text string
	err := pool.QueryRow(t.Context(),
		`SELECT orisun.explain_matching_events($1, $2, p_descending => $3, p_count => $4)::text`,
		boundary, criteriaJSON(t, q.criteria), q.descending, q.count).Scan(&text)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(text), &explained); err != nil {
		t.Fatal(err)
	}
	return explained
}

// indexOf is the index that finds a criterion; empty when none serves it.
func indexOf(t testing.TB, pool *pgxpool.Pool, boundary string, tags ...tag) string {
	t.Helper()
	scan := explain(t, pool, boundary, query{criteria: []criterion{tags}, count: 10}).Scans[0]
	if !scan.Served {
		return ""
	}
	return scan.Index
}

func TestAnIndexIsMadeOnceAndItsNameIsTakenForOthers(t *testing.T) {
	pool := pgtest.New(t)
	pgtest.Boundary(t, pool, "bank")
	for range 2 {
		mustIndex(t, pool, "bank", textIndex("account", "account"))
	}
	for name, other := range map[string]index{
		"another field":  textIndex("account", "holder"),
		"one more field": textIndex("account", "account", "holder"),
		"another type":   {name: "account", fields: []field{{"account", "NUMERIC"}}},
		"with a condition": {
			name: "account", fields: []field{{"account", "TEXT"}},
			conditions: []condition{{"a", "=", "1"}},
		},
		"the name of other": textIndex("account", "event_type"),
	} {
		if err := createIndex(t.Context(), pool, "bank", other); !hasState(err, "OR010") {
			t.Errorf("%s: got %v, want OR010", name, err)
		}
	}
	if got := listed(t, pool, "bank"); !slices.Equal(got, []string{"account READY"}) {
		t.Errorf("listed: %v", got)
	}
	var definition string
	if err := pool.QueryRow(t.Context(), `SELECT pg_get_indexdef('public.bank_account_idx'::regclass)`).
		Scan(&definition); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(definition, "transaction_id, global_id) WHERE") {
		t.Errorf("the position is not the last part of: %s", definition)
	}
	if err := dropIndex(t.Context(), pool, "bank", "account"); err != nil {
		t.Fatal(err)
	}
	if err := dropIndex(t.Context(), pool, "bank", "account"); !hasState(err, "OR009") {
		t.Errorf("dropped twice: got %v, want OR009", err)
	}
	var left int
	if err := pool.QueryRow(t.Context(), `SELECT count(*) FROM pg_class WHERE relname = 'bank_account_idx'`).
		Scan(&left); err != nil || left != 0 {
		t.Errorf("%d relations are left: %v", left, err)
	}
}

func TestTheTypeIsOneFieldUnderTwoNames(t *testing.T) {
	pool := pgtest.New(t)
	pgtest.Boundary(t, pool, "bank")
	mustIndex(t, pool, "bank", textIndex("type", "eventType"))
	mustIndex(t, pool, "bank", textIndex("type", "event_type"))
	save(t, pool, "bank", request{none, nil, []event{moved("a", "alice")}})
	for _, key := range []string{"event_type", "eventType"} {
		if got := indexOf(t, pool, "bank", tag{key, "MoneyMoved"}); got != "bank_type_idx" {
			t.Errorf("%s is found by %q", key, got)
		}
	}
}

func TestWhichIndexServesWhichCriterion(t *testing.T) {
	pool := pgtest.New(t)
	pgtest.Boundary(t, pool, "bank")
	for _, ix := range []index{
		{name: "amount", fields: []field{{"amount", "NUMERIC"}}},
		{name: "open", fields: []field{{"open", "BOOLEAN"}}},
		{name: "at", fields: []field{{"at", "TIMESTAMPTZ"}}},
		textIndex("pair", "a", "b"),
		{name: "placed", fields: []field{{"order", "TEXT"}}, conditions: []condition{{"eventType", "=", "Placed"}}},
		{
			name: "large", fields: []field{{"size", "TEXT"}}, conditions: []condition{{"size", ">", "9"}, {"unit", "=", "kg"}},
			combinator: "OR",
		},
		{name: "late", fields: []field{{"day", "TEXT"}}, conditions: []condition{{"day", ">=", "may"}, {"day", "<", "n"}}},
	} {
		mustIndex(t, pool, "bank", ix)
	}
	for _, c := range []struct {
		tags criterion
		want string
	}{
		{criterion{{"amount", "45"}}, "bank_amount_idx"},
		{criterion{{"amount", "45.00"}, {"x", "1"}}, "bank_amount_idx"},
		{criterion{{"amount", "much"}}, ""},
		{criterion{{"open", "true"}}, "bank_open_idx"},
		{criterion{{"open", "yes"}}, ""},
		{criterion{{"at", "2026-11-23T06:30:00+02:00"}}, "bank_at_idx"},
		{criterion{{"at", "2026-11-23 06:30:00"}}, ""}, // without an offset it means another moment in each time zone
		{criterion{{"a", "1"}, {"b", "2"}}, "bank_pair_idx"},
		{criterion{{"b", "2"}, {"c", "3"}, {"a", "1"}}, "bank_pair_idx"},
		{criterion{{"a", "1"}}, ""},
		{criterion{{"order", "1"}, {"event_type", "Placed"}}, "bank_placed_idx"},
		{criterion{{"order", "1"}, {"eventType", "Placed"}}, "bank_placed_idx"},
		{criterion{{"order", "1"}, {"event_type", "Paid"}}, ""},
		{criterion{{"order", "1"}}, ""},
		{criterion{{"size", "10"}}, "bank_large_idx"}, // as numbers
		{criterion{{"size", "8"}}, ""},
		{criterion{{"size", "8"}, {"unit", "kg"}}, "bank_large_idx"},
		{criterion{{"day", "monday"}}, "bank_late_idx"}, // as texts
		{criterion{{"day", "tuesday"}}, ""},
		{criterion{{"missing", "1"}}, ""},
	} {
		if got := indexOf(t, pool, "bank", c.tags...); got != c.want {
			t.Errorf("%v is found by %q, want %q", c.tags, got, c.want)
		}
	}
}

func TestWhatAnIndexedFieldHoldsNeverFailsASave(t *testing.T) {
	pool := pgtest.New(t)
	pgtest.Boundary(t, pool, "bank")
	for i, kind := range []string{"TEXT", "NUMERIC", "BOOLEAN", "TIMESTAMPTZ"} {
		mustIndex(t, pool, "bank", index{name: kind, fields: []field{{"v", kind}}})
		mustIndex(t, pool, "bank", index{
			name: kind + "_gt", fields: []field{{"v", kind}},
			conditions: []condition{{"v", []string{">", "<=", "<", ">="}[i], "7"}},
		})
	}
	mustIndex(t, pool, "bank", textIndex("five", "v", "w", "x", "y", "event_type"))
	wide := strings.Repeat("\U0001F600", 50_000) // four bytes a character
	values := []string{
		`1e131000`, `-1e-16000`, strings.Repeat("9", 131_072), `0.` + strings.Repeat("1", 16_000), `1E+999`, `-0`, `1.50`,
		`"1e999999999"`, `"1e9999"`, `"NaN"`, `"Infinity"`, `"0x1F"`, `"1_000"`, `" 1 "`, `"1\n"`, `"+1."`, `".5"`, `"."`,
		`""`, `"--"`, `"' OR true --"`,
		`"2026-02-30T00:00:00Z"`, `"2024-02-29T23:59:60Z"`, `"0000-01-01T00:00:00Z"`, `"9999-12-31T23:59:59.999999999-15:59"`,
		`"0001-01-01T00:00:00+15:59"`,
		`"infinity"`, `"now"`, `"tomorrow"`, `"epoch"`, `"2026-11-23T06:30:00Z\n"`, `"294277-01-01T00:00:00Z"`,
		`"2026-11-23T24:00:00Z"`,
		`"TRUE"`, `"t"`, `true`, `false`, `null`, `[]`, `{}`, `[1, [2, {"a": "b"}]]`, `"` + wide + `"`,
		`"` + strings.Repeat("a", 1_000_000) + `"`, `"\u0001"`,
	}
	for i, value := range values {
		id := fmt.Sprint(i)
		data := fmt.Sprintf(`{"v": %s, "w": %[1]s, "x": %[1]s, "y": %[1]s}`, value)
		if got, err := trySave(t.Context(), pool, "bank", request{
			none, nil, []event{{id, strings.Repeat("T", 256), data}},
		}); err != nil || got[0].Outcome != "saved" {
			t.Errorf("%.60s is not saved: %v, %v", value, got, err)
			continue
		}
		var text *string
		if err := pool.QueryRow(t.Context(), `SELECT data ->> 'v' FROM public.bank_orisun_es_event WHERE event_id = $1`, id).
			Scan(&text); err != nil {
			t.Fatal(err)
		}
		if text == nil {
			continue
		}
		found := read(t, pool, "bank", query{criteria: []criterion{{{"v", *text}}}, count: 100})
		if !slices.ContainsFunc(found, func(e db.OrisunEvent) bool { return e.EventID == id }) {
			t.Errorf("%.60s is not found by its text", value)
		}
		if got := save(t, pool, "bank", request{
			none, []criterion{{{"v", *text}}}, []event{moved("x"+id, "x")},
		})[0]; got.Outcome != "context_changed" {
			t.Errorf("%.60s is overlooked by a save: %s", value, got.Outcome)
		}
	}
}

func TestIndexesOfAnyKeyAndConditionServeIt(t *testing.T) {
	pool := pgtest.New(t)
	pgtest.Boundary(t, pool, "bank")
	odd := []string{
		`'`, `''`, `"`, `\`, `\\`, `\'`, `%s`, `%I`, `%`, `$1`, `$$`, `{}`, `}`, `{a,b}`, `a'; DROP TABLE x; --`, "ключ", "😀",
		"a b", "a.b", "NULL", "null", "e.data", "é", "tab\there", "line\nbreak", strings.Repeat("ж", 128),
	}
	for i, text := range odd {
		name := fmt.Sprintf("odd_%d", i)
		mustIndex(t, pool, "bank", index{
			name: name, fields: []field{{text, "TEXT"}}, conditions: []condition{{text, "=", text}, {"event_type", ">=", text}},
			combinator: "OR",
		})
		quoted := quoteJSON(t, text)
		save(t, pool, "bank", request{none, nil, []event{{fmt.Sprint(i), "Odd", fmt.Sprintf("{%s: %s}", quoted, quoted)}}})
		if got := indexOf(t, pool, "bank", tag{text, text}); got != "bank_"+name+"_idx" {
			t.Errorf("%q is found by %q", text, got)
		}
		events := read(t, pool, "bank", query{criteria: []criterion{{{text, text}}}, count: 10})
		if len(events) != 1 || events[0].EventID != fmt.Sprint(i) {
			t.Errorf("%q matches %d events, want one", text, len(events))
		}
		if got := save(t, pool, "bank", request{
			none, []criterion{{{text, text}}}, []event{moved("x", "x")},
		})[0]; got.Outcome != "context_changed" || got.GlobalID != int64(i) {
			t.Errorf("a save whose context is %q: %s at %d, want context_changed at %d", text, got.Outcome, got.GlobalID, i)
		}
	}
}

func TestNamesThatPostgreSQLWouldCutOrMixUpAreRefused(t *testing.T) {
	pool := pgtest.New(t)
	longest := strings.Repeat("b", 26)
	for _, boundary := range []string{"a", "a_b", longest} {
		pgtest.Boundary(t, pool, boundary)
	}
	for _, name := range []string{"", "a b", "a.b", `a"b`, "a'b", "1a", "ä", "a;", strings.Repeat("n", 33)} {
		if err := createIndex(t.Context(), pool, longest, textIndex(name, "k")); !hasState(err, "OR002") {
			t.Errorf("index %q: got %v, want OR002", name, err)
		}
	}
	mustIndex(t, pool, longest, textIndex(strings.Repeat("n", 32), "k"))
	if got := indexOf(t, pool, longest, tag{"k", "1"}); got != longest+"_"+strings.Repeat("n", 32)+"_idx" {
		t.Errorf("the longest name became %q", got)
	}
	mustIndex(t, pool, "a", textIndex("b_c", "k"))
	if err := createIndex(t.Context(), pool, "a_b", textIndex("c", "k")); !hasState(err, "OR010") {
		t.Errorf("two indexes of one name: got %v, want OR010", err)
	}
	mustExecPool(t, pool, `CREATE TABLE public.a_mine_idx ()`)
	if err := createIndex(t.Context(), pool, "a", textIndex("mine", "k")); !hasState(err, "OR010") {
		t.Errorf("the name of a table: got %v, want OR010", err)
	}
	mustIndex(t, pool, "a", textIndex("after", "k")) // what was refused holds no lock
	if err := createIndex(t.Context(), pool, "nowhere", textIndex("k", "k")); !hasState(err, "OR001") {
		t.Errorf("an unknown boundary: got %v, want OR001", err)
	}
}

func TestMalformedIndexesAreRefused(t *testing.T) {
	pool := pgtest.New(t)
	pgtest.Boundary(t, pool, "bank")
	text := func(keys ...string) []field { return textIndex("", keys...).fields }
	for name, ix := range map[string]index{
		"no field":              {},
		"six fields":            {fields: text("1", "2", "3", "4", "5", "6")},
		"a field twice":         {fields: text("k", "k")},
		"the type twice":        {fields: text("event_type", "eventType")},
		"a type as a number":    {fields: []field{{"eventType", "NUMERIC"}}},
		"another type":          {fields: []field{{"k", "jsonb"}}},
		"an empty key":          {fields: text("")},
		"space before a key":    {fields: text(" k")},
		"space after a key":     {fields: text("k\t")},
		"space in a condition":  {fields: text("k"), conditions: []condition{{"eventType ", "=", "Num"}}},
		"space before a value":  {fields: text("k"), conditions: []condition{{"eventType", "=", " Num"}}},
		"a long key":            {fields: text(strings.Repeat("k", 257))},
		"another operator":      {fields: text("k"), conditions: []condition{{"k", "<>", "1"}}},
		"an operator with more": {fields: text("k"), conditions: []condition{{"k", "= 1; --", "1"}}},
		"a long value":          {fields: text("k"), conditions: []condition{{"k", "=", strings.Repeat("v", 257)}}},
		"nine conditions":       {fields: text("k"), conditions: slices.Repeat([]condition{{"k", "=", "1"}}, 9)},
		"too much of all": {
			fields:     text("k"),
			conditions: slices.Repeat([]condition{{strings.Repeat("k", 256), "=", strings.Repeat("v", 256)}}, 5),
		},
		"another combinator": {
			fields: text("k"), conditions: slices.Repeat([]condition{{"k", "=", "1"}}, 2),
			combinator: "XOR",
		},
	} {
		ix.name = "bad"
		if err := createIndex(t.Context(), pool, "bank", ix); !hasState(err, "OR007") {
			t.Errorf("%s: got %v, want OR007", name, err)
		}
	}
	if got := listed(t, pool, "bank"); len(got) != 0 {
		t.Errorf("listed: %v", got)
	}
}

// The limits hold the largest definition: pg_index keeps it in a row that must fit a page.
func TestTheLargestDefinitionIsBuilt(t *testing.T) {
	pool := pgtest.New(t)
	pgtest.Boundary(t, pool, "bank")
	ix := index{name: "largest"}
	next := rune(0x4e00)
	text := func(bytes int) string { // of characters that compress badly
		var b strings.Builder
		for b.Len()+3 <= bytes {
			b.WriteRune(next)
			next += 7
		}
		return b.String()
	}
	for range 5 {
		ix.fields = append(ix.fields, field{text(256), "NUMERIC"})
	}
	for range 8 {
		ix.conditions = append(ix.conditions, condition{text(48), ">=", text(48)})
	}
	mustIndex(t, pool, "bank", ix)
	if got := listed(t, pool, "bank"); !slices.Equal(got, []string{"largest READY"}) {
		t.Errorf("listed: %v", got)
	}
}

func TestAnIndexDroppedByHandIsNotCountedOn(t *testing.T) {
	pool := pgtest.New(t)
	pgtest.Boundary(t, pool, "bank")
	mustIndex(t, pool, "bank", textIndex("account", "account"))
	save(t, pool, "bank", request{none, nil, []event{moved("a", "alice")}})
	mustExecPool(t, pool, `DROP INDEX public.bank_account_idx`)
	if got := indexOf(t, pool, "bank", tag{"account", "alice"}); got != "" {
		t.Errorf("still found by %q", got)
	}
	if got := listed(t, pool, "bank"); len(got) != 0 {
		t.Errorf("still listed: %v", got)
	}
	got, err := saveOne(t.Context(), pool, request{none, account("alice"), []event{moved("b", "alice")}})
	if err != nil || got.Outcome != "context_changed" {
		t.Errorf("got %s (%v), want context_changed", got.Outcome, err)
	}
	mustIndex(t, pool, "bank", textIndex("account", "other")) // its name is free again
	if got := listed(t, pool, "bank"); !slices.Equal(got, []string{"account READY"}) {
		t.Errorf("listed: %v", got)
	}
}

// FuzzNothingIsInjectedThroughAnIndex puts text everywhere that a definition takes some: it is an index on it or
// refused by a state of ours, and nothing else happens.
func FuzzNothingIsInjectedThroughAnIndex(f *testing.F) {
	for _, seed := range [][5]string{
		{"name", "key", "TEXT", "=", "value"},
		{`n"; DROP TABLE canary; --`, "k", "TEXT", "=", "v"},
		{"n", `k'); DROP TABLE canary; --`, "TEXT", ">", `v'; DROP TABLE canary; --`},
		{"n", `\'; DROP TABLE canary; --`, "NUMERIC", "<=", `\'; DROP TABLE canary; --`},
		{"n", "k", `TEXT'); DROP TABLE canary; --`, "=", "1"},
		{"n", "k", "BOOLEAN", `= 1); DROP TABLE canary; --`, "1"},
		{"n", "%L", "TIMESTAMPTZ", ">=", "%1$s"},
		{"n", "$1", "TEXT", "<", "$sql$"},
		{"n", "ж\U0001F600", "TEXT", "=", "\t\n"},
	} {
		f.Add(seed[0], seed[1], seed[2], seed[3], seed[4])
	}
	pool := pgtest.New(f)
	pgtest.Boundary(f, pool, "bank")
	if _, err := pool.Exec(f.Context(), `CREATE TABLE public.canary ()`); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, name, key, kind, operator, value string) {
		ix := index{
			name: name, fields: []field{{key, kind}}, conditions: []condition{{key, operator, value}, {"a", "=", value}},
			combinator: "OR",
		}
		err := createIndex(t.Context(), pool, "bank", ix)
		var refused *pgconn.PgError
		// 22021: not UTF-8, or NUL
		if err != nil && (!errors.As(err, &refused) || !strings.HasPrefix(refused.Code, "OR") && refused.Code != "22021") {
			t.Fatalf("%+v: %v", ix, err)
		}
		var canary bool
		var indexes int
		if err := pool.QueryRow(t.Context(), `SELECT to_regclass('public.canary') IS NOT NULL,
			(SELECT count(*) FROM pg_index WHERE indrelid = 'public.bank_orisun_es_event'::regclass)`).
			Scan(&canary, &indexes); err != nil {
			t.Fatal(err)
		}
		if want := 2 + len(listed(t, pool, "bank")); !canary || indexes != want {
			t.Fatalf("%+v: canary %v, %d indexes, want %d", ix, canary, indexes, want)
		}
		if err != nil {
			return
		}
		if value != "" && key != "" {
			read(t, pool, "bank", query{criteria: []criterion{{{key, value}}, {{key, "1"}, {"a", value}}}, count: 10})
		}
		if err := dropIndex(t.Context(), pool, "bank", name); err != nil {
			t.Fatal(err)
		}
	})
}
