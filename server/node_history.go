package server

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/service/recent"
)

// nodeRates are a node's changes per second between two measurements.
type nodeRates struct{ saves, conflicts, reads, deliveries, flushSeconds float64 }

// sample adds to the history until ctx ends.
func (n *nodes) sample(ctx context.Context) {
	pause := time.NewTimer(0)
	defer pause.Stop()
	var before *orisunpb.NodeStatus
	for {
		select {
		case <-ctx.Done():
			return
		case began := <-pause.C:
			now := n.measured(ctx)
			if before == nil || n.record(before, now) {
				before = now
			}
			pause.Reset(min(max(recent.Interval+measureAge, samplePauseFactor*time.Since(began)), maxSampleInterval))
		}
	}
}

// record adds the rates between two measurements to the history, and reports whether it did.
func (n *nodes) record(before, now *orisunpb.NodeStatus) bool {
	seconds := now.GetMeasuredAt().AsTime().Sub(before.GetMeasuredAt().AsTime()).Seconds()
	if seconds <= 0 {
		return false
	}
	then, latest := countersOf(before), countersOf(now)
	per := func(from, to float64) float64 { return max(to-from, 0) / seconds } // a deleted boundary's are gone
	rates := nodeRates{
		saves: per(then.saves, latest.saves), conflicts: per(then.conflicts, latest.conflicts),
		reads: per(then.reads, latest.reads), deliveries: per(then.deliveries, latest.deliveries),
	}
	if flushes := now.GetFlushes() - before.GetFlushes(); flushes > 0 {
		rates.flushSeconds = (now.GetFlushSeconds() - before.GetFlushSeconds()) / float64(flushes)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.history.Add(now.GetMeasuredAt().AsTime(), rates)
}

// countersOf adds up a node's counters.
func countersOf(node *orisunpb.NodeStatus) nodeRates {
	counters := nodeRates{reads: float64(node.GetReads())}
	for _, boundary := range node.GetBoundaries() {
		counters.saves += float64(boundary.GetSaves())
		counters.conflicts += float64(boundary.GetConflicts())
		counters.deliveries += float64(boundary.GetDeliveries())
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
