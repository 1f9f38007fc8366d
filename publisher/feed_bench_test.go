package publisher

import (
	"runtime"
	"testing"

	orisunpb "github.com/oexza/orisun/proto"
)

// BenchmarkIdleSubscriber reports what 1,000 subscribers that wait for other events take in memory, goroutines
// included, and what an event costs all of them together, from the stream to the last one's filter.
func BenchmarkIdleSubscriber(b *testing.B) {
	const subscribers = 1000
	s := newStore(b)
	s.saveAndPublish(1)
	f := s.feed(FeedConfig{})
	first := follow(b, f, fromFirst, nil, nil)
	first.wants(s.saved)
	before := takenMemory()
	nothing := []*orisunpb.Criterion{{Tags: []*orisunpb.Tag{{Key: "n", Value: "never"}}}}
	for range subscribers {
		follow(b, f, s.last(), nothing, nil)
	}
	f.awaitWaiting(b, subscribers+1)
	grown := takenMemory() - before
	for b.Loop() {
		from := len(s.saved)
		b.StopTimer()
		s.save(1)
		b.StartTimer()
		s.publish(from, from+1)
		first.wants(s.saved)
		f.awaitWaiting(b, subscribers+1)
	}
	b.ReportMetric(float64(grown)/subscribers, "B/subscriber")
}

// awaitWaiting returns when so many subscribers have seen all there is.
func (f *Feed) awaitWaiting(b *testing.B, subscribers int64) {
	b.Helper()
	f.mu.Lock()
	boundary := f.boundaries[feedBoundary]
	f.mu.Unlock()
	for boundary.waiting.Load() != subscribers {
		runtime.Gosched()
	}
}

func takenMemory() int64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc + stats.StackInuse)
}
