// Package recent holds samples of the last 15 minutes for charts. A Series of T has at most 90 of them, each with a T
// and 8 bytes for its time.
package recent

import (
	"slices"
	"time"
)

const (
	// Memory is how long a sample is held.
	Memory = 15 * time.Minute
	// Interval is the least time between two samples.
	Interval = 10 * time.Second

	maxSamples = int(Memory / Interval)
)

// Series are the samples of one thing, the oldest first. The zero Series has none. It is not safe for concurrent use.
type Series[T any] struct{ samples []Sample[T] }

// Sample is a value at a time.
type Sample[T any] struct {
	milliseconds int64 // since 1970: a third of a time.Time
	Value        T
}

// At is the time of the sample.
func (s Sample[T]) At() time.Time { return time.UnixMilli(s.milliseconds) }

// Add adds a sample, unless the latest one is younger than Interval. It reports whether it did. Samples that are later
// than the new one are of a clock that was set back since: it drops them.
func (s *Series[T]) Add(at time.Time, value T) bool {
	for n := len(s.samples); n > 0 && s.samples[n-1].milliseconds > at.UnixMilli(); n-- {
		s.samples = s.samples[:n-1]
	}
	if n := len(s.samples); n > 0 && at.Sub(s.samples[n-1].At()) < Interval {
		return false
	}
	if s.samples == nil {
		s.samples = make([]Sample[T], 0, maxSamples)
	}
	if len(s.samples) == maxSamples {
		s.samples = slices.Delete(s.samples, 0, 1)
	}
	s.samples = append(s.samples, Sample[T]{at.UnixMilli(), value})
	return true
}

// Ended reports whether Since would return no sample.
func (s *Series[T]) Ended(now time.Time) bool {
	n := len(s.samples)
	return n == 0 || now.Sub(s.samples[n-1].At()) >= Memory
}

// Since returns the samples of the time Memory before now.
func (s *Series[T]) Since(now time.Time) []Sample[T] {
	begin := slices.IndexFunc(s.samples, func(sample Sample[T]) bool { return now.Sub(sample.At()) < Memory })
	if begin < 0 {
		return nil
	}
	return slices.Clone(s.samples[begin:])
}
