package postgres

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// serversIn lists PostgreSQL's processes in the cluster: the postmaster and its children, which all have it as their
// working directory.
func serversIn(cluster string) ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("look for an earlier server: %w", err)
	}
	var pids []int
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue // not a process
		}
		serves, err := servesIn(filepath.Join("/proc", entry.Name()), cluster)
		if err != nil {
			return nil, fmt.Errorf("look for an earlier server: %w", err)
		}
		if serves {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// servesIn reports whether a process is PostgreSQL's in the cluster. A process that ends meanwhile is not.
//
// A shell may have the same working directory, so the program's name must match as well. Without CAP_SYS_PTRACE root
// does not see the working directory of another account's process. Then the -D of its command line identifies the
// postmaster. Backends whose postmaster was killed are not found then, and PostgreSQL refuses to start beside them.
func servesIn(process, cluster string) (bool, error) {
	name, err := os.ReadFile(filepath.Join(process, "comm"))
	if gone(err) || (err == nil && strings.TrimSpace(string(name)) != "postgres") {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	dir, err := os.Readlink(filepath.Join(process, "cwd"))
	if !errors.Is(err, fs.ErrPermission) {
		if gone(err) {
			return false, nil
		}
		return dir == cluster, err
	}
	line, err := os.ReadFile(filepath.Join(process, "cmdline"))
	if gone(err) {
		return false, nil
	}
	args := strings.Split(string(line), "\x00")
	at := slices.Index(args, "-D")
	return at >= 0 && at+1 < len(args) && args[at+1] == cluster, err
}

// gone reports whether the error of reading a process's files means that it has ended.
func gone(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) }
