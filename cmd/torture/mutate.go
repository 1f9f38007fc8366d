package main

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// A mutation removes one of the store's safeguards, to show that the checks notice. It changes functions in a round's
// own database, or the build of the server.
type mutation struct {
	about     string
	tags      string                 // of the server's build
	functions map[string][][2]string // by function, expressions and their replacements
	after     string                 // a statement
}

// Functions that a mutation changes.
const (
	saveRequests    = "orisun_boundary.save_requests" // the template
	heldPartitions  = "orisun.held_partitions"
	saveCheckpoints = "orisun.save_checkpoints"
)

// lockLate takes the lock and reads where the table ends now.
const lockLate = `PERFORM orisun.lock_positions(orisun_boundary.number());
	v_next := (SELECT coalesce(max(e.global_id) + 1, 0) FROM orisun_boundary.es_event e);
	RETURN QUERY
        WITH stored AS (`

var mutations = map[string]mutation{
	"lock": {
		about: "the boundary's lock is taken for the insertion alone, after the context was checked",
		functions: map[string][][2]string{saveRequests: {
			{`PERFORM pg_advisory_xact_lock\([^;]*;`, ""},
			{`RETURN QUERY\s+WITH stored AS \(`, lockLate},
		}},
	},
	"duplicates": {
		about: "stored event_ids are not looked up, and they need not be unique",
		functions: map[string][][2]string{saveRequests: {
			{`IF v_known <> '{}' OR`, "v_known := '{}'; IF v_known <> '{}' OR"},
		}},
		after: `ALTER TABLE public.` + boundary + `_orisun_es_event DROP CONSTRAINT ` + boundary +
			`_orisun_es_event_event_id_key`,
	},
	"fence": {
		about: "the publisher expects nothing of the stream's end",
		tags:  "unfenced",
	},
	"lease": {
		about: "the next consumer of a partition gets it while the lease of the one that has it is valid",
		functions: map[string][][2]string{heldPartitions: {
			{`p\.next_member IS NOT NULL`, "false"},
			{`p\.member = m\.member`, "m.member IN (p.member, p.next_member)"},
		}},
	},
	"epoch": {
		about: "a checkpoint is stored although another consumer has the partition since",
		functions: map[string][][2]string{saveCheckpoints: {
			{`p\.epoch = g\.epoch\s+AND \(p\.saved_epoch, p\.saved\) < \(g\.epoch, \$9\)`, "true"},
		}},
	},
}

func mutationNames() string { return strings.Join(slices.Sorted(maps.Keys(mutations)), ", ") }

// apply changes the database. The expressions that it replaces must exist, so a mutation that no longer fits fails.
// It changes the template, since servers that start clone that again.
func (m mutation) apply(ctx context.Context, c *cluster) error {
	if m.functions == nil {
		return nil
	}
	var statements []string
	for name, replace := range m.functions {
		var source string
		if err := c.admin.QueryRow(ctx, `SELECT pg_get_functiondef($1::regproc)`, name).Scan(&source); err != nil {
			return fmt.Errorf("mutate: %w", err)
		}
		source, err := replaceEach(source, replace)
		if err != nil {
			return err
		}
		statements = append(statements, source)
	}
	for _, statement := range append(statements, `SELECT orisun.clone_functions('`+boundary+`')`, m.after) {
		if _, err := c.admin.Exec(ctx, statement); err != nil {
			return fmt.Errorf("mutate: %w", err)
		}
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
