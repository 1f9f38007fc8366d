package server

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/oexza/orisun/db"
	"github.com/oexza/orisun/service"
)

// missingRights returns the GRANTs that the server's role lacks.
func missingRights(ctx context.Context, pool *pgxpool.Pool) ([]string, error) {
	grants, err := db.New().FindMissingRights(ctx, pool)
	if service.IsRightMissing(err) {
		return []string{err.Error()}, nil // the role may not even read the catalog
	}
	if err != nil {
		return nil, fmt.Errorf("look at the rights of the server's role: %w", err)
	}
	return grants, nil
}

// warnOfMissingRights logs one line that names all missing rights.
func (s *Server) warnOfMissingRights(ctx context.Context, pool *pgxpool.Pool) error {
	grants, err := missingRights(ctx, pool)
	if len(grants) > 0 {
		s.log.Warn("the server's role lacks rights: let the owner of schema orisun run docs/grants.sql",
			"role", s.config.PG.User, "missing", strings.Join(grants, "; "))
	}
	return err
}

// rightsOf returns missingRights for readiness. It reads the rights of each object of each boundary, so it does not
// run at each request.
func rightsOf(pool *pgxpool.Pool) func(context.Context) ([]string, error) {
	var known []string
	var read time.Time
	return func(ctx context.Context) (_ []string, err error) {
		if time.Since(read) < schemaAge {
			return known, nil
		}
		if known, err = missingRights(ctx, pool); err == nil {
			read = time.Now()
		}
		return known, err
	}
}

// nameGrants describes where a role that lacks a right finds the GRANTs that it needs.
func nameGrants(err error) error {
	if service.IsRightMissing(err) {
		return fmt.Errorf("%w; docs/grants.sql has the rights that the server's role needs", err)
	}
	return err
}
