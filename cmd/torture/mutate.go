package main

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// A mutation takes one of the store's safeguards away, to show that the checks notice. It changes functions in a round's own database, or
// the build of the server.
type mutation struct {
	about string
	tags  string // for the server's build
	// replace are expressions in the boundary's saving function, and what they become.
	replace [][2]string
	after   string // a statement
}

var mutations = map[string]mutation{
	"lock": {
		about: "the boundary's lock is taken for the insertion alone, after the context was checked",
		replace: [][2]string{
			{`pg_advisory_xact_lock\(\d+, \d+\), `, ""},
			{`IF v_accepted > 0 THEN`, `IF v_accepted > 0 THEN
				PERFORM orisun.lock_positions((SELECT b.number FROM orisun.boundary b WHERE b.name = '` + boundary + `'));
				v_next := (SELECT coalesce(max(e.global_id) + 1, 0) FROM public.` + boundary + `_orisun_es_event e);`},
		},
	},
	"duplicates": {
		about:   "nobody looks whether an event_id is stored already, and it need not be unique",
		replace: [][2]string{{`IF v_known <> '{}' THEN`, "v_known := '{}'; IF v_known <> '{}' THEN"}},
		after:   `ALTER TABLE public.` + boundary + `_orisun_es_event DROP CONSTRAINT ` + boundary + `_orisun_es_event_event_id_key`,
	},
	"fence": {
		about: "the publisher expects nothing of the stream's end",
		tags:  "unfenced",
	},
}

func mutationNames() string { return strings.Join(slices.Sorted(maps.Keys(mutations)), ", ") }

// apply changes the database. What it replaces must be there, so that a mutation that no longer fits fails.
func (m mutation) apply(ctx context.Context, c *cluster) error {
	if m.replace != nil {
		var source string
		err := c.admin.QueryRow(ctx, `SELECT pg_get_functiondef(orisun.saving_function($1)::regproc)`, boundary).Scan(&source)
		if err != nil {
			return fmt.Errorf("read the saving function: %w", err)
		}
		for _, r := range m.replace {
			what := regexp.MustCompile(r[0])
			if len(what.FindAllString(source, -1)) != 1 {
				return fmt.Errorf("mutate: %s does not stand exactly once in\n%s", r[0], source)
			}
			source = what.ReplaceAllLiteralString(source, r[1])
		}
		if _, err := c.admin.Exec(ctx, source); err != nil {
			return fmt.Errorf("mutate: %w", err)
		}
	}
	if m.after != "" {
		if _, err := c.admin.Exec(ctx, m.after); err != nil {
			return fmt.Errorf("mutate: %w", err)
		}
	}
	return nil
}
