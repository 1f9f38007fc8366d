package publisher

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"github.com/oexza/orisun/db"
	"github.com/oexza/orisun/migrations/pgtest"
	orisunpb "github.com/oexza/orisun/proto"
)

var filterDocuments = flag.Int("filter.documents", 100_000,
	"on how many random documents the filter is compared with PostgreSQL")

func TestFieldsAreWhatPostgresSays(t *testing.T) {
	pool := pgtest.New(t)
	const batch = 1000
	for drawn := 0; drawn < *filterDocuments; {
		rapid.Check(t, func(t *rapid.T) {
			documents := rapid.SliceOfN(rapid.Custom(drawDocument), batch, batch).Draw(t, "documents")
			drawn += len(documents)
			compareFields(t, pool, documents)
		})
	}
}

func TestFieldsOfOddDocumentsAreWhatPostgresSays(t *testing.T) {
	pool := pgtest.New(t)
	var documents []document
	for _, text := range []string{
		`{}`, ` { } `, `[]`, `["a"]`, `"a"`, `1`, `null`, `[{"a": 1}]`,
		`{"a":null}`, `{"a":1,"a":null}`, `{"a":null,"a":1}`, `{"a":1,"\u0061":2}`, `{"a":{"a":1}}`, `{"b":{"a":1}}`,
		`{"A":1}`, `{"a ":1}`,
		`{"a":"null"}`, `{"a":""}`, `{"a":[]}`, `{"a":{}}`, `{"a":[1, 2,{"b" : 1e3 }]}`, `{ "a" : 1 , "b" : 2 }`,
		`{"a":"\"\\\/\b\f\n\r\t\u0001\u00e9\ud83d\ude00"}`, "{\"a\":\"\u007f\u2028\ufffe\U0010ffff\"}",
		`{"a":1.50}`, `{"a":-0}`, `{"a":-0.0}`, `{"a":1E2}`, `{"a":1e-7}`, `{"a":1e400}`, `{"a":9007199254740993}`,
		`{"a":123456789012345678901234567890.1}`,
		`{"a":true}`, `{"a":false}`, `{"a":` + strings.Repeat("[", 900) + strings.Repeat("]", 900) + `}`,
		`{"a":"` + strings.Repeat("x", 2<<20) + `"}`,
	} {
		for _, key := range []string{"a", "b", "A", "a ", "", "0"} {
			documents = append(documents, document{text, key})
		}
	}
	compareFields(t, pool, documents)
}

// document is the text of a JSON document and a key to ask it for.
type document struct{ text, key string }

// compareFields asks PostgreSQL and the filter for each key: of the text itself, as json, and of what jsonb makes of
// it, which is what events hold.
func compareFields(t testingT, pool *pgxpool.Pool, documents []document) {
	t.Helper()
	texts, keys := make([]string, len(documents)), make([]string, len(documents))
	for i, d := range documents {
		texts[i], keys[i] = d.text, d.key
	}
	rows, err := pool.Query(context.Background(), `
		SELECT d.text, d.text::json ->> d.key, d.text::jsonb::text, d.text::jsonb ->> d.key
		  FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS d(text, key, ordinal) ORDER BY d.ordinal`, texts, keys)
	if err != nil {
		t.Fatalf("ask PostgreSQL: %v", err)
	}
	var asked, stored string
	var ofText, ofStored *string
	i := 0
	if _, err := pgx.ForEachRow(rows, []any{&asked, &ofText, &stored, &ofStored}, func() error {
		compareField(t, documents[i].key, asked, ofText)
		compareField(t, documents[i].key, stored, ofStored)
		i++
		return nil
	}); err != nil {
		t.Fatalf("ask PostgreSQL: %v", err)
	}
	if i != len(documents) {
		t.Fatalf("PostgreSQL answered %d documents of %d", i, len(documents))
	}
}

func compareField(t testingT, key, text string, want *string) {
	t.Helper()
	got, found, err := new(fields).get(text, key)
	switch {
	case err != nil:
		t.Fatalf("%.300q: %v", text, err)
	case found != (want != nil):
		t.Fatalf("%.300q ->> %q: found %v, PostgreSQL %v", text, key, found, want != nil)
	case found && got != *want:
		t.Fatalf("%.300q ->> %q = %.300q, PostgreSQL says %.300q", text, key, got, *want)
	}
}

// testingT is what *testing.T and *rapid.T share.
type testingT interface {
	Helper()
	Fatalf(format string, args ...any)
}

