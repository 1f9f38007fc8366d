//go:build unix && !linux

package postgres

import (
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
)

// serversIn finds the postmaster that postmaster.pid names, if the process is PostgreSQL's in this cluster. It does
// not find the children. They end with the postmaster, and PostgreSQL does not start while they use its shared
// memory.
func serversIn(cluster string) ([]int, error) {
	file, err := readPIDFile(cluster)
	if err != nil || file.pid == 0 {
		return nil, err
	}
	line, err := exec.Command("ps", "-o", "command=", "-p", strconv.Itoa(file.pid)).Output()
	var none *exec.ExitError
	if errors.As(err, &none) {
		return nil, nil // ps finds no such process
	}
	if err != nil {
		return nil, fmt.Errorf("look for an earlier server: %w", err)
	}
	if command := string(line); strings.Contains(command, "postgres") && strings.Contains(command, "-D "+cluster+" ") {
		return []int{file.pid}, nil
	}
	return nil, nil
}
