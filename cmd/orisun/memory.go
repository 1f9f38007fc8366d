package main

import (
	"context"
	"math"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// heapGrowth is how far the heap may grow, in percent of what is in use, before garbage is collected. What is in use is small, a few
	// tens of megabytes: Go's default would collect dozens of times a second under load.
	heapGrowth, defaultGrowth = 400, 100
	// loadGrowth is that of the load generator, whose garbage would otherwise take a fifth of its time, of a machine that it shares with what it measures.
	loadGrowth = 800
	// memoryLimit is where collecting more often begins to take precedence, in bytes.
	memoryLimit = 320 << 20
	// A light load would take seconds to fill that heap, and would fill it all the same: of what it leaves, garbage is collected so often. A heavy
	// one, that leaves more than lightLoad bytes meanwhile, needs the time for better.
	collectEvery = 250 * time.Millisecond
	collectFrom  = 4 << 20
	lightLoad    = 16 << 20
	// What was in use may become garbage while nothing is allocated, as the unread answers of a connection that is gone. So a heap of that many bytes
	// is collected again after that time, and so much that is free goes back to the system: Go keeps what a heap may grow by.
	recollectFrom  = 48 << 20
	recollectEvery = 5 * time.Second
)

// tuneMemory sets how the garbage collector works, where Go's own GOGC and GOMEMLIMIT leave it at the defaults. Until ctx ends, it collects
// garbage that is not worth waiting for.
func tuneMemory(ctx context.Context) {
	if growHeap(heapGrowth) {
		go collect(ctx)
	}
}

// growHeap lets the heap grow by so many percent before garbage is collected, unless GOGC says how far, and to memoryLimit, unless GOMEMLIMIT does.
func growHeap(percent int) (grows bool) {
	if debug.SetMemoryLimit(-1) == math.MaxInt64 {
		debug.SetMemoryLimit(memoryLimit)
	}
	set := debug.SetGCPercent(percent)
	if set != defaultGrowth {
		debug.SetGCPercent(set)
	}
	return set == defaultGrowth
}

func collect(ctx context.Context) {
	heap := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/gc/heap/live:bytes"}, {Name: "/gc/heap/allocs:bytes"}, {Name: "/memory/classes/heap/free:bytes"}}
	ticker := time.NewTicker(collectEvery)
	defer ticker.Stop()
	collected := time.Now()
	for before := uint64(0); ; before = heap[2].Value.Uint64() {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		metrics.Read(heap)
		isLight := heap[2].Value.Uint64()-before < lightLoad
		hasGarbage := heap[0].Value.Uint64() > heap[1].Value.Uint64()+collectFrom
		isLarge := heap[0].Value.Uint64()+heap[3].Value.Uint64() > recollectFrom
		switch {
		case !isLight:
		case isLarge && time.Since(collected) > recollectEvery:
			debug.FreeOSMemory()
			collected = time.Now()
		case hasGarbage:
			runtime.GC()
		}
	}
}
