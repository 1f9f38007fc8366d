package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/oexza/orisun/cmd/orisun/bench"
)

// pgbench is the name of the rows of PostgreSQL's own load generator.
const pgbench = "pgbench"

// The data of an event, as the load generator writes them.
const (
	dataBegin  = `{"` + bench.ContextKey + `":"`
	dataMiddle = `","payload":"`
	dataEnd    = `"}`
)

// yardstick is single-row INSERTs by pgbench, on the same PostgreSQL, into a table like that of events: the speed of
// PostgreSQL here without us.
type yardstick struct {
	server  *server
	program string
	script  string
}

// newYardstick creates the table: the columns of an event, the three indexes (position, id, context) and as many rows
// as were seeded.
func newYardstick(ctx context.Context, s *server, dir string, config bench.Config) (_ *yardstick, err error) {
	conn, err := pgx.Connect(ctx, s.database())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	// The columns that differ between two events of ours differ here: the id, the context and the payload.
	values := fmt.Sprintf(`(1, gen_random_uuid()::text, '%s', ('%s' || (random() * %d)::int || '%s' || `+
		`left(repeat(gen_random_uuid()::text, %d), %d) || '%s')::jsonb)`,
		bench.EventType, dataBegin, config.Contexts, dataMiddle, config.Payload/36+1,
		max(config.Payload-len(dataBegin+dataMiddle+dataEnd)-6, 1), dataEnd)
	insert := `INSERT INTO orisun_bench.event (transaction_id, event_id, event_type, data) `
	for _, statement := range []string{
		`CREATE SCHEMA orisun_bench`,
		`CREATE TABLE orisun_bench.event (
			global_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, transaction_id bigint NOT NULL,
			date_created timestamptz NOT NULL DEFAULT clock_timestamp(), event_id text NOT NULL UNIQUE, event_type text NOT NULL,
			data jsonb NOT NULL, metadata jsonb NOT NULL DEFAULT '{}')`,
		`CREATE INDEX ON orisun_bench.event ((data->>'` + bench.ContextKey + `'), global_id)`,
		insert + `SELECT v.* FROM generate_series(1, ` + strconv.Itoa(config.SeedEvents) + `) n, LATERAL (VALUES ` +
			strings.Replace(values, "(1,", "(n,", 1) + `) v`,
		`VACUUM ANALYZE orisun_bench.event`,
	} {
		if _, err := conn.Exec(ctx, statement); err != nil {
			return nil, fmt.Errorf("%s: %w", statement, err)
		}
	}
	y := &yardstick{server: s, script: filepath.Join(dir, "pgbench.sql")}
	if y.program, err = findPgbench(s); err != nil {
		return nil, err
	}
	return y, os.WriteFile(y.script, []byte(insert+"VALUES "+values+";\n"), 0o600)
}

// findPgbench takes the pgbench beside the server's other programs, else the one in PATH. PostgreSQL records its
// program in its data directory: the line begins with the program, and each argument has quotes around it.
func findPgbench(s *server) (string, error) {
	line, err := os.ReadFile(filepath.Join(s.command.Dir, "pg", "cluster", "postmaster.opts"))
	if err != nil {
		return "", err
	}
	postgres, _, _ := strings.Cut(string(line), ` "`)
	dir := filepath.Dir(postgres)
	beside := filepath.Join(dir, pgbench)
	if _, err := os.Stat(beside); err == nil { //nolint:gosec // PostgreSQL, a child of this process, wrote it
		return beside, nil
	}
	program, err := exec.LookPath(pgbench)
	if err != nil {
		return "", fmt.Errorf("there is no pgbench in %s, nor in PATH: install PostgreSQL with its client programs", dir)
	}
	return program, nil
}

// measure runs pgbench with a number of connections, prepared statements and a thread for each CPU.
func (y *yardstick) measure(
	ctx context.Context, clients, threads, repeat int, duration time.Duration,
) (bench.Result, error) {
	seconds := max(1, int(math.Round(duration.Seconds())))
	command := exec.CommandContext(ctx, y.program, "--no-vacuum", "--protocol=prepared", "--file="+y.script,
		"--client="+strconv.Itoa(clients), "--jobs="+strconv.Itoa(min(threads, clients)), "--time="+strconv.Itoa(seconds),
		"--host=127.0.0.1", "--port="+strconv.Itoa(y.server.pgPort), "--username="+y.server.pgUser, y.server.pgDatabase)
	command.Env = []string{"PGPASSWORD=" + y.server.pgPassword, "LC_ALL=C"}
	var problems bytes.Buffer
	command.Stderr = &problems
	out, err := command.Output()
	if ctx.Err() != nil {
		return bench.Result{}, context.Cause(ctx)
	}
	if err != nil {
		return bench.Result{}, fmt.Errorf("pgbench: %w\n%s", err, bytes.TrimSpace(problems.Bytes()))
	}
	perSecond, inserted, err := readPgbench(string(out))
	return bench.Result{
		Workload: pgbench, Clients: clients, Repeat: repeat, Seconds: float64(seconds), Requests: inserted, Events: inserted,
		RequestsPerSecond: perSecond, EventsPerSecond: perSecond,
	}, err
}

var (
	// The rate without the time to connect: "tps = 2090.1 (without initial connection time)", up to 13 "(excluding
	// connections establishing)".
	pgbenchRate  = regexp.MustCompile(`(?m)^tps = ([0-9.]+) \((?:without|excluding)`)
	pgbenchCount = regexp.MustCompile(`(?m)^number of transactions actually processed: ([0-9]+)`)
)

func readPgbench(out string) (perSecond float64, inserted int64, err error) {
	rate, count := pgbenchRate.FindStringSubmatch(out), pgbenchCount.FindStringSubmatch(out)
	if rate == nil || count == nil {
		return 0, 0, fmt.Errorf("the output of pgbench has no rate:\n%s", out)
	}
	perSecond, rateErr := strconv.ParseFloat(rate[1], 64)
	inserted, countErr := strconv.ParseInt(count[1], 10, 64)
	return perSecond, inserted, errors.Join(rateErr, countErr)
}
