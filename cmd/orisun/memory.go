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
	// heapGrowth is how far the heap may grow, in percent of the live heap, before a GC. The live heap is small, a
	// few tens of megabytes: Go's default would run dozens of GCs a second under load.
	heapGrowth, defaultGrowth = 400, 100
	// loadGrowth is the heap growth of the load generator. Its GCs would otherwise take a fifth of its time, on a
	// machine that it shares with the measured server.
	loadGrowth = 800
	// memoryLimit is the heap size in bytes beyond which more frequent GCs take precedence.
	memoryLimit = 320 << 20
	// Under light load a GC runs in this interval so that the heap stays small: such a load would fill the heap only
	// within seconds, but it would fill it. A heavy load, which allocates more than lightLoad bytes in the interval,
	// needs the processor for requests.
	collectEvery = 250 * time.Millisecond
	collectFrom  = 4 << 20
	lightLoad    = 16 << 20
	// Live memory may become garbage without further allocations, such as the unread answers of a closed connection.
	// So when the heap with its free memory exceeds recollectFrom bytes, a GC runs after recollectEvery and returns
	// free memory to the system. Go otherwise holds memory up to the heap growth.
	recollectFrom  = 48 << 20
	recollectEvery = 5 * time.Second
)

// tuneMemory tunes the garbage collector, where GOGC and GOMEMLIMIT have their defaults. Until ctx ends, it also runs
// GCs by time.
func tuneMemory(ctx context.Context) {
	if growHeap(heapGrowth) {
		go collect(ctx)
	}
}

// growHeap lets the heap grow by so many percent before a GC, unless GOGC is set, and to memoryLimit, unless
// GOMEMLIMIT is set.
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
	heap := []metrics.Sample{
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/gc/heap/live:bytes"},
		{Name: "/gc/heap/allocs:bytes"},
		{Name: "/memory/classes/heap/free:bytes"},
	}
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
