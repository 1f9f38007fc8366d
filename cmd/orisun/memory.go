package main

import (
	"math"
	"runtime/debug"
)

const (
	// heapGrowth is how far the heap may grow, in percent of what is in use, before garbage is collected. What is in use is small, a few
	// tens of megabytes: Go's default would collect dozens of times a second under load.
	heapGrowth, defaultGrowth = 400, 100
	// memoryLimit is where collecting more often begins to take precedence, in bytes.
	memoryLimit = 320 << 20
)

// tuneMemory sets how the garbage collector works, where Go's own GOGC and GOMEMLIMIT leave it at the defaults.
func tuneMemory() {
	if set := debug.SetGCPercent(heapGrowth); set != defaultGrowth {
		debug.SetGCPercent(set)
	}
	if debug.SetMemoryLimit(-1) == math.MaxInt64 {
		debug.SetMemoryLimit(memoryLimit)
	}
}
