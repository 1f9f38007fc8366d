package projection

import (
	"context"
	"database/sql"
	"errors"

	"github.com/jackc/pgx/v5"
)

// Beginner is a pgxpool.Pool or a pgx.Conn.
type Beginner interface {
	Begin(ctx context.Context) (pgx.Tx, error)
}

// PGX reaches a PostgreSQL by pgx.
func PGX(pool Beginner) Store[pgx.Tx] {
	return Store[pgx.Tx]{func(ctx context.Context, do func(pgx.Tx, statements) error) error {
		return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error { return do(tx, pgxStatements{tx}) })
	}}
}

type pgxStatements struct{ tx pgx.Tx }

func (s pgxStatements) exec(ctx context.Context, query string, args ...any) error {
	_, err := s.tx.Exec(ctx, query, args...)
	return err
}

func (s pgxStatements) find(ctx context.Context, query, name string, into ...any) (bool, error) {
	err := s.tx.QueryRow(ctx, query, name).Scan(into...)
	if errors.Is(err, pgx.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

// SQL reaches a PostgreSQL by database/sql. Its driver must take $1 for a parameter, as those for PostgreSQL do.
func SQL(db *sql.DB) Store[*sql.Tx] {
	return Store[*sql.Tx]{func(ctx context.Context, do func(*sql.Tx, statements) error) (err error) {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer func() { // after a panic of do, too
			if failed := tx.Rollback(); !errors.Is(failed, sql.ErrTxDone) {
				err = errors.Join(err, failed)
			}
		}()
		if err := do(tx, sqlStatements{tx}); err != nil {
			return err
		}
		return tx.Commit()
	}}
}

type sqlStatements struct{ tx *sql.Tx }

func (s sqlStatements) exec(ctx context.Context, query string, args ...any) error {
	_, err := s.tx.ExecContext(ctx, query, args...)
	return err
}

func (s sqlStatements) find(ctx context.Context, query, name string, into ...any) (bool, error) {
	err := s.tx.QueryRowContext(ctx, query, name).Scan(into...)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}
