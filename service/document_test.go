package service

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"pgregory.net/rapid"

	"github.com/oexza/orisun/migrations/pgtest"
)

// TestDocumentPostgresRefusesIsRefusedAtTheDoor holds each edge from both sides against the server.
func TestDocumentPostgresRefusesIsRefusedAtTheDoor(t *testing.T) {
	pool := pgtest.New(t)
	zeros := func(n int) string { return strings.Repeat("0", n) }
	nines := func(n int) string { return strings.Repeat("9", n) }

	for _, c := range []struct {
		name, text string
		wants      string // part of the error; empty: accepted
	}{
		{"empty object", `{}`, ""},
		{"whitespace around everything", " \t\r\n{ \"a\" :\n[ 1 ,\t2 ] }\r\n ", ""},
		{"values of every kind", `{"a":null,"b":true,"c":false,"d":"","e":[],"f":{},"g":[[],{}],"h":0}`, ""},
		{"repeated name", `{"a":1,"b":{"c":2,"c":3},"a":4}`, ""},
		{"name repeated as an escape", `{"a":1,"\u0061":2}`, ""},

		{"nothing", ``, "empty"},
		{"only whitespace", " \n\t", "empty"},
		{"a string", `"a"`, "not a JSON object: the top level has to be {\"name\": value}, not string"},
		{"a number", ` 12`, "not a JSON object"},
		{"null", `null`, "not a JSON object"},
		{"an array", `[{}]`, "not a JSON object: the top level has to be {\"name\": value}, not ["},
		{"a misspelt literal", `{"a":nul}`, "at byte 8"},
		{"a literal in capitals", `{"a":True}`, "at byte 5"},
		{"two objects", `{"a":1} {"b":2}`, "another value follows the one that ends at byte 7"},
		{"trailing garbage", `{"a":1}x`, "at byte 7"},
		{"trailing comma in an object", `{"a":1,}`, "at byte 7"},
		{"trailing comma in an array", `{"a":[1,]}`, "at byte 8"},
		{"comma after the object", `{},`, "at byte 2"},
		{"name without value", `{"a"}`, "at byte 4"},
		{"name without quotes", `{a:1}`, "at byte 1"},
		{"single quotes", `{'a':1}`, "at byte 1"},
		{"a number as name", `{1:1}`, "at byte 1"},
		{"comment", `{"a":1/**/}`, "at byte 6"},
		{"truncated object", `{"a":1`, "ends at byte 6"},
		{"truncated string", `{"a":"b`, "ends at byte 7"},
		{"truncated escape", `{"a":"\u00`, "ends at byte 10"},
		{"crossed brackets", `{"a":[1}]`, "at byte 7"},
		{"byte order mark", "\ufeff{}", "at byte 0"},
		{"no-break space", "{\u00a0}", "at byte 1"},
		{"vertical tab", "{\v}", "at byte 1"},
		{"NUL byte", "{\"a\":\"\x00\"}", "at byte 6"},

		{"DEL, noncharacters and line separators", "{\"a\":\"\u007f\ufffe\U0010ffff\u2028\u0080\"}", ""},
		{"every short escape", `{"a":"\"\\\/\b\f\n\r\t"}`, ""},
		{"every short escape in a name", `{"\"\\\/\b\f\n\r\t":1}`, ""},
		{"controls as escapes", `{"a":"\u0001\u0008\u0009\u000a\u000C\u000d\u001f\u007f"}`, ""},
		{"escapes of one, two and three bytes", `{"a":"\u0041\u0022\u005c\u002f\u00e9\u20AC\uFFFF"}`, ""},
		{"escaped pair", `{"a":"\ud83d\ude00\uDBFF\uDFFF"}`, ""},
		{"backslash before u0000", `{"a":"\\u0000"}`, ""},
		{"NUL escape", `{"a":"b\u0000"}`, `\u0000 at byte 7`},
		{"NUL escape in a name", `{"\u0000":1}`, `\u0000 at byte 2`},
		{"NUL escape, later overwritten", `{"a":"\u0000","a":1}`, `\u0000 at byte 6`},
		{"high half alone", `{"a":"\ud83d"}`, `\ud83d at byte 6 is half of a surrogate pair`},
		{"low half alone", `{"a":"\ude00"}`, `\ude00 at byte 6 is half of a surrogate pair`},
		{"halves in the wrong order", `{"a":"\ude00\ud83d"}`, `half of a surrogate pair`},
		{"high half twice", `{"a":"\ud83d\ud83d\ude00"}`, `half of a surrogate pair`},
		{"high half before a letter", `{"a":"\ud83dxxxxxxxxxxx"}`, `half of a surrogate pair`},
		{"high half in a name", `{"\uD83D\n":1}`, `half of a surrogate pair`},
		{"unknown escape", `{"a":"\x41"}`, "at byte 6"},
		{"escape in capitals", `{"a":"\U0041"}`, "at byte 6"},
		{"escape without four digits", `{"a":"\u00g0"}`, "at byte 6"},
		{"raw newline in a string", "{\"a\":\"b\n\"}", "at byte 7"},
		{"raw control in a name", "{\"\x1f\":1}", "at byte 2"},
		{"invalid UTF-8", "{\"a\":\"b\xff\"}", "invalid UTF-8 at byte 7"},
		{"overlong UTF-8", "{\"a\":\"\xc0\x80\"}", "invalid UTF-8 at byte 6"},
		{"surrogate in UTF-8", "{\"a\":\"\xed\xa0\xbd\xed\xb8\x80\"}", "invalid UTF-8 at byte 6"},
		{"beyond U+10FFFF", "{\"a\":\"\xf4\x90\x80\x80\"}", "invalid UTF-8 at byte 6"},
		{"truncated UTF-8", "{\"a\":\"\xe2\x82\"}", "invalid UTF-8 at byte 6"},

		{"leading zero", `{"a":01}`, "at byte 6"},
		{"leading plus", `{"a":+1}`, "at byte 5"},
		{"leading point", `{"a":.5}`, "at byte 5"},
		{"point without digits", `{"a":1.}`, "at byte 7"},
		{"exponent without digits", `{"a":1e}`, "at byte 7"},
		{"minus alone", `{"a":-}`, "at byte 6"},
		{"hexadecimal", `{"a":0x10}`, "at byte 6"},
		{"NaN", `{"a":NaN}`, "at byte 5"},
		{"Infinity", `{"a":-Infinity}`, "at byte 6"},

		{"beyond 2^53", `{"a":9007199254740993,"b":18446744073709551616}`, ""},
		{"zeros of many shapes", `{"a":[0,-0,-0.00,-0e5,0e-5,-0e-3,0.00e2,0.0e1,0E+0]}`, ""},
		{
			"points moved by exponents",
			`{"a":[1.50e1,0.05e1,0.5e1,5e-1,123e-5,123.456e2,123.456e-2,-1E+5,100e-2,0.001e3]}`, "",
		},
		{"exponent with leading zeros", `{"a":[1e0000000000000000000005,1e-0000000000000000000005]}`, ""},
		{"highest power by exponent", `{"a":[1e131071,-9.9e131071,0.1e131072]}`, ""},
		{
			"power too high", `{"a":1e131072}`,
			"the number at byte 5 is beyond PostgreSQL's numeric: more than 131072 digits before the decimal point; send it " +
				"as a string",
		},
		{"negative power too high", `{"a":-10e131071}`, "131072 digits before"},
		{"power of a fraction too high", `{"a":0.1e131073}`, "131072 digits before"},
		{"most digits before the point", `{"a":` + nines(131072) + `}`, ""},
		{"too many digits before the point", `{"a":` + nines(131073) + `}`, "131072 digits before"},
		{"many zeros taken back by the exponent", `{"a":1` + zeros(140000) + `e-10000}`, ""},
		{"longest number of all", `{"a":-` + nines(131072) + `.` + nines(16383) + `}`, ""},
		{"largest scale by exponent", `{"a":[1e-16383,1.0e-16382,100e-16383]}`, ""},
		{"scale too large by exponent", `{"a":1e-16384}`, "more than 16383 digits after the decimal point"},
		{"scale too large by a trailing zero", `{"a":1.0e-16383}`, "16383 digits after"},
		{"most digits after the point", `{"a":0.` + zeros(16382) + `1}`, ""},
		{"too many digits after the point", `{"a":0.` + zeros(16383) + `1}`, "16383 digits after"},
		{"scale brought back by the exponent", `{"a":0.` + zeros(16383) + `1e1}`, ""},
		{"scale not quite brought back", `{"a":0.` + zeros(16384) + `1e1}`, "16383 digits after"},
		{"largest scale of a zero", `{"a":[0e-16383,0.0e-16382,0.` + zeros(16383) + `]}`, ""},
		{"scale of a zero too large by exponent", `{"a":0e-16384}`, "16383 digits after"},
		{"scale of a zero too large", `{"a":0.` + zeros(16384) + `}`, "16383 digits after"},
		{"largest exponent of a zero", `{"a":0.0e1073741822}`, ""},
		{"exponent of a zero too large", `{"a":0e1073741824}`, "its exponent is not within ±1073741822"},
		{"exponent beyond 64 bits", `{"a":0e99999999999999999999}`, "its exponent is not within"},
		{"negative exponent beyond 64 bits", `{"a":1e-99999999999999999999}`, "its exponent is not within"},
	} {
		t.Run(c.name, func(t *testing.T) {
			compareWithPostgres(t, pool, c.text)
			_, err := checkDocument(c.text)
			switch {
			case c.wants == "" && err != nil:
				t.Errorf("refused: %v", err)
			case c.wants != "" && (err == nil || !strings.Contains(err.Error(), c.wants)):
				t.Errorf("error %v, wanted %q in it", err, c.wants)
			}
		})
	}
}

