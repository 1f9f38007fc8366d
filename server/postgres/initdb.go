//go:build unix

package postgres

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

func (s *Server) clusterExists() (bool, error) {
	_, err := os.Stat(s.cluster())
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// initdb creates the cluster beside its place and renames it when it is complete, so that an interrupted start leaves
// no partial cluster.
//
// The superuser has no password, so it cannot log in by TCP. The locale C sorts by bytes, which is the same on every
// machine and after every upgrade of libc.
func (s *Server) initdb(ctx context.Context) ([]any, error) {
	unfinished := s.cluster() + ".new"
	if err := os.RemoveAll(unfinished); err != nil {
		return nil, err
	}
	if err := os.Mkdir(unfinished, 0o700); err != nil {
		return nil, err
	}
	if err := s.account.own(unfinished); err != nil {
		return nil, err
	}
	args := []string{
		"-D", unfinished, "-U", superuser, "--auth-local=trust", "--auth-host=scram-sha-256",
		"--locale=C", "-E", "UTF8", "--data-checksums",
	}
	if !s.cfg.Durable {
		args = append(args, "--no-sync")
	}
	cmd := s.account.command(ctx, filepath.Join(s.bin.dir, "initdb"), args...)
	cmd.WaitDelay = time.Second // its children hold its output open for a moment after it is killed
	runtime.LockOSThread()      // the death signal follows the thread, see spawn
	output, err := cmd.CombinedOutput()
	runtime.UnlockOSThread()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%w, it says:\n%s", err, strings.TrimSpace(string(output))),
			os.RemoveAll(unfinished))
	}
	if err := os.Rename(unfinished, s.cluster()); err != nil {
		return nil, err
	}
	return []any{"cluster", s.cluster()}, syncDir(s.dir)
}

// syncDir makes the rename durable across a power loss.
func syncDir(dir string) error {
	file, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(file.Sync(), file.Close())
}
