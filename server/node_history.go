package server

import (
	"context"
	"time"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/types/known/timestamppb"

	orisunpb "github.com/oexza/orisun/proto"
)

// nodeRates are a node's changes per second between two measurements.
type nodeRates struct{ saves, conflicts, reads, deliveries, flushSeconds float64 }

// nodeCounters are what a node has done since its start. Those of deleted boundaries are in them, so they only grow.
type nodeCounters struct {
	at                                           time.Time // its monotonic part counts, as the clock may be set back
	saves, conflicts, reads, deliveries, flushes int64
	flushSeconds                                 float64
}

// sample adds to the history until ctx ends. It costs PostgreSQL nothing.
func (n *nodes) sample(ctx context.Context) {
	pause := time.NewTimer(0)
	defer pause.Stop()
	var before nodeCounters
	for {
		select {
		case <-ctx.Done():
			return
		case began := <-pause.C:
			now := countersOf(n.gather(n.counters), time.Now())
			if before.at.IsZero() || n.record(before, now) {
				before = now
			}
			pause.Reset(min(max(samplePause, samplePauseFactor*time.Since(began)), maxSampleInterval))
		}
	}
}

// record adds the rates between two measurements to the history, and reports whether it did.
func (n *nodes) record(before, now nodeCounters) bool {
	seconds := now.at.Sub(before.at).Seconds()
	if seconds <= 0 {
		return false
	}
	per := func(from, to int64) float64 { return float64(max(to-from, 0)) / seconds }
	rates := nodeRates{
		saves: per(before.saves, now.saves), conflicts: per(before.conflicts, now.conflicts),
		reads: per(before.reads, now.reads), deliveries: per(before.deliveries, now.deliveries),
	}
	if flushes := now.flushes - before.flushes; flushes > 0 {
		rates.flushSeconds = (now.flushSeconds - before.flushSeconds) / float64(flushes)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.history.Add(now.at, rates)
}

// countersOf adds up a node's counters of all boundaries.
func countersOf(families []*dto.MetricFamily, at time.Time) nodeCounters {
	node, _ := allNumbersOf(families)
	counters := nodeCounters{
		at: at, reads: node.GetReads(), flushes: node.GetFlushes(), flushSeconds: node.GetFlushSeconds(),
	}
	for _, boundary := range node.GetBoundaries() {
		counters.saves += boundary.GetSaves()
		counters.conflicts += boundary.GetConflicts()
		counters.deliveries += boundary.GetDeliveries()
	}
	return counters
}

func (n *nodes) samples() (samples []*orisunpb.NodeSample) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, sample := range n.history.Since(time.Now()) {
		samples = append(samples, &orisunpb.NodeSample{
			MeasuredAt: timestamppb.New(sample.At()), Saves: sample.Value.saves, Conflicts: sample.Value.conflicts,
			Reads: sample.Value.reads, Deliveries: sample.Value.deliveries, FlushSeconds: sample.Value.flushSeconds,
		})
	}
	return samples
}
