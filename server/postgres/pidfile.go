//go:build unix

package postgres

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// pidFile is what PostgreSQL writes to postmaster.pid: line 1 is its process id, line 8 its status.
type pidFile struct {
	pid    int // 0: there is no file, or it is not complete
	status string
}

func readPIDFile(cluster string) (pidFile, error) {
	content, err := os.ReadFile(filepath.Join(cluster, "postmaster.pid"))
	if errors.Is(err, fs.ErrNotExist) {
		return pidFile{}, nil
	}
	if err != nil {
		return pidFile{}, err
	}
	lines := strings.Split(string(content), "\n")
	if lines[0] == "" {
		return pidFile{}, nil
	}
	file := pidFile{}
	if file.pid, err = strconv.Atoi(lines[0]); err != nil {
		return pidFile{}, fmt.Errorf("first line of %s/postmaster.pid: %w", cluster, err)
	}
	file.pid = max(file.pid, -file.pid) // negative: a server without a postmaster, such as postgres --single
	if len(lines) >= 8 {
		file.status = strings.TrimSpace(lines[7])
	}
	return file, nil
}
