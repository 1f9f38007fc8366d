//go:build !unix

package jetstream

import (
	"os"
	"path/filepath"
)

// lock only opens the file: on these systems the standard library has no lock that ends with its process.
func lock(dir string) (*os.File, error) {
	return os.OpenFile(filepath.Join(dir, "orisun.lock"), os.O_RDWR|os.O_CREATE, 0o600)
}

func unlock(file *os.File) error { return file.Close() }