// PostgreSQL 16 and later take this one and 13 to 15 do not, so that no server of the day can be asked.
func TestDocumentThatOlderServersRefuseIsRefused(t *testing.T) {
	if _, err := checkDocument(`{"a":0e1073741823}`); err == nil {
		t.Error("accepted: PostgreSQL 13 to 15 answer 22003, value overflows numeric format")
	}
}

func TestNestingStopsWellBeforePostgresRunsOutOfStack(t *testing.T) {
	pool := pgtest.New(t)
	arrays := func(levels int) string {
		return `{"a":` + strings.Repeat("[", levels-1) + strings.Repeat("]", levels-1) + `}`
	}
	objects := func(levels int) string {
		return strings.Repeat(`{"a":`, levels-1) + "{}" + strings.Repeat("}", levels-1)
	}
	for _, nest := range []func(int) string{arrays, objects} {
		compareWithPostgres(t, pool, nest(maxNesting))
		if stored, err := postgresDocument(t, pool, nest(5*maxNesting), true); err != nil {
			t.Errorf("%d levels: %v; maxNesting (%d) is too near to what PostgreSQL can parse", 5*maxNesting, err, maxNesting)
		} else if stored.kind != "object" {
			t.Errorf("stored as %s", stored.kind)
		}
		for _, levels := range []int{maxNesting + 1, 100_000} { // the decoder has a limit of its own between the two
			_, err := checkDocument(nest(levels))
			if err == nil || !strings.Contains(err.Error(), "nested deeper than 1000 levels at byte") {
				t.Errorf("%d levels: %v", levels, err)
			}
		}
	}
	if _, err := checkDocument(`{"a":[` + strings.Repeat(`[],{},`, 10*maxNesting) + `0]}`); err != nil {
		t.Errorf("many shallow values taken for a deep one: %v", err)
	}
}

