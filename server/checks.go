package server

import (
	"context"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/oexza/orisun/migrations"
	"github.com/oexza/orisun/server/config"
	"github.com/oexza/orisun/server/httpapi"
)

// schemaAge is how long an up-to-date schema counts as such without a new check. A check takes a connection of its
// own.
const schemaAge = 10 * time.Second

// readinessChecks are the checks that /readyz and gRPC health report. They have a pool of their own, so that queries
// do not delay them.
func readinessChecks(
	config *config.Config, pool *pgxpool.Pool, streams *streaming, shortage func() error,
) []httpapi.Check {
	checks := []httpapi.Check{
		{Name: "postgresql", Required: true, Run: pool.Ping},
		{Name: "migrations", Required: true, Run: cachedFor(schemaAge, func(ctx context.Context) error {
			return migrations.Check(ctx, pool.Config().ConnConfig, config.PG.MigrationsTable)
		})},
		{Name: "saves", Run: func(context.Context) error { return shortage() }},
		{Name: "jetstream", Run: streams.check},
	}
	if config.NATS.ClusterEnabled {
		checks = append(checks, httpapi.Check{
			Name: "cluster", Run: func(context.Context) error { return streams.nats.Missing() },
		})
	}
	return checks
}

// cachedFor repeats a check that succeeded only after some time. A check that does not end in time leaves the result
// as it was: the schema of a busy PostgreSQL has not changed.
func cachedFor(age time.Duration, check func(context.Context) error) func(context.Context) error {
	var succeeded time.Time
	return func(ctx context.Context) error {
		if time.Since(succeeded) < age {
			return nil
		}
		err := check(ctx)
		if err == nil {
			succeeded = time.Now()
		}
		if ctx.Err() != nil && !succeeded.IsZero() {
			return nil
		}
		return err
	}
}

// warnOfLoss warns of settings of PostgreSQL with which a crash may lose events.
func warnOfLoss(pool *pgxpool.Pool) httpapi.Warner {
	return func(ctx context.Context) (warnings []string) {
		settings, err := unsafeSettings(ctx, pool)
		warnings = lossOf(settings)
		if err != nil {
			warnings = append(warnings, "PostgreSQL's settings are unknown: "+err.Error())
		}
		return warnings
	}
}

// lossOf is one warning of settings that are off.
func lossOf(settings []string) []string {
	last := len(settings) - 1
	switch last {
	case -1:
		return nil
	case 0:
		return []string{"PostgreSQL's " + settings[0] + " is off: a crash may lose acknowledged events. " +
			"Set it on in postgresql.conf and reload."}
	default:
		return []string{"PostgreSQL's " + strings.Join(settings[:last], ", ") + " and " + settings[last] +
			" are off: a crash may lose acknowledged events. Set them on in postgresql.conf and reload."}
	}
}

// warnOfMissingRights warns of the GRANTs that the server's role lacks.
func warnOfMissingRights(pool *pgxpool.Pool) httpapi.Warner {
	rights := rightsOf(pool)
	return func(ctx context.Context) []string {
		missing, err := rights(ctx)
		switch {
		case err != nil:
			return []string{"the rights of the server's role in PostgreSQL are unknown: " + err.Error()}
		case len(missing) > 0:
			return []string{"the server's role lacks rights in PostgreSQL: " + strings.Join(missing, "; ")}
		default:
			return nil
		}
	}
}

// warnOfOpenSchemas warns of boundaries' schemas in which every role may create objects.
func warnOfOpenSchemas(pool *pgxpool.Pool) httpapi.Warner {
	return func(ctx context.Context) (warnings []string) {
		schemas, err := openSchemas(ctx, pool)
		for _, schema := range schemas {
			warnings = append(warnings,
				"every role may create objects in schema "+schema+", which is a boundary's: "+
					"REVOKE CREATE ON SCHEMA "+schema+" FROM PUBLIC")
		}
		if err != nil {
			warnings = append(warnings, "the rights on schemas are unknown: "+err.Error())
		}
		return warnings
	}
}

// warnOfDefaultPassword warns while the first admin has the default password and other machines can log in.
func (c *callers) warnOfDefaultPassword(ctx context.Context) []string {
	open, err := c.defaultPasswordIsOpen(ctx)
	switch {
	case err != nil:
		return []string{"whether the admin has the default password is unknown: " + err.Error()}
	case open:
		return []string{
			"the admin has the default password, and ORISUN_GRPC_HOST, ORISUN_ADMIN_HOST or ORISUN_NATS_HOST lets others than " +
				"this machine in: change it with orisun user password",
		}
	default:
		return nil
	}
}
