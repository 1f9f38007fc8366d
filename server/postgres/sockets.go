//go:build unix

package postgres

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
)

// maxSocketPath is the longest path of a Unix socket that every system accepts: macOS has 104 bytes for it, one of
// them zero.
const maxSocketPath = 103

// shortSockets is the prefix of directories for a socket whose path would be too long in the data directory.
const shortSockets = "/tmp/orisun-pg-"

// makeSockets creates the directory of the Unix socket, new on each start, so that no socket or lock of an earlier
// port stays. Its mode restricts access, as the socket needs no password.
func makeSockets(dir string, owner account) (string, error) {
	if err := removeSockets(dir); err != nil {
		return "", err
	}
	sockets := filepath.Join(dir, "run")
	if len(filepath.Join(sockets, ".s.PGSQL.65535")) <= maxSocketPath {
		if err := os.Mkdir(sockets, 0o700); err != nil {
			return "", err
		}
		return sockets, owner.own(sockets)
	}
	short, err := os.MkdirTemp(filepath.Dir(shortSockets), filepath.Base(shortSockets))
	if err != nil {
		return "", err
	}
	// The link is how a start after a kill -9 finds it.
	return short, errors.Join(os.Symlink(short, sockets), owner.own(short))
}

// removeSockets removes what makeSockets created, however that start ended.
func removeSockets(dir string) error {
	sockets := filepath.Join(dir, "run")
	short, err := os.Readlink(sockets)
	if err == nil && strings.HasPrefix(short, shortSockets) {
		if err := os.RemoveAll(short); err != nil {
			return err
		}
	}
	return os.RemoveAll(sockets)
}

// quoteListItem quotes a path as an item of a PostgreSQL setting that is a list of names.
func quoteListItem(path string) string { return `"` + strings.ReplaceAll(path, `"`, `""`) + `"` }