// A few bytes of exponents would be gigabytes once printed; the size says so without printing them, and cannot wrap
// around.
func TestSizeOfAmplifiedNumbersIsKnownWithoutPrintingThem(t *testing.T) {
	document := func(numbers int) string {
		return `{"a":[` + strings.TrimSuffix(strings.Repeat("1e131071,", numbers), ",") + `]}`
	}
	const each = 131072 + len(", ")

	size, err := checkDocument(document(1000))
	if want := len(`{"a": []}`) + 1000*each - len(", "); err != nil || size != want {
		t.Errorf("size %d, %v; wanted %d", size, err, want)
	}
	size, err = checkDocument(document(100_000)) // 13 GB
	if err != nil || size != maxPrinted {
		t.Errorf("size %d, %v; wanted %d", size, err, maxPrinted)
	}
}

// What one document leaves in a pooled reader must not reach the next one.
func TestRefusedDocumentLeavesNothingBehind(t *testing.T) {
	for _, refused := range []string{
		`{"a":[[[{"b":`, `[`, `{"a":1e999999}`, `{"a":"\u0000"}`, strings.Repeat(`{"a":`, 2*maxNesting), ``,
	} {
		if _, err := checkDocument(refused); err == nil {
			t.Errorf("accepted %.40q", refused)
		}
		if size, err := checkDocument(`{"a":1}`); err != nil || size != len(`{"a": 1}`) {
			t.Errorf("after %.40q: size %d, %v", refused, size, err)
		}
	}
}

