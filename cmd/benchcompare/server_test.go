package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestTheErrorOfAServerThatDoesNotStartHasItsLog(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "server")
	if err := os.WriteFile(program, []byte("#!/bin/sh\nenv\necho out of order >&2\nexit 3\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := launch(t.Context(), program, dir, "b", []string{
		"ORISUN_PG_HOST=elsewhere", "ORISUN_ADMIN_PASSWORD=mine", "ORISUN_PPROF_ENABLED=true",
	})
	if err == nil || !strings.Contains(err.Error(), "ended before it answered: exit status 3") ||
		!strings.Contains(err.Error(), "out of order") {
		t.Fatalf("error %v", err)
	}
	report := strings.Split(err.Error(), "\n")
	for _, want := range []string{"ORISUN_PG_HOST=", "ORISUN_ADMIN_PASSWORD=changeit", "ORISUN_PPROF_ENABLED=true"} {
		if !slices.Contains(report, want) {
			t.Errorf("the server does not get %s:\n%v", want, err)
		}
	}
}

func TestMemoryIsThatOfTheProcess(t *testing.T) {
	if _, err := os.Stat("/proc/self/status"); err != nil {
		if got := peakMemory(os.Getpid()); got != 0 {
			t.Errorf("%d bytes on a system that does not report it", got)
		}
		return
	}
	if got := peakMemory(os.Getpid()); got < 1<<20 || got > 16<<30 {
		t.Errorf("%d bytes", got)
	}
}
