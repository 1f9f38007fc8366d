package main

import (
	"os"
	"runtime/debug"
)

const (
	// heapGrowth is how far the heap may grow, in percent of what is in use, before garbage is collected. What is in use is small, a few
	// tens of megabytes: Go's default of 100 would collect dozens of times a second under load.
	heapGrowth = 400
	// memoryLimit is where collecting more often begins to take precedence, in bytes.
	memoryLimit = 320 << 20
)

// tuneMemory sets how the garbage collector works, unless GOGC or GOMEMLIMIT of Go's own say otherwise.
func tuneMemory() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(heapGrowth)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit)
	}
}
