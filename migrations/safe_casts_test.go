package migrations_test

import (
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"pgregory.net/rapid"

	"github.com/oexza/orisun/migrations/pgtest"
)

// TestATimestampMeansOneMomentUnderEverySetting draws times and near misses, and asks under settings that change what
// timestamptz reads.
func TestATimestampMeansOneMomentUnderEverySetting(t *testing.T) {
	config := pgtest.Clone(t)
	var conns []*pgx.Conn
	for _, settings := range [][2]string{
		{"UTC", "ISO, MDY"}, {"Asia/Kathmandu", "SQL, DMY"}, {"America/St_Johns", "German, YMD"},
	} {
		with := config.Copy()
		with.RuntimeParams["TimeZone"], with.RuntimeParams["DateStyle"] = settings[0], settings[1]
		conns = append(conns, connect(t, with))
	}
	ask := func(rt interface{ Fatalf(string, ...any) }, text string) *time.Time {
		var answers []*time.Time
		for _, conn := range conns {
			var at *time.Time
			if err := conn.QueryRow(t.Context(), `SELECT orisun.try_timestamptz($1)`, text).Scan(&at); err != nil {
				rt.Fatalf("%q: %v", text, err)
			}
			answers = append(answers, at)
		}
		for _, at := range answers[1:] {
			if (at == nil) != (answers[0] == nil) || at != nil && !at.Equal(*answers[0]) {
				rt.Fatalf("%q is %v, %v and %v", text, answers[0], answers[1], answers[2])
			}
		}
		return answers[0]
	}
	number := func(rt *rapid.T, width, least, most int) string {
		return fmt.Sprintf("%0*d", width, rapid.IntRange(least, most).Draw(rt, "number"))
	}
	rapid.Check(t, func(rt *rapid.T) {
		text := number(rt, 4, 0, 9999) + "-" + number(rt, 2, 0, 13) + "-" + number(rt, 2, 0, 32) +
			rapid.SampledFrom([]string{"T", " ", "t", "  ", "", "-"}).Draw(rt, "separator") +
			number(rt, 2, 0, 25) + ":" + number(rt, 2, 0, 61) +
			rapid.SampledFrom([]string{"", ":00", ":59", ":60", ":07.5", ":59.9999999", ":1", ".5"}).Draw(rt, "seconds") +
			rapid.SampledFrom([]string{"Z", "z", "+00:00", "-15:59", "+14", "+0530", "+16:00", "", " UTC", "Z\n", "-00:60"}).
				Draw(rt, "offset")
		got := ask(rt, text)
		// which Go takes
		if want, err := time.Parse(time.RFC3339Nano, text); err == nil && want.Year() > 0 &&
			!strings.HasSuffix(text, "16:00") && !strings.HasSuffix(text, "00:60") {
			if got == nil || !got.Equal(want.Round(time.Microsecond)) {
				rt.Fatalf("%q is %v, want %v", text, got, want)
			}
		}
	})
	for text, understood := range map[string]bool{
		"2024-02-29T00:00:00Z": true, "2023-02-29T00:00:00Z": false, "1900-02-29T00:00:00Z": false,
		"2000-02-29T00:00:00Z": true,
		"2026-11-31T00:00:00Z": false, "2026-11-30 08:30+02": true, "2026-11-30T08:30:00": false, "11/30/2026 08:30Z": false,
		"20261130T083000Z": false,
		"now":              false, "infinity": false, "": false, "0000-01-01T00:00:00Z": false,
	} {
		if got := ask(t, text); (got != nil) != understood {
			t.Errorf("%q is %v", text, got)
		}
	}
}

// TestANumberIsUnderstoodExactlyOrNotAtAll draws texts of the characters that numbers are made of.
func TestANumberIsUnderstoodExactlyOrNotAtAll(t *testing.T) {
	conn := connect(t, pgtest.Clone(t))
	rapid.Check(t, func(rt *rapid.T) {
		text := rapid.OneOf(
			rapid.StringMatching(`[-+]?[0-9]{0,3}\.?[0-9]{0,3}([eE][-+]?[0-9]{0,4})?`),
			rapid.StringOfN(rapid.RuneFrom([]rune("0123456789.-+eE _xINn\n٣")), 0, 140, -1),
			rapid.Custom(func(rt *rapid.T) string { return strings.Repeat("9", rapid.IntRange(120, 140).Draw(rt, "digits")) }),
		).Draw(rt, "text")
		var got *string
		var size *int
		if err := conn.QueryRow(t.Context(), `SELECT orisun.try_numeric($1)::text, pg_column_size(orisun.try_numeric($1))`,
			text).Scan(&got, &size); err != nil {
			rt.Fatalf("%q: %v", text, err)
		}
		if got == nil {
			return
		}
		want, ok := new(big.Rat).SetString(text)
		is, _ := new(big.Rat).SetString(*got)
		if !ok || is.Cmp(want) != 0 || *size > 256 {
			rt.Fatalf("%q is %s, of %d bytes", text, *got, *size)
		}
	})
	for text, understood := range map[string]bool{
		"0": true, "-0.50": true, "1e999": true, "1e-999": true, "1e1000": false, "NaN": false, "Infinity": false,
		"0x1F": false, "1_000": false, " 1": false, "1\n": false,
		"": false, ".": false, "+": false, "e5": false, strings.Repeat("9", 128): true, strings.Repeat("9", 129): false,
		"٣": false,
	} {
		var is bool
		if err := conn.QueryRow(t.Context(), `SELECT orisun.try_numeric($1) IS NOT NULL`, text).Scan(&is); err != nil ||
			is != understood {
			t.Errorf("%.20q is understood: %v, %v; want %v", text, is, err, understood)
		}
	}
}
