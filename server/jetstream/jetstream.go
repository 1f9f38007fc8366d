// Package jetstream runs a NATS server with JetStream inside this process.
//
// Everything in its store directory is a copy of what PostgreSQL holds: it may be deleted while the server is stopped.
//
//	orisun.lock    locked while a Server owns the directory, so that two processes never write the same files
//	jetstream/     NATS's own
//
// # Rules
//
//   - Two ways in. Connections of this process (Server.Connect) are in memory and may do everything; they log in with a password that
//     is random for each start and never leaves the process. Others come by TCP, and Config.LogIn says who may. Every second it is
//     asked whether they still may; whoever may not is cut.
//   - By TCP one reads: the streams ORISUN_*, with consumers of one's own, and the subjects orisun.events.>. Nothing may be published,
//     purged or deleted there. This is a fence for honest clients, not a wall against who is in: a JetStream reply or
//     delivery subject is of the client's choosing, and NATS does not check it, nor who listens to whose inbox. So there is one kind of guest,
//     and LogIn lets in only those who may read every boundary. What stands in a stream is not the truth, PostgreSQL is;
//     the publisher makes a stream anew that holds a foreign message at its end.
//   - A cluster serves one store: a server whose routes lead to another store does not start, and one that starts all the same is refused by the others.
//   - NATS installs no signal handlers and never ends the process. What it says goes to the Logger: warnings and errors as such, the rest at
//     level debug.
//
// # Failures
//
//   - The port is taken, the store directory cannot be written, or another process owns it: Start says so.
//   - The process is killed: the next start recovers the files. JetStream does not fsync each message, so a machine that loses power
//     can lose the last ones; the publisher publishes them again.
//   - The disk is full: the log says one line, Check tells. Saves go on, and readers are served from PostgreSQL. The streams' files are broken from
//     then on, and the publisher makes them anew when there is room. In a cluster JetStream may switch itself off on this node instead: a start after
//     room was made heals that.
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

// LogIn tells whether these credentials let somebody in who connects from an address, within NATS's two seconds for it (ctx ends with them).
type LogIn func(ctx context.Context, username, password string, from net.Addr) (Stay, bool)

// Stay tells whether somebody who was let in may stay. It may wait, until ctx ends.
type Stay func(ctx context.Context) bool

// Config says which server to run.
type Config struct {
	// ServerName is distinct for each node of a cluster.
	ServerName string

	// Host and Port are where others connect by TCP. An empty host is all addresses, port 0 any free one.
	Host string
	Port int

	// LogIn says who may come in by TCP; nil is nobody.
	LogIn LogIn

	// TLS is the server's side of TLS for those who come by TCP; nil is none.
	TLS *tls.Config
	// MaxPayload is the most bytes of a message, headers and data together.
	MaxPayload int32

	// StoreDir is created when missing.
	StoreDir string

	// Cluster joins other servers; nil stands alone.
	Cluster *ClusterConfig

	// Logger receives what NATS has to say. Nil means slog.Default().
	Logger *slog.Logger
}

// ClusterConfig is how servers find each other. User and Password are for the routes between them and the same on all.
type ClusterConfig struct {
	Name string
	// StoreID is the store that the cluster serves. NATS lets no server join that has another one, as it becomes a part
	// of the cluster's name there.
	StoreID        string
	Host           string
	Port           int // 0 is any free one
	User, Password string
	Routes         []*url.URL // of the other servers; a user and password in a route win over those above

	// Advertise is the host:port at which the others reach this one; empty is what it listens on. A start does not wait for the others.
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
