package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/jackc/pgx/v5"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	orisunpb "github.com/oexza/orisun/proto"
)

// Environment is what the numbers depend on besides our settings.
type Environment struct {
	Server string    `json:"server"` // version and commit
	Client string    `json:"client"` // this machine
	At     time.Time `json:"at"`
	// PostgreSQL is nil where Config.Database was not given.
	PostgreSQL *PostgreSQL `json:"postgresql,omitempty"`
	// Fsync is what it takes to write 8 KiB and fsync them; nil where Config.FsyncDir was not given.
	Fsync *Timing `json:"fsync,omitempty"`
}

// PostgreSQL describes the server's PostgreSQL: its version, and whether acknowledged transactions are on the disk.
type PostgreSQL struct {
	Version           string `json:"version"`
	Fsync             string `json:"fsync"`
	SynchronousCommit string `json:"synchronous_commit"`
	FullPageWrites    string `json:"full_page_writes"`
	WALSyncMethod     string `json:"wal_sync_method"`
	// Commit is the duration of the smallest transaction that has to reach the disk, one at a time.
	Commit Timing `json:"commit"`
}

// Timing is how long something takes, in milliseconds.
type Timing struct {
	P50 float64 `json:"p50_ms"`
	P99 float64 `json:"p99_ms"`
}

func (t Timing) String() string {
	return fmt.Sprintf("%s ms (p99 %s ms)", ShortTime(t.P50), ShortTime(t.P99))
}

// describe reads what the server and this machine are.
func (s *Session) describe(ctx context.Context) (Environment, error) {
	e := Environment{At: time.Now().UTC().Truncate(time.Second), Client: machine()}
	info, err := s.store(0).GetServerInfo(ctx, &orisunpb.GetServerInfoRequest{})
	switch {
	case err == nil:
		e.Server = strings.TrimSpace(info.GetVersion() + " " + info.GetGitCommit())
	case status.Code(err) != codes.Unimplemented:
		return e, fmt.Errorf("read the server's version: %w", err)
	}
	if s.config.Database != "" {
		if e.PostgreSQL, err = describePostgreSQL(ctx, s.config.Database); err != nil {
			return e, fmt.Errorf("--pg: %w", err)
		}
	}
	if s.config.FsyncDir != "" {
		if e.Fsync, err = measureFsync(s.config.FsyncDir); err != nil {
			return e, fmt.Errorf("--fsync-dir: %w", err)
		}
	}
	return e, nil
}

// machine describes this machine, as far as the system reports it.
func machine() string {
	text := fmt.Sprintf("%s/%s, %d CPUs", runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
	if model := processor(); model != "" {
		text += " (" + model + ")"
	}
	return text + ", " + runtime.Version()
}

// processor is the model that Linux names. Other systems name none here.
func processor() string {
	content, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(content)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// timings is how often a commit or an fsync is timed.
const timings = 200

func describePostgreSQL(ctx context.Context, database string) (_ *PostgreSQL, err error) {
	conn, err := pgx.Connect(ctx, database)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	p := &PostgreSQL{}
	err = conn.QueryRow(ctx,
		`SELECT current_setting('server_version'), current_setting('fsync'), current_setting('synchronous_commit'),
		current_setting('full_page_writes'), current_setting('wal_sync_method')`).
		Scan(&p.Version, &p.Fsync, &p.SynchronousCommit, &p.FullPageWrites, &p.WALSyncMethod)
	if err != nil {
		return nil, err
	}
	// A message in the log belongs to no table. Its transaction is still flushed at its commit.
	p.Commit, err = timed(func() error {
		_, err := conn.Exec(ctx, `SELECT pg_catalog.pg_logical_emit_message(true, 'orisun bench', '')`)
		return err
	})
	return p, err
}

func measureFsync(dir string) (_ *Timing, err error) {
	file, err := os.CreateTemp(dir, "orisun-bench-fsync-*")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close(), os.Remove(file.Name())) }()
	block := make([]byte, 8192)
	timing, err := timed(func() error {
		if _, err := file.WriteAt(block, 0); err != nil {
			return err
		}
		return file.Sync()
	})
	return &timing, err
}

func timed(do func() error) (Timing, error) {
	latencies := hdrhistogram.New(int64(least), int64(most), digits)
	for range timings {
		start := time.Now()
		if err := do(); err != nil {
			return Timing{}, err
		}
		if err := latencies.RecordValue(int64(time.Since(start))); err != nil {
			return Timing{}, err
		}
	}
	return Timing{
		P50: milliseconds(time.Duration(latencies.ValueAtQuantile(50))),
		P99: milliseconds(time.Duration(latencies.ValueAtQuantile(99))),
	}, nil
}

// Condition is a line above the numbers: what they depend on.
type Condition struct{ Name, Text string }

// Conditions describe the environment and the settings for people.
func (r Report) Conditions() []Condition {
	postgres, fsync := "not measured: give --pg", "not measured: give --fsync-dir"
	if p := r.Environment.PostgreSQL; p != nil {
		postgres = fmt.Sprintf("%s, fsync %s, synchronous_commit %s, full_page_writes %s, wal_sync_method %s; a commit "+
			"takes %v", p.Version, p.Fsync, p.SynchronousCommit, p.FullPageWrites, p.WALSyncMethod, p.Commit)
	}
	if f := r.Environment.Fsync; f != nil {
		fsync = fmt.Sprintf("8 KiB take %v", *f)
	}
	s := r.Settings
	return []Condition{
		{"server", cmp.Or(r.Environment.Server, "does not report its version")},
		{"client", r.Environment.Client},
		{"PostgreSQL", postgres},
		{"fsync", fsync},
		{"load", fmt.Sprintf("%d events of %d bytes seeded over %d contexts; %s; %v s warm-up, %v s a point; seed %d",
			s.SeedEvents, s.Payload, s.Contexts, count(s.Connections, "connection"), s.WarmUp, s.Duration, s.Seed)},
	}
}
