package pgtest

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

func TestMain(m *testing.M) { os.Exit(Run(m)) }

// outcome is a test that has failed or not, and whose cleanups run when they are called.
type outcome struct {
	testing.TB
	failed   bool
	errors   []string
	cleanups []func()
}

func (o *outcome) Failed() bool       { return o.failed }
func (o *outcome) Cleanup(end func()) { o.cleanups = append(o.cleanups, end) }
func (o *outcome) Errorf(format string, args ...any) {
	o.failed = true
	o.errors = append(o.errors, fmt.Sprintf(format, args...))
}

func (o *outcome) end() {
	for i := len(o.cleanups) - 1; i >= 0; i-- {
		o.cleanups[i]()
	}
}

// The transaction is open while the cleanups run: a cleanup that waits for its end makes this test hang.
func TestAFailedTestEndsThoughItsTransactionIsOpen(t *testing.T) {
	failed := &outcome{TB: t}
	tx, err := New(failed).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "SELECT 1/0"); err == nil {
		t.Fatal("1/0 is no error")
	}
	failed.failed = true
	failed.end()
	if err := tx.Rollback(t.Context()); err != nil {
		t.Errorf("the connection of a failed test is gone: %v", err)
	}
}

func TestATestThatLeavesATransactionOpenFails(t *testing.T) {
	leaving := &outcome{TB: t}
	pool := connect(leaving, NewEmpty(t))
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	closePool(leaving, pool, time.Millisecond)
	if len(leaving.errors) != 1 || !strings.Contains(leaving.errors[0], "holds 1 connections") {
		t.Errorf("got %q", leaving.errors)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Error(err)
	}
}
