package recent_test

import (
	"testing"
	"time"
	"unsafe"

	"github.com/oexza/orisun/service/recent"
)

func TestASeriesHasTheLast15Minutes(t *testing.T) {
	var series recent.Series[int]
	begin := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	const seconds = 3600
	for i := range seconds {
		series.Add(begin.Add(time.Duration(i)*time.Second), i)
	}
	last := begin.Add((seconds - 1) * time.Second)
	samples := series.Since(last)
	if len(samples) != 90 || samples[0].Value != 2700 || samples[89].Value != 3590 ||
		!samples[0].At().Equal(begin.Add(2700*time.Second)) {
		t.Errorf("%d samples: %v", len(samples), samples)
	}
	if later := series.Since(last.Add(14 * time.Minute)); len(later) != 6 || later[0].Value != 3540 {
		t.Errorf("14 minutes later: %v", later)
	}
	if series.Ended(last.Add(14*time.Minute)) || !series.Ended(last.Add(15*time.Minute)) {
		t.Error("a series ends 15 minutes after its last sample")
	}
	if much := series.Since(last.Add(time.Hour)); len(much) != 0 {
		t.Errorf("an hour later: %v", much)
	}
}

func TestASampleIsAsLargeAsItsTimeAndItsValue(t *testing.T) {
	if size := unsafe.Sizeof(recent.Sample[[2]int64]{}); size != 24 {
		t.Errorf("a sample of 16 bytes takes %d, want 24", size)
	}
}

func TestASeriesGoesOnAfterTheClockIsSetBack(t *testing.T) {
	var series recent.Series[int]
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	series.Add(now.Add(-time.Minute), 1)
	series.Add(now.Add(time.Hour), 2)
	if !series.Add(now, 3) {
		t.Error("the sample after the change of the clock is missing")
	}
	if samples := series.Since(now); len(samples) != 2 || samples[0].Value != 1 || samples[1].Value != 3 {
		t.Errorf("the samples are %v", samples)
	}
	if series.Ended(now.Add(recent.Memory-time.Second)) || !series.Ended(now.Add(recent.Memory)) {
		t.Error("a series ends when its last sample is older than Memory")
	}
}
