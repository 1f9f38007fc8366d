package server

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/oexza/orisun/db"
)

// unsafeSettings returns the settings of PostgreSQL with which a crash may lose acknowledged events. None means that
// all are safe.
func unsafeSettings(ctx context.Context, pool *pgxpool.Pool) ([]string, error) {
	settings, err := db.New().FindUnsafeSettings(ctx, pool)
	if err != nil {
		return nil, fmt.Errorf("look at PostgreSQL's settings: %w", err)
	}
	return settings, nil
}

// warnOfUnsafeSettings logs a warning for each of them.
func (s *Server) warnOfUnsafeSettings(ctx context.Context, pool *pgxpool.Pool) error {
	settings, err := unsafeSettings(ctx, pool)
	for _, setting := range settings {
		s.log.Warn("PostgreSQL may lose acknowledged events in a crash: turn this setting on, in postgresql.conf or with "+
			"ALTER SYSTEM, ROLE or DATABASE", "setting", setting)
	}
	return err
}

// openSchemas are the boundaries' schemas in which every role may create objects.
func openSchemas(ctx context.Context, pool *pgxpool.Pool) ([]string, error) {
	schemas, err := db.New().FindOpenSchemas(ctx, pool)
	if err != nil {
		return nil, fmt.Errorf("look at the rights on schemas: %w", err)
	}
	return schemas, nil
}

// warnOfOpenSchemas logs a warning for each of them.
func (s *Server) warnOfOpenSchemas(ctx context.Context, pool *pgxpool.Pool) error {
	schemas, err := openSchemas(ctx, pool)
	for _, schema := range schemas {
		s.log.Warn("every role may create objects in a boundary's schema: REVOKE CREATE ON SCHEMA … FROM PUBLIC",
			"schema", schema)
	}
	return err
}
