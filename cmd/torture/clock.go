package main

import (
	"context"
	endian "encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"
)

// clock is PostgreSQL's clock, with a configurable offset from the machine's (preload/clock.c).
type clock struct {
	library string // which PostgreSQL loads first
	path    string // of the file that holds the offset
}

// newClock returns a clock without an offset. It is nil where the system cannot give PostgreSQL a clock other than
// the machine's (all but Linux). There the fault is omitted.
func newClock(ctx context.Context, dir string) (*clock, error) {
	c := &clock{library: dir + "/clock.so", path: dir + "/clock"}
	err := buildPreload(ctx, c.library)
	if errors.Is(err, errors.ErrUnsupported) {
		return nil, nil //nolint:nilnil // no clock of its own
	}
	if err != nil {
		return nil, err
	}
	return c, c.set(0)
}

// set makes the clock jump. PostgreSQL has the file's memory mapped, so it is written in place, with one write.
func (c *clock) set(offset time.Duration) (err error) {
	file, err := os.OpenFile(c.path, os.O_WRONLY|os.O_CREATE, 0o644) //nolint:gosec // PostgreSQL's account reads it
	if err != nil {
		return err
	}
	// two's complement, as C reads it
	_, err = file.Write(endian.NativeEndian.AppendUint64(nil, uint64(offset/time.Second)))
	return errors.Join(err, file.Close())
}

// environment is what PostgreSQL needs to use the clock.
func (c *clock) environment() []string {
	if c == nil {
		return nil
	}
	return []string{"LD_PRELOAD=" + c.library, "TORTURE_CLOCK=" + c.path}
}

// jumps are how far the clock jumps, and back again: hours into the past and minutes into the future. Daylight
// saving, a virtual machine that was resumed, or an operator with `date` cause such jumps.
var jumps = [nodes]time.Duration{-3 * time.Hour, 7 * time.Minute, -40 * time.Second}

// jumpSeen is how far PostgreSQL's answer may be from the set time: less than the shortest jump, and more than an
// answer takes.
const jumpSeen = 30 * time.Second

// jumpClock sets PostgreSQL's clock and makes sure that PostgreSQL uses it.
func jumpClock(ctx context.Context, f *faults, which int) (func(context.Context) error, error) {
	if f.c.clock == nil {
		return nil, nil
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
