package main

import (
	"context"
	"fmt"
	"os"
	"time"
)

// clock is the one that PostgreSQL goes by, as far from the machine's as we say. Only the time of day is ours: timers and the monotonic clock are the
// kernel's, as on a machine whose clock is set.
type clock struct {
	library string // libfaketime, which PostgreSQL loads first
	path    string // holds the offset
}

// newClock returns a clock that goes right. It is nil where PostgreSQL cannot be given another one.
func newClock(dir string) (*clock, error) {
	library, err := fakeTime()
	if library == "" || err != nil {
		return nil, err
	}
	c := &clock{library: library, path: dir + "/clock"}
	return c, c.set(0)
}

// set makes the clock jump. PostgreSQL reads the file whenever it asks for the time, so it must be whole at any time.
func (c *clock) set(offset time.Duration) error {
	next := c.path + ".next"
	if err := os.WriteFile(next, fmt.Appendf(nil, "%+d", int64(offset/time.Second)), 0o644); err != nil { //nolint:gosec // PostgreSQL's account reads it
		return err
	}
	return os.Rename(next, c.path)
}

// environment is what PostgreSQL needs to go by the clock.
func (c *clock) environment() []string {
	if c == nil {
		return nil
	}
	return []string{
		"LD_PRELOAD=" + c.library, "FAKETIME_TIMESTAMP_FILE=" + c.path, "FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1", "FAKETIME_DONT_RESET=1",
		"NO_FAKE_STAT=1",
	}
}

// jumps are how far the clock jumps, and back again: hours into the past and minutes into the future are what daylight saving, a virtual machine
// that was resumed, or somebody with `date` make of it.
var jumps = [nodes]time.Duration{-3 * time.Hour, 7 * time.Minute, -40 * time.Second}

// jumpSeen is how far PostgreSQL's answer may be from what it was set to: less than the shortest jump, and more than an answer takes.
const jumpSeen = 30 * time.Second

// jumpClock sets PostgreSQL's clock and makes sure that it goes by it.
func jumpClock(ctx context.Context, f *faults, which int) (func(context.Context) error, error) {
	if f.c.clock == nil {
		return nothing, nil
	}
	if err := f.c.clock.set(jumps[which]); err != nil {
		return nil, err
	}
	var now time.Time
	if err := f.c.admin.QueryRow(ctx, "SELECT clock_timestamp()").Scan(&now); err != nil {
		return nil, err
	}
	if off := time.Until(now) - jumps[which]; off.Abs() > jumpSeen {
		return nil, fmt.Errorf("PostgreSQL's clock was set to jump by %s and is %s from there", jumps[which], off)
	}
	return func(context.Context) error { return f.c.clock.set(0) }, nil
}
