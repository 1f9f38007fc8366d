//go:build unix

package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"
)

// failedStartGrace bounds the fast shutdown of a server whose start failed midway.
const failedStartGrace = 5 * time.Second

// Start runs PostgreSQL and returns when it accepts connections and has the configured role's password and database.
// ctx bounds the start, not the server's life. The errors to distinguish are ErrNoBinaries and ErrLocked. After any
// error nothing is left running.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, log: cfg.Logger, anyPort: freePort}
	if s.log == nil {
		s.log = slog.Default()
	}
	if err := s.claimDataDir(); err != nil {
		return nil, err
	}
	if err := s.run(ctx); err != nil {
		return nil, errors.Join(err, s.abandon(ctx))
	}
	return s, nil
}

// run does the steps of a start, in their order.
func (s *Server) run(ctx context.Context) error {
	if err := s.step(ctx, "find binaries", s.findBinaries); err != nil {
		return err
	}
	if err := s.step(ctx, "choose account", s.chooseAccount); err != nil {
		return err
	}
	exists, err := s.clusterExists()
	if err != nil {
		return err
	}
	if exists {
		if err := s.step(ctx, "recover", s.endStale); err != nil {
			return err
		}
	} else if err := s.step(ctx, "initdb", s.initdb); err != nil {
		return err
	}
	if err := s.step(ctx, "start", s.launch); err != nil {
		return err
	}
	return s.step(ctx, "create database", s.createDatabase)
}

// step does one step and logs it with its duration and result.
func (s *Server) step(ctx context.Context, name string, take func(context.Context) ([]any, error)) error {
	began := time.Now()
	found, err := take(ctx)
	if cause := context.Cause(ctx); err != nil && cause != nil && !errors.Is(err, cause) {
		err = fmt.Errorf("%w: %w", cause, err) // a program that was ended with ctx reports only that it was killed
	}
	if err != nil {
		return fmt.Errorf("PostgreSQL: %s: %w", name, err)
	}
	s.log.Info("PostgreSQL: "+name, append(found, "duration", time.Since(began))...)
	return nil
}

// abandon undoes a start that failed midway.
func (s *Server) abandon(ctx context.Context) error {
	if s.process == nil {
		return s.disown()
	}
	// ctx may be the cause of the failure, and a fast shutdown is still better.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), failedStartGrace)
	defer cancel()
	return s.Stop(ctx)
}

// claimDataDir creates the data directory and locks it. Other accounts may pass through it, as PostgreSQL's account
// must, but not list it.
func (s *Server) claimDataDir() error {
	dir, err := filepath.Abs(s.cfg.DataDir)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return fmt.Errorf("make the directory above the data directory: %w", err)
	}
	if err := os.Mkdir(dir, 0o711); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("make the data directory: %w", err)
	}
	// PostgreSQL's processes are found by their working directory, which the kernel reports without symbolic links.
	if s.dir, err = filepath.EvalSymlinks(dir); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(s.dir, "PG_VERSION")); err == nil {
		return fmt.Errorf("%s is a PostgreSQL data directory itself: name another directory, or move all of it into %s",
			s.dir, s.cluster())
	}
	s.logFile = filepath.Join(s.dir, "postgres.log")
	s.lock, err = lock(s.dir)
	return err
}

// disown releases the data directory for the next owner.
func (s *Server) disown() error {
	s.release.Do(func() { s.releaseErr = errors.Join(removeSockets(s.dir), unlock(s.lock)) })
	return s.releaseErr
}

// cluster is PostgreSQL's own data directory.
func (s *Server) cluster() string { return filepath.Join(s.dir, "cluster") }
