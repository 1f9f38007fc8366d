//go:build unix

package postgres

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// lock makes this process the owner of dir until unlock or its end. PostgreSQL's own postmaster.pid cannot do that:
// it outlives a kill -9, and does not exist while initdb runs.
func lock(dir string) (*os.File, error) {
	file, err := os.OpenFile(filepath.Join(dir, "orisun.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the data directory: %w", err)
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = fmt.Errorf("%w %s%s: stop it first, or use another directory", ErrLocked, dir, holder(file))
		} else {
			err = fmt.Errorf("lock %s: %w", file.Name(), err)
		}
		return nil, errors.Join(err, file.Close())
	}
	if err := writePID(file); err != nil {
		return nil, errors.Join(err, unlock(file))
	}
	return file, nil
}

// writePID writes the owner's process id, for the error message of the next process that tries to lock.
func writePID(file *os.File) error {
	if err := file.Truncate(0); err != nil {
		return err
	}
	_, err := file.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}

// holder names the owner where it can be read. A new owner may not have written its id yet.
func holder(file *os.File) string {
	content, err := io.ReadAll(io.LimitReader(file, 32))
	if err != nil {
		return ""
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(content)))
	if err != nil {
		return ""
	}
	return fmt.Sprintf(" (pid %d)", pid)
}

// unlock releases the lock at once. Closing the file alone leaves it held while a child that another goroutine forks
// has not yet replaced itself and still shares the file.
func unlock(file *os.File) error {
	return errors.Join(unix.Flock(int(file.Fd()), unix.LOCK_UN), file.Close())
}
