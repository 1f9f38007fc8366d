package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// A mutation takes one of the store's safeguards away, to show that the checks notice. It changes functions in a round's own database, or
// the build of the server.
type mutation struct {
	about string
	tags  string // for the server's build
	// in the source of which function what becomes which
	function string
	replace  [][2]string
	after    string // a statement
}

var mutations = map[string]mutation{
	"lock": {
		about:    "the boundary's lock is taken for the insertion alone, after the context was checked",
		function: "orisun.save_requests",
		replace: [][2]string{
			{"PERFORM orisun.lock_positions(v_boundary.number);", ""},
			{"IF 'saved' = ANY (v_outcomes) THEN", `IF 'saved' = ANY (v_outcomes) THEN
				PERFORM orisun.lock_positions(v_boundary.number);
				EXECUTE format('SELECT coalesce(max(e.global_id) + 1, 0) FROM %s e', v_boundary.events) INTO v_position;
				v_position := v_position - (SELECT min(s) FROM unnest(v_starts) s WHERE s >= 0);
				SELECT array_agg(CASE WHEN u.o = 'saved' THEN u.t + v_position ELSE u.t END ORDER BY u.n),
				       array_agg(CASE WHEN u.o = 'saved' THEN u.g + v_position ELSE u.g END ORDER BY u.n),
				       array_agg(CASE WHEN u.s >= 0 THEN u.s + v_position ELSE u.s END ORDER BY u.n)
				  INTO v_transaction_ids, v_global_ids, v_starts
				  FROM unnest(v_outcomes, v_transaction_ids, v_global_ids, v_starts) WITH ORDINALITY AS u(o, t, g, s, n);
				v_next := v_next + v_position;`},
		},
	},
	"duplicates": {
		about:    "nobody looks whether an event_id is stored already, and it need not be unique",
		function: "orisun.save_requests",
		replace:  [][2]string{{"IF v_known <> '{}' THEN", "v_known := '{}'; IF v_known <> '{}' THEN"}},
		after:    `ALTER TABLE public.` + boundary + `_orisun_es_event DROP CONSTRAINT ` + boundary + `_orisun_es_event_event_id_key`,
	},
	"fence": {
		about: "the publisher expects nothing of the stream's end",
		tags:  "unfenced",
	},
}

func mutationNames() string { return strings.Join(slices.Sorted(maps.Keys(mutations)), ", ") }

// apply changes the database. What it replaces must be there, so that a mutation that no longer fits fails.
func (m mutation) apply(ctx context.Context, c *cluster) error {
	if m.function != "" {
		var source string
		err := c.admin.QueryRow(ctx, `SELECT pg_get_functiondef($1::regproc)`, m.function).Scan(&source)
		if err != nil {
			return fmt.Errorf("read %s: %w", m.function, err)
		}
		for _, r := range m.replace {
			if strings.Count(source, r[0]) != 1 {
				return fmt.Errorf("mutate %s: %q does not stand in it exactly once", m.function, r[0])
			}
			source = strings.Replace(source, r[0], r[1], 1)
		}
		if _, err := c.admin.Exec(ctx, source); err != nil {
			return fmt.Errorf("mutate %s: %w", m.function, err)
		}
	}
	if m.after != "" {
		if _, err := c.admin.Exec(ctx, m.after); err != nil {
			return fmt.Errorf("mutate: %w", err)
		}
	}
	return nil
}
