package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
)

// smallDisk is a file system in memory that can be full without the machine's being so. It is mounted in a namespace of
// its own, so that a process that may not mount gets one as well; the server is started into it.
type smallDisk struct {
	dir    string // in the namespace
	holder int    // the process that keeps it
	enter  []string
}

func newSmallDisk(t *testing.T, size string) *smallDisk {
	t.Helper()
	d := &smallDisk{dir: t.TempDir()}
	unshare := []string{"--mount", "--propagation", "private"}
	enter := []string{"--mount"}
	if os.Geteuid() != 0 {
		unshare = append(unshare, "--user", "--map-current-user", "--keep-caps")
		enter = append(enter, "--user", "--preserve-credentials")
	}
	holder := exec.CommandContext(context.Background(), "unshare", append(unshare, "sh", "-c",
		`mount -t tmpfs -o size="$1",mode=0755 tmpfs "$2" && echo mounted && exec cat`, "sh", size, d.dir)...)
	var failure output
	holder.Stderr = &failure
	hold, err := holder.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	said, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatalf("a small disk needs unshare and nsenter, of util-linux: %v", err)
	}
	t.Cleanup(func() {
		if err := errors.Join(hold.Close(), holder.Wait()); err != nil {
			t.Errorf("a small disk: %v %s", err, failure.String())
		}
	})
	if !bufio.NewScanner(said).Scan() {
		t.Fatalf("no small disk; a user other than root needs a kernel that allows user namespaces: %s",
			failure.String())
	}
	d.holder = holder.Process.Pid
	d.enter = append([]string{"nsenter", "--target", strconv.Itoa(d.holder)}, enter...)
	return d
}

// path is where everybody finds a file of the disk.
func (d *smallDisk) path(elements ...string) string {
	return filepath.Join(fmt.Sprintf("/proc/%d/root", d.holder), d.dir, filepath.Join(elements...))
}

// fill leaves so many bytes free.
func (d *smallDisk) fill(t *testing.T, leave int64) {
	t.Helper()
	file, err := os.OpenFile(d.path("filler"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	var disk syscall.Statfs_t
	for err = syscall.Statfs(d.path(), &disk); err == nil &&
		int64(disk.Bavail)*disk.Bsize > leave; err = errors.Join(err, syscall.Statfs(d.path(), &disk)) {
		_, err = file.Write(make([]byte, min(int64(disk.Bavail)*disk.Bsize-leave, 1<<20)))
		if errors.Is(err, syscall.ENOSPC) {
			err = nil // another write had the last of it
		}
	}
	if err := errors.Join(err, file.Close()); err != nil {
		t.Fatal(err)
	}
}

// makeRoom takes away what filled it.
func (d *smallDisk) makeRoom(t *testing.T) {
	t.Helper()
	if err := os.Remove(d.path("filler")); err != nil {
		t.Fatal(err)
	}
}