// TestCriteriaMatchWhatPostgresFinds puts events into a boundary, and compares what a query finds with what the filter
// lets through.
func TestCriteriaMatchWhatPostgresFinds(t *testing.T) {
	pool := pgtest.New(t)
	boundaries := 0
	rapid.Check(t, func(t *rapid.T) {
		boundaries++
		boundary := fmt.Sprintf("b%d", boundaries)
		events := rapid.SliceOfN(rapid.Custom(drawSmallEvent), 1, 30).Draw(t, "events")
		insert(t, pool, boundary, events)
		for range 10 {
			query := rapid.SliceOfN(rapid.Custom(drawCriterion), 0, 3).Draw(t, "criteria")
			criteria, err := json.Marshal(query)
			if err != nil {
				t.Fatalf("%v", err)
			}
			found, err := db.New().GetMatchingEvents(context.Background(), pool, db.GetMatchingEventsParams{
				Boundary: boundary, Criteria: string(criteria), Inclusive: true, Count: 100,
			})
			if err != nil {
				t.Fatalf("ask PostgreSQL: %v", err)
			}
			var want []string
			for _, e := range found {
				want = append(want, e.EventID)
			}
			wanted := newFilter(wireCriteria(query))
			var got []string
			for _, e := range storedEvents(t, pool, boundary) {
				matches, err := wanted.matches(newEntry(e))
				if err != nil {
					t.Fatalf("%v", err)
				}
				if matches {
					got = append(got, e.GetEventId())
				}
			}
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Fatalf("%s lets %v through, PostgreSQL finds %v", criteria, got, want)
			}
		}
	})
}

func TestAnEventIsReadOnceForAllSubscribers(t *testing.T) {
	e := newEntry(&orisunpb.Event{
		EventId: "1", EventType: "T", Data: `{"a": "x\n", "b": 2}`, Position: &orisunpb.Position{TransactionId: 1},
	})
	wanted := newFilter(wireCriteria([]criterion{{Tags: []tag{{"a", "x\n"}, {"b", "2"}}}}))
	criteria := func() {
		if matches, err := wanted.matches(e); !matches || err != nil {
			t.Fatalf("matches %v, %v", matches, err)
		}
	}
	criteria()
	if n := testing.AllocsPerRun(100, criteria); n != 0 {
		t.Errorf("the second subscriber costs %v allocations, want none", n)
	}
}

func TestWhatTheDecoderGivesUpOnIsLeftToPostgres(t *testing.T) {
	deep := strings.Repeat("[", 11_000) + strings.Repeat("]", 11_000)
	e := newEntry(&orisunpb.Event{
		EventId: "1", EventType: "T", Data: `{"a": 1, "deep": ` + deep + `}`, Position: &orisunpb.Position{TransactionId: 1},
	})
	if _, err := newFilter(wireCriteria([]criterion{{Tags: []tag{{"a", "1"}}}})).matches(e); err == nil {
		t.Error("an event that cannot be read has an answer")
	}
	if matches, err := newFilter(nil).matches(e); !matches || err != nil {
		t.Errorf("no criteria: %v, %v, want a match whatever the data", matches, err)
	}
}

type tag struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

type criterion struct {
	Tags []tag `json:"tags"`
}

func wireCriteria(criteria []criterion) (wire []*orisunpb.Criterion) {
	for _, c := range criteria {
		w := &orisunpb.Criterion{}
		for _, t := range c.Tags {
			w.Tags = append(w.Tags, &orisunpb.Tag{Key: t.Key, Value: t.Value})
		}
		wire = append(wire, w)
	}
	return wire
}

// Small alphabets, so that criteria overlap and mostly match something.
func drawCriterion(t *rapid.T) criterion {
	c := criterion{Tags: []tag{}}
	for range rapid.IntRange(0, 2).Draw(t, "tags") {
		c.Tags = append(c.Tags, tag{
			rapid.SampledFrom([]string{"a", "b", "event_type", "eventType"}).Draw(t, "key"),
			rapid.SampledFrom([]string{"1", "true", "x", "T", "U", `{"c": 1}`, ""}).Draw(t, "value"),
		})
	}
	return c
}

func drawSmallEvent(t *rapid.T) *orisunpb.Event {
	value := rapid.SampledFrom([]string{`1`, `"1"`, `true`, `"x"`, `"\u0078"`, `null`, `{"c":1}`, `""`, `"T"`})
	var members []string
	for _, key := range []string{"a", "b", "event_type", "eventType"} {
		if rapid.Bool().Draw(t, key) {
			members = append(members, fmt.Sprintf("%q: %s", key, value.Draw(t, "value")))
		}
	}
	return &orisunpb.Event{
		EventType: rapid.SampledFrom([]string{"T", "U", "x"}).Draw(t, "type"), Data: "{" + strings.Join(members, ",") + "}",
	}
}

func insert(t testingT, pool *pgxpool.Pool, boundary string, events []*orisunpb.Event) {
	t.Helper()
	if _, err := pool.Exec(context.Background(), "SELECT orisun.initialize_boundary_tables($1, 'public')",
		boundary); err != nil {
		t.Fatalf("%v", err)
	}
	for i, e := range events {
		_, err := pool.Exec(context.Background(),
			fmt.Sprintf("INSERT INTO public.%s_orisun_es_event (event_id, event_type, data) VALUES ($1, $2, $3)", boundary),
			fmt.Sprint(i), e.GetEventType(), e.GetData())
		if err != nil {
			t.Fatalf("%v", err)
		}
	}
}

