//go:build unix

package postgres

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fakeServer is a directory whose postgres says that it has a version.
func fakeServer(t *testing.T, version string) string {
	t.Helper()
	dir := emptyDir(t)
	for _, program := range []string{"postgres", "initdb"} {
		script := fmt.Sprintf("#!/bin/sh\necho '%s (PostgreSQL) %s'\n", program, version)
		if err := os.WriteFile(filepath.Join(dir, program), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestTheErrorOfAMachineWithoutPostgreSQLSaysHowToGetIt(t *testing.T) {
	t.Parallel()
	for name, dir := range map[string]string{
		"nothing there": emptyDir(t),
		"too old":       fakeServer(t, "12.22"),
		"no server":     fakeServer(t, "of no number"),
	} {
		cfg := config(t, filepath.Join(emptyDir(t), "pg"))
		cfg.BinDir = dir
		_, err := Start(t.Context(), cfg)
		if !errors.Is(err, ErrNoBinaries) {
			t.Errorf("%s: got %v, want ErrNoBinaries", name, err)
			continue
		}
		for _, want := range []string{
			"apt-get install postgresql", "brew install postgresql", "ORISUN_PG_BIN_DIR", "ORISUN_PG_HOST", dir,
		} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: the error does not say %q: %v", name, want, err)
			}
		}
	}
}

func TestTheNewestServerIsChosenAndForAClusterTheNewestOfItsMajor(t *testing.T) {
	t.Parallel()
	var dirs []string
	for _, version := range []string{"17.9", "9.6.24", "18beta1", "17.10 (Debian 17.10-1)", "16.2", "12.1"} {
		dirs = append(dirs, fakeServer(t, version))
	}
	found, err := inspect(t.Context(), dirs)
	if err != nil {
		t.Fatal(err)
	}
	for required, want := range map[int]string{0: dirs[2], 17: dirs[3], 16: dirs[4]} {
		got, err := choose(found, required)
		if err != nil {
			t.Fatal(err)
		}
		if got.dir != want {
			t.Errorf("for a cluster of %d got %v, want %s", required, got, want)
		}
	}
	if got, err := choose(found, 12); err == nil {
		t.Errorf("for a cluster of 12 got %v, want an error", got)
	}
}

func TestALinkInThePathLeadsToTheDirectoryOfTheWholeServer(t *testing.T) {
	server, links := fakeServer(t, "99.1"), emptyDir(t)
	if err := os.Symlink(filepath.Join(server, "postgres"), filepath.Join(links, "postgres")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", links+string(os.PathListSeparator)+os.Getenv("PATH"))
	s := &Server{dir: emptyDir(t)}
	if _, err := s.findBinaries(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s.bin.dir != server || s.bin.major != 99 {
		t.Errorf("got %v, want 99.1 in %s", s.bin, server)
	}
}
