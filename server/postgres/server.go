//go:build unix

package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
)

// Server is a running PostgreSQL and the owner of its data directory. The caller of Start must call Stop, also after
// Done.
type Server struct {
	cfg     Config
	log     *slog.Logger
	dir     string // Config.DataDir, absolute and without symbolic links
	lock    *os.File
	bin     binaries
	account account
	sockets string
	port    int
	anyPort func() (int, error) // picks the port when the configuration names none
	logFile string
	logFrom int64 // where in logFile this start begins
	process *process

	release    sync.Once
	releaseErr error
}

// Host returns the directory of the Unix socket, for our own connections: PostgreSQL's clients take a host that
// begins with a slash as a directory. The socket needs no password.
func (s *Server) Host() string { return s.sockets }

// Superuser returns the role with all rights. It logs in by the Unix socket only.
func (s *Server) Superuser() string { return superuser }

// Port returns the TCP port on 127.0.0.1, which is in the socket's name as well.
func (s *Server) Port() int { return s.port }

// PID returns the process id of PostgreSQL's postmaster.
func (s *Server) PID() int { return s.process.cmd.Process.Pid }

// Done is closed when PostgreSQL has ended, requested or not.
func (s *Server) Done() <-chan struct{} { return s.process.done }

// Err returns why PostgreSQL ended without a request, with the tail of its log. It is nil before Done and after a
// Stop.
func (s *Server) Err() error {
	select {
	case <-s.process.done:
	default:
		return nil
	}
	if s.process.requested.Load() {
		return nil
	}
	return fmt.Errorf("PostgreSQL (pid %d) ended unexpectedly: %w", s.PID(), s.whyEnded())
}

// Stop ends PostgreSQL by a fast shutdown: transactions in flight are rolled back, a checkpoint is written, the next
// start is quick. When ctx ends before that, the shutdown is immediate. That loses nothing that was acknowledged, but
// the next start replays the log, and Stop returns an error that says so. Either way PostgreSQL has ended and the
// data directory is free when Stop returns, unless the error is that PostgreSQL cannot be signalled. Stop may be
// called many times and concurrently.
func (s *Server) Stop(ctx context.Context) error {
	ended, err := s.process.end(ctx)
	if !ended {
		return err
	}
	return errors.Join(err, s.disown())
}