func storedEvents(t testingT, pool *pgxpool.Pool, boundary string) (events []*orisunpb.Event) {
	t.Helper()
	found, err := db.New().GetMatchingEvents(context.Background(), pool, db.GetMatchingEventsParams{
		Boundary: boundary, Criteria: "[]", Inclusive: true, Count: 100_000,
	})
	if err != nil {
		t.Fatalf("ask PostgreSQL: %v", err)
	}
	for _, e := range found {
		events = append(events, &orisunpb.Event{
			EventId: e.EventID, EventType: e.EventType, Data: e.Data, Metadata: e.Metadata,
			DateCreated: timestamppb.New(e.DateCreated),
			Position:    &orisunpb.Position{TransactionId: e.TransactionID, GlobalId: e.GlobalID},
		})
	}
	return events
}

// drawDocument makes a document that jsonb takes, and a key, mostly one of its own.
func drawDocument(t *rapid.T) document {
	var members, keys []string
	for range rapid.IntRange(0, 4).Draw(t, "members") {
		key := drawText(t)
		keys = append(keys, key)
		members = append(members, drawSpace(t)+quote(t, key)+drawSpace(t)+":"+drawSpace(t)+drawValue(t, 2)+drawSpace(t))
	}
	d := document{text: "{" + strings.Join(members, ",") + "}", key: drawText(t)}
	if len(keys) > 0 && rapid.IntRange(0, 9).Draw(t, "own key") > 0 {
		d.key = rapid.SampledFrom(keys).Draw(t, "key")
	}
	return d
}

func drawValue(t *rapid.T, depth int) string {
	kinds := []string{"null", "true", "false", "number", "number", "string", "string", "object", "array"}
	if depth == 0 {
		kinds = kinds[:len(kinds)-2]
	}
	var parts []string
	switch kind := rapid.SampledFrom(kinds).Draw(t, "kind"); kind {
	case "number":
		return drawNumber(t)
	case "string":
		return quote(t, drawText(t))
	case "object":
		for range rapid.IntRange(0, 2).Draw(t, "members") {
			parts = append(parts, quote(t, drawText(t))+drawSpace(t)+":"+drawSpace(t)+drawValue(t, depth-1))
		}
		return "{" + strings.Join(parts, ","+drawSpace(t)) + "}"
	case "array":
		for range rapid.IntRange(0, 3).Draw(t, "elements") {
			parts = append(parts, drawValue(t, depth-1))
		}
		return "[" + drawSpace(t) + strings.Join(parts, ","+drawSpace(t)) + "]"
	default:
		return kind
	}
}

func drawSpace(t *rapid.T) string {
	return rapid.SampledFrom([]string{"", "", "", "", " ", "\t", "\r\n"}).Draw(t, "space")
}

func drawNumber(t *rapid.T) string {
	number := rapid.SampledFrom([]string{"", "-"}).Draw(t, "sign")
	if rapid.Bool().Draw(t, "small") {
		number += fmt.Sprint(rapid.Uint8().Draw(t, "whole"))
	} else {
		number += fmt.Sprint(rapid.Uint64().Draw(t, "whole")) + fmt.Sprint(rapid.Uint64().Draw(t, "digits"))
		number = strings.Replace(number, "-0", "-1", 1)
		if strings.HasPrefix(number, "0") {
			number = "1" + number
		}
	}
	if rapid.Bool().Draw(t, "fraction") {
		number += fmt.Sprintf(".%0*d", rapid.IntRange(1, 12).Draw(t, "width"), rapid.Uint16().Draw(t, "fraction"))
	}
	if rapid.Bool().Draw(t, "exponent") {
		number += fmt.Sprintf("%s%d", rapid.SampledFrom([]string{"e", "E", "e+", "E-", "e-0", "e00"}).Draw(t, "e"),
			rapid.IntRange(0, 400).Draw(t, "power"))
	}
	return number
}

// drawText is a key or a value: short, so that names repeat, and of every kind of character that there is.
func drawText(t *rapid.T) string {
	return rapid.SampledFrom([]string{
		"a", "b", "a", "b", "", " ", "a b", "event_type", "eventType", "null", "1", "$.a", "a.b", `"`, `\`, `\u0061`, "'",
		"é", "日本", "😀", "\U0010ffff", "\ufffe", "\u2028",
		"\n", "\t\r\b\f", "\x01", "\x1f", "\x7f", "/", "</script>", "key",
	}).Draw(t, "text")
}

// quote writes a text as a JSON string: each character itself where it may stand so, or one of its escapes.
func quote(t *rapid.T, text string) string {
	short := map[rune]string{'"': `\"`, '\\': `\\`, '/': `\/`, '\b': `\b`, '\f': `\f`, '\n': `\n`, '\r': `\r`, '\t': `\t`}
	style := rapid.IntRange(0, 3).Draw(t, "style")
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range text {
		escape, hasShort := short[r]
		must := r < ' ' || r == '"' || r == '\\'
		switch {
		case style == 0 && hasShort, must && hasShort && style != 1:
			b.WriteString(escape)
		case style == 1 || must:
			for _, unit := range utf16.Encode([]rune{r}) {
				fmt.Fprintf(&b, []string{`\u%04x`, `\u%04X`}[style&1], unit)
			}
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
