//go:build unix

package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// convert takes the superuser's rights from the configured role of a cluster that an earlier version created.
// PostgreSQL cannot do that to the role that initdb made. So that role is renamed, and another role gets its name and
// all objects that people created with it.
//
// The next start continues an interrupted conversion: nothing is renamed before everything has its new owner.
func (s *Server) convert(ctx context.Context) (err error) {
	conn, err := s.connect(ctx, s.cfg.User, "postgres")
	if isUnknownRole(err) {
		return fmt.Errorf("the role %q cannot log in to this cluster: ORISUN_PG_USER must stay what it was when the "+
			"cluster was made: %w", s.cfg.User, err)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	var made bool
	if err := conn.QueryRow(ctx, "SELECT oid = 10 FROM pg_roles WHERE rolname = current_user").Scan(&made); err != nil {
		return err
	}
	if !made {
		return fmt.Errorf("the role %q is not the one that initdb made: ORISUN_PG_USER must be that one until the cluster "+
			"is converted", s.cfg.User)
	}
	for role, rights := range map[string]string{heir: "NOLOGIN", converter: "SUPERUSER LOGIN"} {
		var exists bool
		if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)", role).
			Scan(&exists); err != nil {
			return err
		}
		if !exists {
			if _, err := conn.Exec(ctx, "CREATE ROLE "+role+" "+rights); err != nil {
				return err
			}
		}
	}
	rows, err := conn.Query(ctx, "SELECT datname FROM pg_database WHERE datallowconn ORDER BY datname")
	if err != nil {
		return err
	}
	databases, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	for _, database := range databases {
		if err := s.compose(ctx, database, objectsOfInitdbsRole); err != nil {
			return fmt.Errorf("give what is in the database %q to another role: %w", database, err)
		}
	}
	if err := s.compose(ctx, "postgres", databasesOfInitdbsRole); err != nil {
		return fmt.Errorf("give the databases to another role: %w", err)
	}
	// A session cannot rename its own role.
	user := pgx.Identifier{s.cfg.User}.Sanitize()
	if err := s.transact(ctx, converter, "postgres", func(ctx context.Context, tx pgx.Tx) error {
		return executeAll(ctx, tx, "ALTER ROLE "+user+" RENAME TO "+superuser, "ALTER ROLE "+heir+" RENAME TO "+user)
	}); err != nil {
		return fmt.Errorf("rename the superuser: %w", err)
	}
	s.log.Info("PostgreSQL: the configured role is no superuser any more", "role", s.cfg.User, "superuser", superuser)
	return nil
}

// compose runs the statements that a query composes, in one transaction.
func (s *Server) compose(ctx context.Context, database, query string) error {
	return s.transact(ctx, s.cfg.User, database, func(ctx context.Context, tx pgx.Tx) error {
		rows, err := tx.Query(ctx, query)
		if err != nil {
			return err
		}
		statements, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return err
		}
		return executeAll(ctx, tx, statements...)
	})
}

func (s *Server) transact(
	ctx context.Context, user, database string, do func(context.Context, pgx.Tx) error,
) (err error) {
	conn, err := s.connect(ctx, user, database)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error { return do(ctx, tx) })
}

func executeAll(ctx context.Context, tx pgx.Tx, statements ...string) error {
	for _, statement := range statements {
		if _, err := tx.Exec(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	return nil
}

// databasesOfInitdbsRole composes the statements that make the heir the owner of the databases that people created.
// The first oid that initdb does not use is 16384.
const databasesOfInitdbsRole = `
	SELECT format('ALTER DATABASE %I OWNER TO ` + heir + `', d.datname)
	  FROM pg_database d WHERE d.datdba = 10 AND d.oid >= 16384`

// objectsOfInitdbsRole composes the same for all objects in a database, except members of extensions and objects that
// belong to another object. Schema public stays with initdb's role, and the configured role may use it.
const objectsOfInitdbsRole = `
	WITH owned (classid, objid) AS (
		SELECT 'pg_namespace'::regclass, oid FROM pg_namespace WHERE nspowner = 10 AND (oid >= 16384 OR nspname = 'public')
		UNION ALL
		SELECT 'pg_class'::regclass, oid FROM pg_class WHERE relowner = 10 AND oid >= 16384
		  AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
		UNION ALL
		SELECT 'pg_proc'::regclass, oid FROM pg_proc WHERE proowner = 10 AND oid >= 16384
		UNION ALL
		SELECT 'pg_type'::regclass, t.oid FROM pg_type t LEFT JOIN pg_class c ON c.oid = t.typrelid
		 WHERE t.typowner = 10 AND t.oid >= 16384 AND t.typtype <> 'm' AND t.typelem = 0
		   AND (c.oid IS NULL OR c.relkind = 'c')
		UNION ALL
		SELECT 'pg_operator'::regclass, oid FROM pg_operator WHERE oprowner = 10 AND oid >= 16384
		UNION ALL
		SELECT 'pg_opfamily'::regclass, oid FROM pg_opfamily WHERE opfowner = 10 AND oid >= 16384
		UNION ALL
		SELECT 'pg_opclass'::regclass, oid FROM pg_opclass WHERE opcowner = 10 AND oid >= 16384
		UNION ALL
		SELECT 'pg_collation'::regclass, oid FROM pg_collation WHERE collowner = 10 AND oid >= 16384
		UNION ALL
		SELECT 'pg_ts_config'::regclass, oid FROM pg_ts_config WHERE cfgowner = 10 AND oid >= 16384
		UNION ALL
		SELECT 'pg_ts_dict'::regclass, oid FROM pg_ts_dict WHERE dictowner = 10 AND oid >= 16384
		UNION ALL
		SELECT 'pg_statistic_ext'::regclass, oid FROM pg_statistic_ext WHERE stxowner = 10
		UNION ALL
		SELECT 'pg_largeobject'::regclass, oid FROM pg_largeobject_metadata WHERE lomowner = 10
	)
	SELECT format('ALTER %s %s OWNER TO ` + heir + `',
	              CASE i.type WHEN 'statistics object' THEN 'statistics' ELSE i.type END, i.identity)
	  FROM owned o, pg_identify_object(o.classid, o.objid, 0) i
	 WHERE NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = o.classid AND d.objid = o.objid AND d.objsubid = 0
	                      AND (d.deptype IN ('e', 'i') OR d.deptype = 'a' AND i.type = 'sequence'))`
