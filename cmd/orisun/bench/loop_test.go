package bench

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// stalls answers in answer, but for the time between from and to after begin, in which it answers nothing.
func stalls(begin time.Time, answer, from, to time.Duration) client {
	return func(ctx context.Context, _ time.Time) outcome {
		until := time.Now().Add(answer)
		if at := time.Since(begin); at >= from && at < to {
			until = begin.Add(to)
		}
		wait(ctx, until)
		return outcome{events: 1, err: ctx.Err()}
	}
}

// observed runs a loop with one row of results.
func observed(ctx context.Context, p loop, clients ...client) Result {
	m := newMeasurement(1)
	p.run(ctx, m, &load{clients: clients})
	return m.rows[0].result(p.duration)
}

func near(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if got < want-tolerance || got > want+tolerance {
		t.Errorf("%s is %v, want %v within %v", what, got, want, tolerance)
	}
}

func TestAStallShowsInTheOpenLoopAndHidesInTheClosedOne(t *testing.T) {
	// A second of ten is lost: callers who come by the clock wait half a second on average in that tenth.
	synctest.Test(t, func(t *testing.T) {
		open := observed(t.Context(), loop{duration: 10 * time.Second, rate: 100},
			stalls(time.Now(), time.Millisecond, 4*time.Second, 5*time.Second))
		near(t, "p50", open.P50, 1, 0.01)
		// 100 arrivals wait 1 s to 0 s, and the client then needs 1 ms each where 10 ms are due: nearly 111 are late.
		// Of 1,000 the 10 worst come within the first 91 ms of the stall.
		near(t, "p99", open.P99, 910, 10)
		near(t, "max", open.Max, 1000, 2)
		if open.Requests != 1000 || len(open.Failures) > 0 {
			t.Errorf("%d requests, failures %v; 1,000 were due", open.Requests, open.Failures)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		closed := observed(t.Context(), loop{duration: 10 * time.Second},
			stalls(time.Now(), time.Millisecond, 4*time.Second, 5*time.Second))
		near(t, "p99 of the closed loop", closed.P99, 1, 0.01)
	})
}

func TestAStallAtTheEndIsWaitedFor(t *testing.T) {
	for name, rate := range map[string]float64{"closed": 0, "open": 1000} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				got := observed(t.Context(), loop{duration: time.Second, rate: rate},
					stalls(time.Now(), time.Millisecond, 900*time.Millisecond, 30*time.Second))
				near(t, "max", got.Max, 29_100, 30)
				// What ended after the window is no throughput, however late it was waited for.
				near(t, "requests", float64(got.Requests), 900, 2)
				if len(got.Failures) > 0 {
					t.Errorf("failures %v", got.Failures)
				}
			})
		})
	}
}

func TestRequestsThatAreNeverSentAreFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got := observed(t.Context(), loop{duration: time.Second, rate: 1000},
			stalls(time.Now(), time.Millisecond, 900*time.Millisecond, time.Hour))
		// The one that hangs ends with the time to wait, the 99 or so behind it are not sent.
		if hung, left := got.Failures["UNKNOWN"]+got.Failures["DEADLINE_EXCEEDED"], got.Failures[unsent]; hung != 1 ||
			left < 98 || left > 100 {
			t.Errorf("failures %v, want 1 that hung and 99 %s", got.Failures, unsent)
		}
	})
}

func TestArrivalsAreSharedByTheClientsAndKeepTheirRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sent [4]int
		var clients []client
		for i := range sent {
			clients = append(clients, func(ctx context.Context, due time.Time) outcome {
				if late := time.Since(due); late != 0 {
					t.Errorf("sent %s after it was due", late)
				}
				sent[i]++
				wait(ctx, due.Add(15*time.Millisecond))
				return outcome{events: 10}
			})
		}
		// 200 a second of 15 ms each need three clients at a time.
		got := observed(t.Context(), loop{warmUp: time.Second, duration: 5 * time.Second, rate: 200}, clients...)
		near(t, "requests per second", got.RequestsPerSecond, 200, 1)
		near(t, "events per second", got.EventsPerSecond, 2000, 10)
		if all := sent[0] + sent[1] + sent[2] + sent[3]; all != 1200 {
			t.Errorf("%d requests were sent, due were 1,200 with those of the warm-up", all)
		}
	})
}

func TestTheWarmUpCountsForNothingButFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		got := observed(t.Context(), loop{warmUp: 2 * time.Second, duration: time.Second},
			func(ctx context.Context, _ time.Time) outcome {
				took, err := 10*time.Millisecond, error(nil)
				if at := time.Since(begin); at < 1990*time.Millisecond {
					took = 100 * time.Millisecond
					if at == time.Second {
						err = status.Error(codes.Unavailable, "starting")
					}
				}
				wait(ctx, time.Now().Add(took))
				return outcome{events: 3, err: err}
			})
		near(t, "max", got.Max, 10, 0.01)
		near(t, "requests", float64(got.Requests), 100, 2)
		near(t, "events", float64(got.Events), 300, 6)
		if got.Failures["UNAVAILABLE"] != 1 {
			t.Errorf("failures %v, want that of the warm-up", got.Failures)
		}
	})
}

func TestClientsThatFailAtOnceDoNotSpin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got := observed(t.Context(), loop{duration: time.Second}, func(context.Context, time.Time) outcome {
			return outcome{err: status.Error(codes.Unavailable, "gone")}
		})
		if n := got.Failures["UNAVAILABLE"]; n < 50 || n > 101 {
			t.Errorf("%d failures in a second, want one each 10 ms", n)
		}
		if got.Requests != 0 || got.P99 != 0 {
			t.Errorf("failures count as requests: %+v", got)
		}
	})
}

func TestReadersBesideEndWithTheWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tick := func(row int) client {
			return func(ctx context.Context, _ time.Time) outcome {
				wait(ctx, time.Now().Add(10*time.Millisecond))
				return outcome{row: row}
			}
		}
		begin := time.Now()
		m := newMeasurement(2)
		loop{
			duration: time.Second, rate: 10,
		}.run(t.Context(), m, &load{clients: []client{tick(0)}, beside: []client{tick(1), tick(1)}})
		if took := time.Since(begin); took > 1010*time.Millisecond {
			t.Errorf("it took %s", took)
		}
		// The readers are closed loops, whatever the rate of the others.
		near(t, "requests", float64(m.rows[0].result(time.Second).Requests), 10, 0)
		near(t, "requests beside", float64(m.rows[1].result(time.Second).Requests), 200, 2)
	})
}

func TestAnInterruptionEndsTheRunAndIsNoFailure(t *testing.T) {
	for name, rate := range map[string]float64{"closed": 0, "open": 100} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, interrupt := context.WithCancel(t.Context())
				time.AfterFunc(time.Second, interrupt)
				begin := time.Now()
				var sent atomic.Int64
				got := observed(ctx, loop{duration: time.Hour, rate: rate}, func(ctx context.Context, _ time.Time) outcome {
					sent.Add(1)
					<-ctx.Done()
					return outcome{err: errors.New("cut off")}
				})
				if took := time.Since(begin); took != time.Second || sent.Load() != 1 || len(got.Failures) > 0 {
					t.Errorf("it ended after %s, sent %d, failures %v", took, sent.Load(), got.Failures)
				}
			})
		})
	}
}
