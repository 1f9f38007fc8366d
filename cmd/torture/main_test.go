package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/oexza/orisun/server/servertest"
)

// binary is the server under test, built once.
var binary string

func TestMain(m *testing.M) {
	os.Exit(func() (code int) {
		dir, err := os.MkdirTemp("", "orisun-torture-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer func() {
			if err := os.RemoveAll(dir); err != nil {
				fmt.Fprintln(os.Stderr, err)
				code = 1
			}
		}()
		// These tests wait more than they compute.
		flag.Parse()
		if limit := flag.Lookup("test.parallel"); limit.Value.String() == limit.DefValue {
			if err := flag.Set("test.parallel", "4"); err != nil {
				fmt.Fprintln(os.Stderr, err)
				return 1
			}
		}
		if binary, err = build(context.Background(), dir, ""); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return m.Run()
	}())
}

// newCluster returns a cluster whose nodes are not started. The test's end ends it.
func newCluster(t *testing.T, env ...string) *cluster {
	t.Helper()
	servertest.ReadSources(t, "../orisun")
	c, err := startCluster(t.Context(), clusterConfig{dir: t.TempDir(), binary: binary, env: env, pgBinDir: pgBinDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			for _, n := range c.nodes {
				t.Logf("%s:\n%s", n.name, logged(t, n))
			}
		}
	})
	return c
}

func pgBinDir() string { return os.Getenv("ORISUN_PG_BIN_DIR") }

func logged(t *testing.T, n *node) string {
	t.Helper()
	text, err := os.ReadFile(n.dir + "/log")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// within waits for a condition.
func within(t *testing.T, limit time.Duration, what string, condition func() bool) time.Duration {
	t.Helper()
	start := time.Now()
	for !condition() {
		if time.Since(start) > limit {
			t.Fatalf("after %s: not %s", limit, what)
		}
		<-time.After(20 * time.Millisecond)
	}
	return time.Since(start)
}

func logs(t *testing.T, n *node, text string) bool {
	t.Helper()
	return strings.Contains(logged(t, n), text)
}