func TestRandomDocumentsAgreeWithPostgres(t *testing.T) {
	pool := pgtest.New(t)
	rapid.Check(t, func(t *rapid.T) {
		for _, text := range rapid.SliceOfN(rapid.Custom(drawObject), 1, 50).Draw(t, "documents") {
			compareWithPostgres(t, pool, text)
		}
	})
}

func TestMutatedDocumentsAgreeWithPostgres(t *testing.T) {
	pool := pgtest.New(t)
	rapid.Check(t, func(t *rapid.T) {
		for _, text := range rapid.SliceOfN(rapid.Custom(drawGarbage), 1, 50).Draw(t, "documents") {
			compareWithPostgres(t, pool, text)
		}
	})
}

// FuzzDocumentAgreesWithPostgres wants -fuzzminimizetime=1x: the connection's goroutines make coverage vary, and so
// minimising endless.
func FuzzDocumentAgreesWithPostgres(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"a":[1,-0.50e-3,{"b":null}],"a":"\ud83d\ude00\u0000\/"}`, "\t{\"\xe2\x82\xac\":1E+131071} ", `{"a":0e-16384}`,
		`{"a":"\udc00`, `[]`,
		`{"a":0e1073741823}`,
		`{"a":` + strings.Repeat("[", maxNesting) + strings.Repeat("]", maxNesting) + `}`,
		`{"a":[` + strings.Repeat("1e131071,", 300) + `0]}`,
	} {
		f.Add(seed)
	}
	pool := pgtest.New(f)
	f.Fuzz(func(t *testing.T, text string) {
		compareWithPostgres(t, pool, text)
	})
}

