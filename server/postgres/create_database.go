//go:build unix

package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// createDatabase makes the role and the database match the configuration, over the socket. SQL composes the
// statements, so quoting is SQL's own.
func (s *Server) createDatabase(ctx context.Context) (found []any, err error) {
	conn, err := s.connect(ctx, superuser, "postgres")
	if isUnknownRole(err) {
		if err := s.convert(ctx); err != nil {
			return nil, fmt.Errorf("convert the cluster, in which the configured role is the superuser: %w", err)
		}
		conn, err = s.connect(ctx, superuser, "postgres")
	}
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()

	var exists bool
	var owner, createRole, alterRole, createDatabase, ownDatabase string
	if err := conn.QueryRow(ctx, `
		SELECT d.oid IS NOT NULL, coalesce(pg_get_userbyid(d.datdba), ''),
		       CASE WHEN r.oid IS NULL THEN format('CREATE ROLE %I', $1::text) ELSE '' END,
		       format('ALTER ROLE %I LOGIN NOSUPERUSER CREATEDB PASSWORD %L', $1::text, $2::text),
		       format('CREATE DATABASE %I', $3::text),
		       format('ALTER DATABASE %I OWNER TO %I', $3::text, $1::text)
		  FROM (SELECT 1) one
		  LEFT JOIN pg_catalog.pg_database d ON d.datname = $3::text
		  LEFT JOIN pg_catalog.pg_roles r ON r.rolname = $1::text`,
		s.cfg.User, s.cfg.Password,
		s.cfg.Database).Scan(&exists, &owner, &createRole, &alterRole, &createDatabase, &ownDatabase); err != nil {
		return nil, fmt.Errorf("look for the database %q: %w", s.cfg.Database, err)
	}
	if exists && owner != s.cfg.User && owner != superuser {
		return nil, fmt.Errorf("the database %q belongs to the role %q: ORISUN_PG_USER must stay what it was when the "+
			"database was made, and is %q", s.cfg.Database, owner, s.cfg.User)
	}
	statements := []string{
		createRole, alterRole, "ALTER ROLE " + superuser + " PASSWORD NULL", "DROP ROLE IF EXISTS " + converter,
	}
	if !exists {
		statements = append(statements, createDatabase)
	}
	if owner != s.cfg.User {
		statements = append(statements, ownDatabase)
	}
	for _, statement := range statements {
		if _, err := conn.Exec(ctx, statement); statement != "" && err != nil { // CREATE DATABASE needs to run alone
			return nil, fmt.Errorf("make the role %q and its database %q: %w", s.cfg.User, s.cfg.Database, err)
		}
	}
	if owner != s.cfg.User {
		if err := s.ownSchemaPublic(ctx); err != nil {
			return nil, fmt.Errorf("give schema public of the database %q to %q: %w", s.cfg.Database, s.cfg.User, err)
		}
	}
	return []any{"database", s.cfg.Database, "created", !exists}, nil
}

// ownSchemaPublic gives schema public to the database's owner only, as PostgreSQL does from version 15 on.
func (s *Server) ownSchemaPublic(ctx context.Context) error {
	return s.transact(ctx, superuser, s.cfg.Database, func(ctx context.Context, tx pgx.Tx) error {
		return executeAll(ctx, tx, "ALTER SCHEMA public OWNER TO "+pgx.Identifier{s.cfg.User}.Sanitize(),
			"REVOKE CREATE ON SCHEMA public FROM PUBLIC")
	})
}

// connect opens a connection of a superuser whose statements PostgreSQL does not log, as one holds the password. It
// replaces everything that pgx may have taken from our own PG* variables.
func (s *Server) connect(ctx context.Context, user, database string) (*pgx.Conn, error) {
	config, err := pgx.ParseConfig("host=/ port=5432 sslmode=disable")
	if err != nil {
		return nil, err
	}
	config.Host, config.Port = s.sockets, uint16(s.port)
	config.User, config.Password, config.Database = user, "", database
	config.Fallbacks, config.ValidateConnect, config.AfterConnect = nil, nil, nil
	config.RuntimeParams = map[string]string{
		"log_statement":              "none",
		"log_min_duration_statement": "-1",
		"log_min_error_statement":    "panic",
		"password_encryption":        "scram-sha-256", // before version 14 it is md5, which pg_hba.conf rejects
		"search_path":                "pg_catalog",
	}
	return pgx.ConnectConfig(ctx, config)
}

// isUnknownRole reports whether a login failed because the cluster has no such role.
func isUnknownRole(err error) bool {
	var refused *pgconn.PgError
	return errors.As(err, &refused) && refused.Code == "28000" // invalid_authorization_specification
}
