// Package jetstream runs a NATS server with JetStream inside this process.
//
// Everything in its store directory is a copy of what PostgreSQL holds: it may be deleted while the server is stopped.
//
//	orisun.lock    locked while a Server owns the directory, so that two processes never write the same files
//	jetstream/     NATS's own
//
// # Rules
//
//   - There are two kinds of connections. Connections of this process (Server.Connect) are in memory and may do
//     everything. They log in with a password that is random for each start and never leaves the process. Other
//     connections use TCP, and Config.LogIn decides which ones may log in. Every second the server checks whether
//     they still may, and closes those that may not.
//   - By TCP, clients only read: the streams ORISUN_*, with consumers of their own, and the subjects orisun.events.>.
//     They may not publish, purge or delete. This protects against mistakes of honest clients, not against attacks by
//     connected ones: the client chooses a JetStream reply or delivery subject, and NATS checks neither these nor
//     subscriptions to other clients' inboxes. So all guests have equal rights, and LogIn admits only users that may
//     read every boundary. PostgreSQL holds the truth, not a stream. The publisher recreates a stream that holds a
//     foreign message at its end.
//   - A cluster serves one store. A server whose routes lead to another store does not start. If it starts all the
//     same, the other servers reject it.
//   - NATS installs no signal handlers and never ends the process. Its messages go to the Logger: warnings and errors
//     as such, the rest at level debug.
//
// # Failures
//
//   - The port is taken, the store directory cannot be written, or another process owns it: Start returns an error.
//   - The process is killed: the next start recovers the files. JetStream does not fsync each message, so a machine
//     that loses power can lose the last ones. The publisher publishes them again.
//   - The disk is full: the log has one line, and Check returns an error. Saves continue, and readers are served from
//     PostgreSQL. The streams' files are broken from then on, and the publisher recreates them when there is room. In
//     a cluster JetStream may switch itself off on this node instead. A restart after room was made repairs that.
package jetstream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"time"
)

var (
	// ErrLocked says that another living process owns the store directory.
	ErrLocked = errors.New("another server owns the NATS store directory")
	// ErrAnotherStore says that the routes lead to servers of another store only.
	ErrAnotherStore = errors.New("the NATS cluster serves another store")
)

// LogIn reports whether credentials admit a client that connects from an address. NATS allows two seconds for it, and
// ctx ends with them.
type LogIn func(ctx context.Context, username, password string, from net.Addr) (Stay, bool)

// Stay reports whether a connected client may stay. It may wait, until ctx ends.
type Stay func(ctx context.Context) bool

// Config describes the server to run.
type Config struct {
	// ServerName is distinct for each node of a cluster.
	ServerName string

	// Host and Port are where clients connect by TCP. An empty host is all addresses, port 0 any free one.
	Host string
	Port int

	// LogIn decides which clients may log in by TCP. nil admits none.
	LogIn LogIn

	// TLS is the server's side of TLS for TCP clients. nil is none.
	TLS *tls.Config
	// MaxPayload is the most bytes of a message, headers and data together.
	MaxPayload int32

	// StoreDir is created when missing.
	StoreDir string

	// Cluster joins other servers; nil stands alone.
	Cluster *ClusterConfig

	// Logger receives the messages of NATS. Nil means slog.Default().
	Logger *slog.Logger
}

// ClusterConfig is how servers find each other. User and Password are for the routes between them, and equal on all
// servers.
type ClusterConfig struct {
	Name string
	// StoreID is the store that the cluster serves. It becomes a part of the cluster's name in NATS, which rejects
	// servers with another cluster name.
	StoreID        string
	Host           string
	Port           int // 0 is any free one
	User, Password string
	Routes         []*url.URL // of the other servers; a user and password in a route take precedence

	// Advertise is the host:port at which the other servers reach this one. Empty is what it listens on. A start does
	// not wait for the other servers.
	Advertise string

	// TLS is for both sides of routes: it has to verify servers and clients. nil is none.
	TLS *tls.Config
	// StartTimeout bounds the start, in which streams are recovered from the store directory. 0 is two minutes.
	StartTimeout time.Duration
}

func (cfg Config) check() error {
	var problems []error
	refuse := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if cfg.Port < 0 || cfg.Port > 65535 {
		refuse("Port (ORISUN_NATS_PORT) is %d: it must be from 1 to 65535, or 0 for any free one", cfg.Port)
	}
	if cfg.StoreDir == "" {
		refuse("StoreDir (ORISUN_NATS_STORE_DIR) is empty: name a directory")
	}
	if cfg.MaxPayload <= 0 {
		refuse("MaxPayload (ORISUN_NATS_MAX_PAYLOAD) is %d: it must be positive", cfg.MaxPayload)
	}
	return errors.Join(problems...)
}
