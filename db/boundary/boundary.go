// Package boundary calls a boundary's own functions through sqlc's queries.
//
// Each boundary has copies of the functions in schema orisun_boundary (migrations/00207_lookup.sql). sqlc's queries
// name the originals; a connection from Boundaries.On replaces orisun_boundary.x by "schema"."boundary_orisun_x" in
// their text. That naming rule stands here and in orisun.clone_functions. pgx caches the statements.
//
// The sessions need the settings that schema orisun_boundary's comment names.
package boundary

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/oexza/orisun/db"
)

// Boundaries knows in which schemas boundaries live. The zero value is ready, and safe for concurrent use.
type Boundaries struct {
	known sync.Map // name → *texts
}

// texts are sqlc's queries with a boundary's names in them, by the original text. There are as many as queries.
type texts struct {
	replacement string
	known       sync.Map
}

var template = regexp.MustCompile(`\borisun_boundary\.(\w+)`)

// On returns a connection that runs sqlc's queries on the functions of a boundary. The error is that of PostgreSQL:
// OR001 for an unknown boundary.
func (b *Boundaries) On(ctx context.Context, tx db.DBTX, name string) (db.DBTX, error) {
	if known, found := b.known.Load(name); found {
		return conn{tx, known.(*texts)}, nil
	}
	schema, err := db.New().FindBoundarySchema(ctx, tx, name)
	if err != nil {
		return nil, err
	}
	// Names consist of letters, digits, _ and -: nothing in them needs to be escaped.
	known, _ := b.known.LoadOrStore(name, &texts{replacement: `"` + schema + `"."` + name + `_orisun_${1}"`})
	return conn{tx, known.(*texts)}, nil
}

// Rewrite returns what replaces a query of sqlc's by one on the functions of a boundary, for pgx.Batch. ok is false for
// a boundary that is not known: see On and Knows.
func (b *Boundaries) Rewrite(name string) (rewrite func(query string) string, ok bool) {
	known, found := b.known.Load(name)
	if !found {
		return nil, false
	}
	return known.(*texts).of, true
}

// Knows returns whether a boundary was found before.
func (b *Boundaries) Knows(name string) bool {
	_, found := b.known.Load(name)
	return found
}

// Check forgets a boundary that IsGone, and returns err.
func (b *Boundaries) Check(name string, err error) error {
	if IsGone(err) {
		b.known.Delete(name)
	}
	return err
}

// IsGone returns whether PostgreSQL does not find the function, table or schema that a statement names: a boundary's
// may be dropped by hand, or created again by a restore.
func IsGone(err error) bool {
	var refused *pgconn.PgError
	return errors.As(err, &refused) && slices.Contains([]string{"42883", "42P01", "3F000"}, refused.Code)
}

// IsUnknown returns whether PostgreSQL does not know a boundary, or lacks its tables.
func IsUnknown(err error) bool {
	var refused *pgconn.PgError
	return IsGone(err) || errors.As(err, &refused) && refused.Code == "OR001"
}

func (t *texts) of(query string) string {
	if text, found := t.known.Load(query); found {
		return text.(string)
	}
	text := template.ReplaceAllString(query, t.replacement)
	t.known.Store(query, text)
	return text
}

// conn is a connection whose queries are a boundary's.
type conn struct {
	tx    db.DBTX
	texts *texts
}

func (c conn) Exec(ctx context.Context, query string, arguments ...any) (pgconn.CommandTag, error) {
	return c.tx.Exec(ctx, c.texts.of(query), arguments...)
}

func (c conn) Query(ctx context.Context, query string, arguments ...any) (pgx.Rows, error) {
	return c.tx.Query(ctx, c.texts.of(query), arguments...)
}

func (c conn) QueryRow(ctx context.Context, query string, arguments ...any) pgx.Row {
	return c.tx.QueryRow(ctx, c.texts.of(query), arguments...)
}
