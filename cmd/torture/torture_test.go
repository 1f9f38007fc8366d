package main

import (
	"strings"
	"testing"
	"time"

	"github.com/oexza/orisun/server/servertest"
)

// short is a round that CI has time for.
func short(t *testing.T, m *mutation, kinds []fault) *result {
	t.Helper()
	servertest.ReadSources(t, "../orisun")
	config := roundConfig{
		binary: binary, dir: t.TempDir(), pgBinDir: pgBinDir(), lasts: 6 * time.Second, kinds: kinds, mutation: m,
	}
	found, err := run(t.Context(), config, 20_260_101)
	if err != nil {
		t.Fatal(err)
	}
	t.Log(line(found, "removed"))
	return found
}

// TestAShortTortureFindsNothing is `make torture` with one seed.
func TestAShortTortureFindsNothing(t *testing.T) {
	t.Parallel()
	found := short(t, nil, catalogue)
	for _, anomaly := range found.anomalies {
		t.Error(anomaly)
	}
	if found.saves == 0 || found.conflicts == 0 || found.reads == 0 || found.deliveries == 0 || found.consumed == 0 ||
		found.undecided > 0 || len(found.faults) == 0 {
		t.Errorf("it shows little: %+v", found)
	}
}

// The rounds of mutations have no faults and run alone: what they are to find needs many saves in a short time.

// TestTortureNoticesAMissingLock takes away what keeps two nodes from deciding on the same context: the search for an
// order must fail.
func TestTortureNoticesAMissingLock(t *testing.T) {
	m := mutations["lock"]
	if found := strings.Join(short(t, &m, nil).anomalies, "\n"); !strings.Contains(found, "not linearizable") {
		t.Errorf("without the lock the checks say %q", found)
	}
}

// TestTortureNoticesAnIgnoredLease gives partitions to their next consumers although earlier ones hold them.
func TestTortureNoticesAnIgnoredLease(t *testing.T) {
	m := mutations["lease"]
	if found := strings.Join(short(t, &m, nil).anomalies, "\n"); !strings.Contains(found, "two consumers in epoch") {
		t.Errorf("without the lease the checks say %q", found)
	}
}
