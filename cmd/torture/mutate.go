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
	// Expressions, and what they become, in what saves the requests of a boundary, and in what composes its function of plain saves: servers that start do
	// that anew.
	requests, plain [][2]string
	after           string // a statement
}

// lockAnew takes the lock and looks where the table ends now.
const lockAnew = `
	PERFORM orisun.lock_positions((SELECT b.number FROM orisun.boundary b WHERE b.name = '` + boundary + `'));
	v_next := (SELECT coalesce(max(e.global_id) + 1, 0) FROM public.` + boundary + `_orisun_es_event e);
	`

var mutations = map[string]mutation{
	"lock": {
		about:    "the boundary's lock is taken for the insertion alone, after the context was checked",
		requests: [][2]string{{`pg_advisory_xact_lock\(\d+, \d+\), `, ""}, {`IF v_accepted > 0 THEN`, `IF v_accepted > 0 THEN` + lockAnew}},
		plain:    [][2]string{{`current_setting\('transaction_isolation'\) = 'read committed'`, "false"}}, // so it hands on
	},
	"duplicates": {
		about:    "nobody looks whether an event_id is stored already, and it need not be unique",
		requests: [][2]string{{`IF v_known <> '{}' THEN`, "v_known := '{}'; IF v_known <> '{}' THEN"}},
		plain:    [][2]string{{`e\.event_id = n\.event_id`, "false"}},
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
	if m.requests == nil {
		return nil
	}
	if err := c.replaceIn(ctx, `orisun.saving_function('`+boundary+`', 'requests')`, m.requests); err != nil {
		return err
	}
	if err := c.replaceIn(ctx, `'orisun.compose_plain_saving'`, m.plain); err != nil {
		return err
	}
	for _, statement := range []string{`DO $$ BEGIN EXECUTE orisun.compose_plain_saving('` + boundary + `'); END $$`, m.after} {
		if _, err := c.admin.Exec(ctx, statement); err != nil {
			return fmt.Errorf("mutate: %w", err)
		}
	}
	return nil
}

// replaceIn replaces expressions in a function, whose name is what an SQL expression tells.
func (c *cluster) replaceIn(ctx context.Context, function string, replace [][2]string) error {
	var source string
	if err := c.admin.QueryRow(ctx, `SELECT pg_get_functiondef(`+function+`::regproc)`).Scan(&source); err != nil {
		return fmt.Errorf("read %s: %w", function, err)
	}
	source, err := replaceEach(source, replace)
	if err != nil {
		return err
	}
	if _, err := c.admin.Exec(ctx, source); err != nil {
		return fmt.Errorf("mutate %s: %w", function, err)
	}
	return nil
}

// replaceEach replaces expressions, of which each must match exactly once.
func replaceEach(source string, replace [][2]string) (string, error) {
	for _, r := range replace {
		what := regexp.MustCompile(r[0])
		if len(what.FindAllString(source, -1)) != 1 {
			return "", fmt.Errorf("mutate: %s does not stand exactly once in\n%s", r[0], source)
		}
		source = what.ReplaceAllLiteralString(source, r[1])
	}
	return source, nil
}