func BenchmarkCheckDocument(b *testing.B) {
	for name, text := range map[string]string{
		"event": `{"user_id":"user-001","email":"jane.doe@example.com","age":34,"active":true,` +
			`"tags":["a","b"],"address":{"city":"Berlin","zip":"10115"},"created":"2024-01-20T10:30:00Z"}`,
		"prose":   `{"body":"` + strings.Repeat("lorem ipsum dolor sit amet, ", 100) + `"}`,
		"escapes": `{"body":"` + strings.Repeat(`Gr\u00fc\u00dfe,\n\"quoted\" \ud83d\ude00 `, 100) + `"}`,
		"tokens":  `{"a":[` + strings.Repeat("1,2.5,true,null,{},-1e3,", 200) + `0]}`,
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := checkDocument(text); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// testingT is what *testing.T and *rapid.T share.
type testingT interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// compareWithPostgres fails the test when checkDocument accepts what jsonb refuses or the other way round, or promises
// another size.
func compareWithPostgres(t testingT, pool *pgxpool.Pool, text string) {
	t.Helper()
	size, err := checkDocument(text)
	isPrinted := size <= maxPrintedInTests
	stored, refusal := postgresDocument(t, pool, text, isPrinted)
	switch {
	case refusal == nil && stored.kind == "object" && err != nil && isStricter(err):
	case refusal == nil && stored.kind == "object" && err != nil:
		t.Errorf("PostgreSQL stores %.200q, refused with: %v", text, err)
	case refusal != nil && err == nil:
		t.Errorf("PostgreSQL refuses %.200q (%v), accepted", text, refusal)
	case refusal == nil && stored.kind != "object" && err == nil:
		t.Errorf("%.200q is a JSON %s, accepted", text, stored.kind)
	case err != nil || !isPrinted:
	case size < stored.size:
		t.Errorf("PostgreSQL prints %d bytes for %.200q, more than the promised %d", stored.size, text, size)
	case size > stored.size && jsontext.Value(text).IsValid(): // which no document with repeated names is
		t.Errorf("PostgreSQL prints %d bytes for %.200q, fewer than the promised %d", stored.size, text, size)
	}
}

// isStricter returns whether a document is refused by a bound of this server, which some PostgreSQL does not have:
// nesting, and the exponents ±1073741823 of a zero.
func isStricter(err error) bool {
	return strings.Contains(err.Error(), "nested deeper") || strings.Contains(err.Error(), "its exponent is not within")
}

// maxPrintedInTests is the largest document that PostgreSQL prints in a test: 1e131071 alone has 131,072 digits.
const maxPrintedInTests = 1 << 25

// storedDocument is a document after PostgreSQL took it in.
type storedDocument struct {
	kind string // jsonb_typeof
	size int    // of the printed text in bytes, 0 where it was not printed
}

// postgresDocument asks PostgreSQL to take text as jsonb. The error is its refusal of the text; any other failure fails
// the test.
func postgresDocument(
	t testingT, pool *pgxpool.Pool, text string, isPrinted bool,
) (stored storedDocument, refusal error) {
	t.Helper()
	const query = `SELECT jsonb_typeof(d), CASE WHEN $2 THEN octet_length(d::text) ELSE 0 END
		FROM (SELECT $1::text::jsonb AS d) AS document`
	err := pool.QueryRow(context.Background(), query, text, isPrinted).Scan(&stored.kind, &stored.size)
	if err == nil {
		return stored, nil
	}
	var server *pgconn.PgError
	refusals := []string{
		"22P02", // invalid_text_representation: not JSON
		"22P05", // untranslatable_character: \u0000
		"22003", // numeric_value_out_of_range
		"22021", // character_not_in_repertoire: not UTF-8
	}
	if !errors.As(err, &server) || !slices.Contains(refusals, server.Code) {
		t.Fatalf("asking PostgreSQL about %.200q: %v", text, err)
	}
	return storedDocument{}, server
}

// drawObject makes the text of a JSON object in which everything that the grammar allows and something that it forbids
// can come up.
func drawObject(t *rapid.T) string {
	return drawSpace(t) + drawMembers(t, 3) + drawSpace(t)
}

func drawMembers(t *rapid.T, depth int) string {
	var members []string
	for range rapid.IntRange(0, 4).Draw(t, "members") {
		members = append(members, drawSpace(t)+drawString(t)+drawSpace(t)+":"+drawSpace(t)+drawValue(t, depth-1)+drawSpace(t))
	}
	return "{" + strings.Join(members, ",") + drawSpace(t) + "}"
}

func drawElements(t *rapid.T, depth int) string {
	var elements []string
	for range rapid.IntRange(0, 4).Draw(t, "elements") {
		elements = append(elements, drawSpace(t)+drawValue(t, depth-1)+drawSpace(t))
	}
	return "[" + drawSpace(t) + strings.Join(elements, ",") + "]"
}

func drawValue(t *rapid.T, depth int) string {
	kinds := []string{
		"null", "true", "false", "number", "number", "number", "string", "string", "string", "object", "array",
	}
	if depth == 0 {
		kinds = kinds[:len(kinds)-2]
	}
	switch kind := rapid.SampledFrom(kinds).Draw(t, "kind"); kind {
	case "number":
		return drawNumber(t)
	case "string":
		return drawString(t)
	case "object":
		return drawMembers(t, depth)
	case "array":
		return drawElements(t, depth)
	default:
		return kind
	}
}

func drawSpace(t *rapid.T) string {
	return rapid.SampledFrom([]string{"", "", "", "", "", " ", "\t", "\r\n", " \n\t "}).Draw(t, "space")
}

// drawNumber leans towards the edges of numeric, where powers and scales that the exponent moves meet the limits.
func drawNumber(t *rapid.T) string {
	sign := rapid.SampledFrom([]string{"", "", "-"}).Draw(t, "sign")
	whole := rapid.StringMatching(`0|[1-9][0-9]{0,20}`).Draw(t, "whole")
	fraction := rapid.StringMatching(`(|\.0{0,4}[0-9]{1,6}0{0,3})`).Draw(t, "fraction")
	if rapid.IntRange(0, 20).Draw(t, "many zeros") == 20 {
		fraction = "." + strings.Repeat("0",
			16383-rapid.IntRange(-2, 8).Draw(t, "fewer")) + rapid.StringMatching(`[0-9]{0,3}`).Draw(t, "last")
	}
	exponent := ""
	if rapid.Bool().Draw(t, "exponent") {
		edge := rapid.SampledFrom([]int{0, 0, 0, 5, -5, 131071, -16383, 1073741810}).Draw(t, "edge")
		exponent = fmt.Sprintf("%s%d", rapid.SampledFrom([]string{"e", "E"}).Draw(t, "e"),
			edge+rapid.IntRange(-12, 12).Draw(t, "off"))
		if edge > 0 {
			exponent = rapid.SampledFrom([]string{
				exponent, exponent[:1] + "+" + exponent[1:], exponent[:1] + "00" + exponent[1:],
			}).Draw(t, "written")
		}
	}
	return sign + whole + fraction + exponent
}

func drawString(t *rapid.T) string {
	piece := rapid.OneOf(
		rapid.StringMatching(`[ -!#-\[\]-~]{0,8}`),
		rapid.StringMatching(`[ab]`), // so that names repeat
		rapid.SampledFrom([]string{
			`\"`, `\\`, `\/`, `\b`, `\f`, `\n`, `\r`, `\t`, `\u0061`, "\u007f", "é", "€", "\ufffe", "😀", `\ud83d\ude00`,
		}),
		rapid.StringMatching(`\\u00[0-7][0-9a-fA-F]`), // \u0000 among them
		rapid.StringMatching(`\\u[0-9a-fA-F]{4}`),     // surrogate halves among them
		rapid.StringMatching(`\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}`),
		rapid.Map(rapid.Rune(), func(r rune) string {
			if r < ' ' || r == '"' || r == '\\' {
				return fmt.Sprintf(`\u%04x`, r)
			}
			return string(r)
		}),
	)
	return `"` + strings.Join(rapid.SliceOfN(piece, 0, 5).Draw(t, "pieces"), "") + `"`
}

// drawGarbage is a document with a few bytes changed, which mostly is no document any more.
func drawGarbage(t *rapid.T) string {
	text := drawObject(t)
	for range rapid.IntRange(1, 3).Draw(t, "changes") {
		from := rapid.IntRange(0, len(text)).Draw(t, "from")
		to := rapid.IntRange(from, min(from+4, len(text))).Draw(t, "to")
		put := rapid.OneOf(
			rapid.SampledFrom([]string{
				"", ",", ":", "{", "}", "[", "]", `"`, `\`, `\u`, `\ud83d`, `\udc00`, `\u0000`, "0", "-", "+", ".", "e", "e-16383",
				"null", "x", "{}", "//",
				" ", "\v", "\f", "\u00a0", "\ufeff", "\u2028", "\u007f", "\x00", "\x1f", "\n", "\x80", "\xc0\x80", "\xe2\x82",
				"\xed\xa0\x80", "\xf4\x90\x80\x80", "\xff",
			}),
			rapid.Map(rapid.Byte(), func(b byte) string { return string([]byte{b}) }),
		).Draw(t, "put")
		text = text[:from] + put + text[to:]
	}
	return text
}
