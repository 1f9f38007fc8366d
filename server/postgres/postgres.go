// Package postgres runs a private PostgreSQL server for as long as this process lives. Orisun uses it when
// ORISUN_PG_HOST is unset. The tests use it to have a real database without configuration.
//
// # Directories
//
// Config.DataDir holds
//
//	cluster/       PostgreSQL's own data directory, mode 0700, of the account PostgreSQL runs as
//	cluster.new/   an initdb that has not finished; renamed to cluster/ at its end, or removed by the next start
//	run/           the Unix socket, mode 0700; a link to /tmp/orisun-pg-* where its path would be too long
//	orisun.lock    locked while a Server owns the directory; names the pid of the owner
//	postgres.log   what PostgreSQL prints; moved to postgres.log.old by the start that finds it larger than 16 MiB
//
// # Rules
//
//   - One owner. The lock ends with its process, however that ends, so a held lock always means a living owner
//     (ErrLocked).
//   - Two ways to connect. The Unix socket needs no password, and the mode of run/ admits only the account and root:
//     it is for our own connections. TCP listens on 127.0.0.1 alone and requires the configured password
//     (scram-sha-256): it is for psql. Every start sets the role's password to the configured one.
//   - The configured role is no superuser: it owns its database and may create others. A superuser can run programs
//     as PostgreSQL's account (COPY FROM PROGRAM), and any user of the machine may know a password. The superuser,
//     orisun_superuser, has no password, so it connects by the socket only.
//   - A start converts a cluster of an earlier version, whose configured role is the superuser (convert.go).
//   - PostgreSQL refuses to run as root. Started by root it runs as the owner of cluster/, else as "postgres", else
//     as "nobody". Where a directory above Config.DataDir is closed to that account, the account gets a capability on
//     Linux that gives access. With it, PostgreSQL's superuser can read every file of the machine, and a warning
//     reports that.
//   - The configuration of a start is passed on PostgreSQL's command line, so it takes precedence over
//     postgresql.conf.
//   - PostgreSQL sees none of our PG*, LC_* and LANG* variables.
//
// # Failures
//
//   - We are killed (kill -9): the kernel sends PostgreSQL SIGINT, a fast shutdown, which loses nothing that was
//     acknowledged. Where the kernel cannot (not Linux), PostgreSQL stays until the next Start. Either way Start
//     first ends the remaining processes: by SIGINT, then SIGQUIT, then SIGKILL.
//   - PostgreSQL is killed: Server.Done closes and Server.Err returns the reason. It is not restarted in place: the
//     owner ends, and its next start ends the orphaned backends and replays the log. Where Start cannot find them
//     (not Linux, or root without CAP_SYS_PTRACE), PostgreSQL refuses to start beside them. Its message, in the
//     error, advises to end them.
//   - The machine loses power: with Config.Durable nothing acknowledged is lost, without it the cluster may be.
//   - PostgreSQL does not start: the error carries the tail of postgres.log.
//   - The cluster was created by another major version: the error names the version that is needed. Nothing is
//     upgraded or deleted.
package postgres

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
)

var (
	// ErrNoBinaries says that this machine has no PostgreSQL server of version 13 or later where Start searches.
	ErrNoBinaries = errors.New("no PostgreSQL server on this machine: install one (apt-get install postgresql, or brew " +
		"install postgresql), name the directory of its binaries in ORISUN_PG_BIN_DIR, or set ORISUN_PG_HOST to use one " +
		"that runs already")

	// ErrLocked says that another living Server owns the data directory.
	ErrLocked = errors.New("another server owns the PostgreSQL data directory")
)

