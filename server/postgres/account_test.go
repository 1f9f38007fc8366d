//go:build unix

package postgres

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

func TestADirectoryBelowAClosedOneServes(t *testing.T) {
	t.Parallel()
	closed := emptyDir(t)
	if err := os.Chmod(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	s := start(t, config(t, filepath.Join(closed, "data", "pg"))) // a first start: initdb has to get through as well
	execute(t, s, "CREATE TABLE stored AS SELECT 42 AS n")
	if info, err := os.Stat(closed); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the closed directory was opened: %v, %v", info.Mode(), err)
	}
}

func TestPostgreSQLNeverRunsAsRootAndKeepsTheClustersOwner(t *testing.T) {
	t.Parallel()
	cfg := config(t, stoppedCluster(t))
	owner := uint32(os.Geteuid())
	if owner == 0 {
		// An owner that the machine does not know by name, as a cluster from a container has.
		owner = 54321
		if err := filepath.Walk(filepath.Join(cfg.DataDir, "cluster"), func(path string, _ os.FileInfo, err error) error {
			if err != nil {
				return err
			}
			return os.Lchown(path, int(owner), int(owner))
		}); err != nil {
			t.Fatal(err)
		}
	}
	s := start(t, cfg)
	execute(t, s, "CREATE TABLE stored AS SELECT 42 AS n")
	for _, path := range []string{s.Host(), filepath.Join(s.cluster(), "postmaster.pid")} {
		var stat syscall.Stat_t
		if err := syscall.Stat(path, &stat); err != nil {
			t.Fatal(err)
		}
		if stat.Uid != owner {
			t.Errorf("%s belongs to %d, want %d", path, stat.Uid, owner)
		}
	}
	info, err := os.Stat(s.Host())
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o700 {
		t.Errorf("%s lets others in, and no password is asked there: %v", s.Host(), info.Mode())
	}
}

func TestPostgreSQLSeesNothingOfOurEnvironmentThatWouldChangeIt(t *testing.T) {
	t.Parallel()
	got := environment([]string{
		"PATH=/bin", "PGDATA=/x", "PGOPTIONS=-c a=b", "LC_ALL=xx", "LANG=xx", "LANGUAGE=xx", "HOME=/", "APGX=1",
	})
	if want := []string{"PATH=/bin", "HOME=/", "APGX=1"}; !slices.Equal(got, want) {
		t.Errorf("got %s, want %s", strings.Join(got, " "), strings.Join(want, " "))
	}
}
