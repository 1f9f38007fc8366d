// Package migrations is what a DBA runs: the goose files of this folder, which make schema orisun and everything in it.
// The server applies the very same files when it starts, so `goose up` by hand and a server's start leave the same
// database.
//
// Each file is a chapter, named like the file in sql/ that calls its functions, to be read from top to bottom. The last
// one holds the grants and the only guard for going down: the schema goes only while no boundary holds an event. After
// the first release a file is frozen, and a changed function is a new file with its whole new body. Numbers begin at
// 201, since databases that were made before the chapters have versions up to 130.
//
// Failure modes: several servers that start at once wait for each other under goose's session lock, and one of them
// migrates. A version table that belongs to another application is recognised and refused (ErrForeignTable), since
// its numbers would hide ours.
package migrations

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"github.com/oexza/orisun/db/pgsession"
)

//go:embed *.sql
var files embed.FS

// DefaultTable is the version table that goose uses by default, qualified so that a role or schema of any name finds
// it.
const DefaultTable = "public.goose_db_version"

var (
	// ErrPending says that the database lacks migrations which this binary needs.
	ErrPending = errors.New("the database schema is older than this server")
	// ErrForeignTable says that the version table and schema orisun do not belong together.
	ErrForeignTable = errors.New("the version table is not that of schema orisun")
)

// lockWait is how many seconds a server waits, trying once a second, while another one migrates.
const lockWait = 300

// Up applies what is missing, in order, each file in a transaction of its own, and returns the versions it applied.
// table is the version table, DefaultTable unless another application occupies that.
func Up(ctx context.Context, config *pgx.ConnConfig, table string) (applied []int64, err error) {
	err = with(ctx, config, table, func(p *goose.Provider) error {
		results, err := p.Up(ctx)
		for _, r := range results {
			applied = append(applied, r.Source.Version)
		}
		return err
	})
	return applied, err
}

// Down takes all migrations back, the latest first. It fails with SQLSTATE OR008 while events exist.
func Down(ctx context.Context, config *pgx.ConnConfig, table string) error {
	return with(ctx, config, table, func(p *goose.Provider) error {
		_, err := p.DownTo(ctx, 0)
		return err
	})
}

// Check returns ErrPending when a migration is missing, and changes nothing.
func Check(ctx context.Context, config *pgx.ConnConfig, table string) error {
	return with(ctx, config, table, func(p *goose.Provider) error {
		current, target, err := versions(ctx, p)
		if err != nil {
			return err
		}
		if current < target {
			return fmt.Errorf("%w: it has version %d of %d in %s; run `orisun migrate`, or start with "+
				"ORISUN_PG_AUTO_MIGRATE=true", ErrPending, current, target, table)
		}
		return nil
	})
}

// versions is what the database has, 0 where it never saw goose, and the latest of ours.
func versions(ctx context.Context, p *goose.Provider) (current, target int64, err error) {
	pending, err := p.HasPending(ctx)
	if err != nil {
		return 0, 0, err
	}
	sources := p.ListSources()
	target = sources[len(sources)-1].Version
	if !pending {
		return target, target, nil
	}
	current, err = p.GetDBVersion(ctx)
	return current, target, err
}

func with(ctx context.Context, config *pgx.ConnConfig, table string, do func(*goose.Provider) error) (err error) {
	config = config.Copy()
	pgsession.Prepare(config) // among others, a role called orisun would find its tables in our schema, by "$user"
	database := stdlib.OpenDB(*config)
	defer func() { err = errors.Join(err, database.Close()) }()

	if err := checkTable(ctx, database, table); err != nil {
		return err
	}
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, lockWait))
	if err != nil {
		return err
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, database, files,
		goose.WithTableName(table), goose.WithSessionLocker(locker), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return err
	}
	return do(provider)
}

// checkTable compares schema and version table in one snapshot: the first migration makes both in one transaction. So
// it asks pg_namespace: to_regnamespace may answer what its session knew a moment before the snapshot, and take another
// server's migration that ends just then for another application's.
func checkTable(ctx context.Context, database *sql.DB, table string) error {
	var schema, versioned bool
	err := database.QueryRowContext(ctx, `SELECT to_regnamespace('orisun') IS NOT NULL, to_regclass($1) IS NOT NULL`,
		table).Scan(&schema, &versioned)
	if err != nil {
		return err
	}
	if versioned {
		if err := checkOwner(ctx, database, table); err != nil {
			return err
		}
		// The name is the operator's own, and to_regclass has just resolved it.
		err := database.QueryRowContext(ctx,
			`SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = 'orisun'),
			        EXISTS (SELECT FROM `+table+` WHERE version_id > 0 AND is_applied)`).Scan(&schema, &versioned)
		if err != nil {
			return err
		}
	}
	switch {
	case versioned && !schema:
		return fmt.Errorf("%w: %s notes versions, but schema orisun does not exist; the table is another application's: "+
			"set ORISUN_PG_MIGRATIONS_TABLE to a name of our own", ErrForeignTable, table)
	case schema && !versioned:
		return fmt.Errorf("%w: schema orisun exists, but %s notes no version; set ORISUN_PG_MIGRATIONS_TABLE to the table "+
			"that goose used", ErrForeignTable, table)
	}
	return nil
}

// checkOwner refuses a version table of a role that has nothing to do with the schema: where PUBLIC may create in the
// table's schema, any role could plant it, and its triggers would run with our rights.
func checkOwner(ctx context.Context, database *sql.DB, table string) error {
	var owner string
	var trusted bool
	err := database.QueryRowContext(ctx, `
		SELECT o.rolname, o.rolsuper OR o.rolname = current_user OR o.oid = d.datdba
		       OR EXISTS (SELECT FROM pg_catalog.pg_namespace n WHERE n.nspname = 'orisun' AND n.nspowner = o.oid)
		  FROM pg_catalog.pg_class c
		  JOIN pg_catalog.pg_roles o ON o.oid = c.relowner
		  JOIN pg_catalog.pg_database d ON d.datname = current_database()
		 WHERE c.oid = to_regclass($1)`, table).Scan(&owner, &trusted)
	if errors.Is(err, sql.ErrNoRows) {
		return nil // gone since it was looked up
	}
	if err == nil && !trusted {
		err = fmt.Errorf("%w: %s belongs to the role %s, which is neither this one nor the owner of the database or of "+
			"schema orisun; drop the table if you do not know it", ErrForeignTable, table, owner)
	}
	return err
}