// Config describes the server to run. User and Database are at most 63 bytes, the length at which PostgreSQL
// truncates names without an error.
type Config struct {
	// DataDir belongs to this package alone and is created when missing. A relative path is relative to the working
	// directory.
	DataDir string

	// BinDir is the directory of postgres and initdb. Empty searches postgresql/bin beside the executable, PATH,
	// pg_config --bindir and the places where Debian, Red Hat, Homebrew and Postgres.app put them. It takes the one
	// beside the executable, else the newest. Where there is a cluster, it takes the major version of the cluster.
	BinDir string

	// Port is the TCP port on 127.0.0.1; 0 picks a free one. It may differ between starts.
	Port int

	// User is the role that owns Database. It is no superuser, and may create databases. The database's owner cannot be
	// changed by configuration.
	User string

	// Password is the password of User by TCP. Empty disables logins by TCP.
	Password string

	// Database is created when missing.
	Database string

	// Durable turns fsync, full_page_writes and synchronous_commit on. Without it commits survive neither a crash of
	// PostgreSQL nor one of the machine: for tests.
	Durable bool

	// Settings are further PostgreSQL settings, such as max_connections. Settings that the other fields decide are
	// rejected.
	Settings map[string]string

	// Env are variables, NAME=value, that the server gets beside ours. Settings configures PostgreSQL itself. Env is
	// for libraries that are loaded into it.
	Env []string

	// Logger receives one line for each step of a start, with its duration. Nil means slog.Default().
	Logger *slog.Logger
}

// superuser is the role that initdb makes. heir and converter exist while a cluster is converted.
const (
	superuser = "orisun_superuser"
	heir      = "orisun_heir"
	converter = "orisun_converter"
)

// maxNameBytes is PostgreSQL's NAMEDATALEN less the final zero byte.
const maxNameBytes = 63

// check finds every error of the configuration before the start changes anything.
func (cfg Config) check() error {
	var problems []error
	refuse := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }

	if cfg.DataDir == "" {
		refuse("DataDir is empty: name a directory")
	}
	if cfg.Port < 0 || cfg.Port > 65535 {
		refuse("Port (ORISUN_PG_PORT) is %d: it must be from 1 to 65535, or 0 for any free one", cfg.Port)
	}
	for _, name := range []struct{ field, value string }{
		{"User (ORISUN_PG_USER)", cfg.User}, {"Database (ORISUN_PG_NAME)", cfg.Database},
	} {
		switch {
		case name.value == "":
			refuse("%s is empty: name one", name.field)
		case len(name.value) > maxNameBytes:
			refuse("%s is %q: it has %d bytes, PostgreSQL's names have at most %d", name.field, name.value, len(name.value),
				maxNameBytes)
		case strings.ContainsRune(name.value, 0):
			refuse("%s is %q: PostgreSQL's names cannot hold a zero byte", name.field, name.value)
		}
	}
	if strings.HasPrefix(cfg.User, "pg_") ||
		slices.Contains([]string{superuser, heir, converter, "public", "none"}, cfg.User) {
		refuse("User (ORISUN_PG_USER) is %q: this name is reserved, choose another one", cfg.User)
	}
	if strings.ContainsRune(cfg.Password, 0) {
		refuse("Password (ORISUN_PG_PASSWORD) holds a zero byte: PostgreSQL cannot take it")
	}
	fixed := cfg.fixedSettings()
	for name, value := range cfg.Settings {
		if _, taken := fixed[strings.ToLower(name)]; taken {
			refuse("Settings[%q] is %q: this setting follows from the other fields, leave it out", name, value)
		}
	}
	return errors.Join(problems...)
}

// fixedSettings are the settings that the fields of the configuration decide. The port and the socket's directory are
// known only in a start, so they are empty strings here.
func (cfg Config) fixedSettings() map[string]string {
	durable := "off"
	if cfg.Durable {
		durable = "on"
	}
	return map[string]string{
		"listen_addresses":        "127.0.0.1",
		"port":                    "",
		"unix_socket_directories": "",
		"unix_socket_permissions": "0700",
		"logging_collector":       "off",
		"log_destination":         "stderr",
		"fsync":                   durable,
		"full_page_writes":        durable,
		"synchronous_commit":      durable,
	}
}
