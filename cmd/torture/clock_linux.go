package main

import (
	"errors"
	"path/filepath"
)

// fakeTime finds libfaketime where distributions put it.
func fakeTime() (library string, err error) {
	for _, place := range []string{"/usr/lib/*/faketime", "/usr/lib*/faketime", "/usr/local/lib/faketime"} {
		found, err := filepath.Glob(place + "/libfaketime.so.1")
		if err != nil {
			return "", err
		}
		if len(found) > 0 {
			return found[0], nil
		}
	}
	return "", errors.New("libfaketime is not installed, without which PostgreSQL's clock cannot jump: run .ci/faketime, or install your system's package libfaketime")
}
