//go:build unix

package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// createDatabase makes the role's password and the database what the configuration says, over the socket. SQL composes the
// statements, so quoting is SQL's own.
func (s *Server) createDatabase(ctx context.Context) (found []any, err error) {
	conn, err := s.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()

	var alterRole, createDatabase string
	var exists bool
	if err := conn.QueryRow(ctx, `
		SELECT format('ALTER ROLE %I PASSWORD %L', $1::text, $2::text),
		       format('CREATE DATABASE %I', $3::text),
		       EXISTS (SELECT FROM pg_catalog.pg_database WHERE datname = $3::text)`,
		s.cfg.User, s.cfg.Password, s.cfg.Database).Scan(&alterRole, &createDatabase, &exists); err != nil {
		return nil, fmt.Errorf("look for the database %q: %w", s.cfg.Database, err)
	}
	if _, err := conn.Exec(ctx, alterRole); err != nil {
		return nil, fmt.Errorf("set the password of the role %q: %w", s.cfg.User, err)
	}
	if !exists {
		if _, err := conn.Exec(ctx, createDatabase); err != nil {
			return nil, fmt.Errorf("create the database %q: %w", s.cfg.Database, err)
		}
	}
	return []any{"database", s.cfg.Database, "created", !exists}, nil
}

// connect opens a connection whose statements PostgreSQL does not log, as one holds the password. All that pgx may have
// taken from our own PG* variables is set anew.
func (s *Server) connect(ctx context.Context) (*pgx.Conn, error) {
	config, err := pgx.ParseConfig("host=/ port=5432 sslmode=disable")
	if err != nil {
		return nil, err
	}
	config.Host, config.Port = s.sockets, uint16(s.port)
	config.User, config.Password, config.Database = s.cfg.User, s.cfg.Password, "postgres"
	config.Fallbacks, config.ValidateConnect, config.AfterConnect = nil, nil, nil
	config.RuntimeParams = map[string]string{
		"log_statement":              "none",
		"log_min_duration_statement": "-1",
		"log_min_error_statement":    "panic",
		"password_encryption":        "scram-sha-256", // before version 14 it is md5, which pg_hba.conf does not let in
		"search_path":                "pg_catalog",
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	var refused *pgconn.PgError
	if errors.As(err, &refused) && refused.Code == "28000" { // invalid_authorization_specification: no such role
		return nil, fmt.Errorf("the role %q cannot log in to this cluster: ORISUN_PG_USER must stay what it was when the cluster was made: %w",
			s.cfg.User, err)
	}
	return conn, err
}
