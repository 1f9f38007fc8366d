package groupcommit

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"
)

type doer func(ctx context.Context, request string) (string, error)

type flusher func(ctx context.Context, batch []string) ([]string, error)

// direct flushes each request by itself, one at a time: what a lock around the database does.
func direct(flush flusher) (do doer, stop func()) {
	var mu sync.Mutex
	return func(ctx context.Context, request string) (string, error) {
		mu.Lock()
		defer mu.Unlock()
		results, err := flush(ctx, []string{request})
		if err != nil {
			return "", err
		}
		return results[0], nil
	}, func() {}
}

// naive has a worker that flushes what waits in a channel.
func naive(flush flusher) (do doer, stop func()) {
	type answer struct {
		result string
		err    error
	}
	type call struct {
		request string
		answer  chan answer
	}
	calls := make(chan call, DefaultMaxRequests)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for first := range calls {
			waiting := []call{first}
			for more := true; more && len(waiting) < DefaultMaxRequests; {
				select {
				case c, open := <-calls:
					if more = open; open {
						waiting = append(waiting, c)
					}
				default:
					more = false
				}
			}
			batch := make([]string, len(waiting))
			for i, c := range waiting {
				batch[i] = c.request
			}
			results, err := flush(context.Background(), batch)
			for i, c := range waiting {
				if err != nil {
					c.answer <- answer{err: err}
					continue
				}
				c.answer <- answer{result: results[i]}
			}
		}
	}()
	return func(ctx context.Context, request string) (string, error) {
		c := call{request, make(chan answer, 1)}
		calls <- c
		select {
		case a := <-c.answer:
			return a.result, a.err
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
	}, func() { close(calls); <-stopped }
}

func grouped(flush flusher) (do doer, stop func()) {
	return New(Options[string]{}, flush).Do, func() {}
}

// synced appends a batch to a file and waits for the disk, as a commit does. It cuts the file at 1 MiB, so that no
// contender finds a longer one.
func synced(b *testing.B) flusher {
	b.Helper()
	file, err := os.Create(filepath.Join(b.TempDir(), "log"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := file.Close(); err != nil {
			b.Error(err)
		}
	})
	size := int64(0)
	return func(_ context.Context, batch []string) ([]string, error) {
		size = (size + 100*int64(len(batch))) % (1 << 20)
		if _, err := file.WriteAt(make([]byte, 100*len(batch)), size); err != nil {
			return nil, err
		}
		return batch, file.Sync()
	}
}

// distant answers after a fixed time, as a database does that is not the bottleneck.
func distant(*testing.B) flusher {
	return func(_ context.Context, batch []string) ([]string, error) {
		<-time.After(500 * time.Microsecond)
		return batch, nil
	}
}

func free(*testing.B) flusher {
	return func(_ context.Context, batch []string) ([]string, error) { return batch, nil }
}

// load has so many callers make so many requests, and reports the time and the allocations of one.
func load(b *testing.B, do doer, callers, requests int) (took time.Duration, allocations uint64) {
	b.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start := time.Now()
	var working sync.WaitGroup
	for caller := range callers {
		working.Go(func() {
			ctx, cancel := context.WithCancel(b.Context())
			defer cancel()
			for i := caller; i < requests; i += callers {
				if result, err := do(ctx, "request"); err != nil || result != "request" {
					b.Errorf("answered %q, %v", result, err)
					return
				}
			}
		})
	}
	working.Wait()
	took = time.Since(start)
	runtime.ReadMemStats(&after)
	return took, after.Mallocs - before.Mallocs
}

// BenchmarkDo compares a Batcher with a lock and with a naive worker, taking turns in the same run. ns/op and allocs
// are the batcher's; direct/x and naive/x are how many times as long the others took; batch is how many requests a
// flush of it held.
func BenchmarkDo(b *testing.B) {
	costs := []struct {
		name  string
		flush func(*testing.B) flusher
	}{{"free", free}, {"wait", distant}, {"fsync", synced}}
	for _, cost := range costs {
		for _, callers := range []int{1, 16, 256} {
			b.Run(fmt.Sprintf("%s/callers=%d", cost.name, callers), func(b *testing.B) {
				flush := cost.flush(b)
				flushes := 0
				counted := func(ctx context.Context, batch []string) ([]string, error) {
					flushes++
					return flush(ctx, batch)
				}
				viaGroup, _ := grouped(counted)
				viaLock, _ := direct(flush)
				viaWorker, stop := naive(flush)
				defer stop()
				requests := min(b.N, max(1000, 20*callers))
				done := 0
				var group, lock, worker time.Duration
				var allocations uint64
				for ; done < b.N; done += requests {
					took, allocated := load(b, viaGroup, callers, requests)
					group += took
					allocations += allocated
					took, _ = load(b, viaLock, callers, requests)
					lock += took
					took, _ = load(b, viaWorker, callers, requests)
					worker += took
				}
				b.ReportMetric(float64(group)/float64(done), "ns/op")
				b.ReportMetric(float64(allocations)/float64(done), "allocs")
				b.ReportMetric(float64(done)/float64(flushes), "batch")
				b.ReportMetric(float64(lock)/float64(group), "direct/x")
				b.ReportMetric(float64(worker)/float64(group), "naive/x")
			})
		}
	}
}
