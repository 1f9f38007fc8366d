//go:build unix

package postgres

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// stalePoll is how often we check whether the processes that we signalled have ended.
const stalePoll = 10 * time.Millisecond

// firmness is a step of ending a stale server. Only the postmaster gets SIGINT, the fast shutdown. Its children
// interpret SIGINT differently: an orphan could write the shutdown checkpoint while other processes still write.
var firmness = [...]struct {
	signal     syscall.Signal
	postmaster bool // to the postmaster alone
	grace      time.Duration
}{
	{syscall.SIGINT, true, 10 * time.Second},
	{syscall.SIGQUIT, false, 6 * time.Second}, // the postmaster itself gives its children 5 s
	{syscall.SIGKILL, false, 6 * time.Second},
}

// endStale ends the remaining processes of a server of this cluster that has no owner. We hold the lock, so none may
// run. It is a postmaster that has not finished its shutdown, or backends whose postmaster was killed.
func (s *Server) endStale(ctx context.Context) ([]any, error) {
	stale, err := serversIn(s.cluster())
	if err != nil {
		return nil, err
	}
	found := []any{"stale", len(stale)}
	for _, way := range firmness {
		if len(stale) == 0 {
			break
		}
		signalled, err := s.signalStale(stale, way.signal, way.postmaster)
		if err != nil {
			return nil, err
		}
		if signalled {
			if stale, err = s.waitGone(ctx, way.grace); err != nil {
				return nil, err
			}
		}
	}
	if len(stale) > 0 {
		return nil, fmt.Errorf("processes %v of an earlier server run in %s and do not end: end them by hand",
			stale, s.cluster())
	}
	return found, s.removeForeignPIDFile()
}

func (s *Server) signalStale(stale []int, signal syscall.Signal, postmasterAlone bool) (signalled bool, err error) {
	file, err := readPIDFile(s.cluster())
	if err != nil {
		return false, err
	}
	for _, pid := range stale {
		if postmasterAlone && pid != file.pid {
			continue
		}
		signalled = true
		if err := syscall.Kill(pid, signal); errors.Is(err, syscall.ESRCH) {
			continue // it has just ended by itself
		} else if err != nil {
			return false, fmt.Errorf("send %v to process %d of an earlier server: %w", signal, pid, err)
		}
		s.log.Warn("PostgreSQL: ending a process of an earlier server", "pid", pid, "signal", signal.String(),
			"cluster", s.cluster())
	}
	return signalled, nil
}

// waitGone waits until no server of this cluster is left or grace is over, and returns the remaining processes.
func (s *Server) waitGone(ctx context.Context, grace time.Duration) ([]int, error) {
	poll := time.NewTicker(stalePoll)
	defer poll.Stop()
	over := time.NewTimer(grace)
	defer over.Stop()
	for {
		stale, err := serversIn(s.cluster())
		if err != nil || len(stale) == 0 {
			return nil, err
		}
		select {
		case <-poll.C:
		case <-over.C:
			return stale, nil
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for processes %v of an earlier server to end: %w", stale, context.Cause(ctx))
		}
	}
}

// removeForeignPIDFile removes a postmaster.pid whose process id now belongs to another program, as PostgreSQL takes
// that one for a living postmaster and refuses to start. PostgreSQL handles any other stale file itself, and better:
// the file names the shared memory by which PostgreSQL detects backends that are otherwise invisible.
func (s *Server) removeForeignPIDFile() error {
	file, err := readPIDFile(s.cluster())
	if err != nil || file.pid == 0 {
		return err
	}
	if err := syscall.Kill(file.pid, 0); errors.Is(err, syscall.ESRCH) {
		return nil
	}
	s.log.Warn("PostgreSQL: removing a stale postmaster.pid, its process id is another program's", "pid", file.pid,
		"cluster", s.cluster())
	if err := os.Remove(filepath.Join(s.cluster(), "postmaster.pid")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
