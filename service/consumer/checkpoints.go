package consumer

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/oexza/orisun/db"
	"github.com/oexza/orisun/db/boundary"
)

const (
	// tickInterval is how often checkpoints are stored that calls wait for, or whose partitions are to move.
	tickInterval = 100 * time.Millisecond
	// saveInterval is how often checkpoints are stored where something was acknowledged, all by one statement.
	saveInterval = 3 * tickInterval
	// lookInterval is how often a checkpoint is stored that moved only because nothing matched.
	lookInterval = time.Second
)

// due are the checkpoints that are to be stored.
type due int

const (
	dueHurried due = iota // those that calls wait for, or whose partitions are to move
	dueAtTimes            // with those that changed
	dueAll                // with those that moved only because nothing matched, whatever the time
)

// savingCheckpoints saves checkpoints, releases partitions that are to move, and lets consumers leave that could not.
func (n *Node) savingCheckpoints(ctx context.Context) {
	ticker := time.NewTicker(tickInterval)
	defer ticker.Stop()
	for tick := 1; ; tick++ {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		which := dueHurried
		if tick%int(saveInterval/tickInterval) == 0 {
			which = dueAtTimes
		}
		n.saveDue(ctx, which)
		n.mu.Lock()
		leaving := slices.Collect(maps.Values(n.leaving))
		n.mu.Unlock()
		for _, m := range leaving {
			n.leave(ctx, m)
		}
	}
}

// saveDue saves the checkpoints that are due, and releases partitions that are to move once theirs are saved.
func (n *Node) saveDue(ctx context.Context, which due) {
	byBoundary := make(map[string][]*Member)
	for _, m := range n.all(group{}) {
		if m.dirty.Swap(false) {
			byBoundary[m.def.Boundary] = append(byBoundary[m.def.Boundary], m)
		}
	}
	for in, members := range byBoundary {
		if n.save(ctx, in, members, which) == nil {
			for _, m := range members {
				n.release(ctx, m)
			}
		}
	}
}

// entry is a checkpoint to save.
type entry struct {
	m            *Member
	p            *partition
	at           Position
	oldest       int64
	acknowledged string
	changed      bool // something was acknowledged since the last save
}

// save stores the checkpoints of a boundary's consumers that are due by one statement.
func (n *Node) save(ctx context.Context, in string, members []*Member, which due) error {
	n.saving.Lock()
	defer n.saving.Unlock()
	var entries []entry
	for _, m := range members {
		entries = append(entries, m.entries(time.Now(), which)...)
	}
	if len(entries) == 0 {
		return nil
	}
	err := n.saveEntries(ctx, in, entries)
	if err == nil {
		delete(n.failing, in)
		return nil
	}
	for _, e := range entries {
		e.m.unsaved(e.p)
	}
	for _, m := range members {
		m.dirty.Store(true) // those without entries, too: they may have partitions to release
	}
	if !n.failing[in] && ctx.Err() == nil {
		n.failing[in] = true
		n.config.Log.WarnContext(ctx, "cannot save checkpoints; trying again", "boundary", in, "error", err)
	}
	return err
}

// saveEntries stores checkpoints. Those of a deleted boundary are fenced.
func (n *Node) saveEntries(ctx context.Context, in string, entries []entry) error {
	ctx, cancel := context.WithTimeout(ctx, renewTimeout)
	defer cancel()
	n.saves++
	params := db.SaveCheckpointsParams{Boundary: in, Number: n.saves}
	for _, e := range entries {
		params.Subscriptions = append(params.Subscriptions, e.m.def.Name)
		params.Partitions = append(params.Partitions, e.p.id)
		params.Epochs = append(params.Epochs, e.p.epoch)
		params.TransactionIds = append(params.TransactionIds, e.at.TransactionID)
		params.GlobalIds = append(params.GlobalIds, e.at.GlobalID)
		params.Acknowledged = append(params.Acknowledged, e.acknowledged)
		params.Oldest = append(params.Oldest, e.oldest)
	}
	rows, err := n.queries.SaveCheckpoints(ctx, n.config.Pool, params)
	if err != nil && !boundary.IsUnknown(err) {
		return err
	}
	stored := make(map[db.SaveCheckpointsRow]bool, len(rows))
	for _, row := range rows {
		stored[row] = true
	}
	for _, e := range entries {
		if !stored[db.SaveCheckpointsRow{Subscription: e.m.def.Name, Partition: e.p.id, Epoch: e.p.epoch}] {
			e.m.fenced(e.p, e.changed)
			n.refreshNow(e.m.group())
		}
	}
	return nil
}

// entries are the checkpoints that are due.
func (m *Member) entries(now time.Time, which due) (found []entry) {
	m.mu.Lock()
	defer m.mu.Unlock()
	again := false
	for _, p := range m.partitions {
		at, oldest := p.checkpoint(m.looked), p.oldest()
		p.head = at // an event that comes next does not set it back
		moved := at.GlobalID != p.saved.GlobalID || oldest != p.savedOldest
		if !p.changed && !moved {
			continue
		}
		inTime := which == dueAtTimes && (p.changed || now.Sub(p.savedAt) >= lookInterval)
		if which != dueAll && !inTime && !p.hurry && !p.stopped {
			again = true
			continue
		}
		found = append(found, entry{m, p, at, oldest, arrayText(p.beyond()), p.changed})
		p.changed, p.hurry, p.saved, p.savedAt, p.savedOldest = false, false, at, now, oldest
	}
	if again || m.stopping() {
		m.dirty.Store(true)
	}
	return found
}

// stopping returns whether the consumer has partitions to release. The caller holds the lock.
func (m *Member) stopping() bool {
	for _, p := range m.partitions {
		if p.stopped {
			return true
		}
	}
	return false
}

func arrayText(ids []int64) string {
	texts := make([]string, len(ids))
	for i, id := range ids {
		texts[i] = strconv.FormatInt(id, 10)
	}
	return "{" + strings.Join(texts, ",") + "}"
}

// unsaved has a checkpoint stored by the next save, after one that failed.
func (m *Member) unsaved(p *partition) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.partitions[p.id] != p {
		m.missed()
		return
	}
	p.changed = true
}

// fenced drops a partition that PostgreSQL has given to another consumer. changed: acknowledgements were refused.
func (m *Member) fenced(p *partition, changed bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.partitions[p.id] == p:
		p.changed = p.changed || changed
		m.drop(p)
		m.revoked([]*partition{p})
	case changed:
		m.missed()
	}
}

// release gives up partitions that are to move, once nothing of them is in the client's hands, or their grace is over.
func (n *Node) release(ctx context.Context, m *Member) {
	params := db.ReleasePartitionsParams{Boundary: m.def.Boundary, Subscription: m.def.Name, Member: m.ID}
	m.mu.Lock()
	var done []*partition
	for _, p := range m.partitions {
		if p.stopped && !p.changed && (len(p.out) == 0 || time.Now().After(p.releaseBy)) {
			done = append(done, p)
			m.drop(p) // what is settled from now on has no effect
			m.releasing[p.id], m.released[p.id] = p.epoch, p.epoch
		}
	}
	m.revoked(done)
	for id, epoch := range m.releasing {
		params.Partitions, params.Epochs = append(params.Partitions, id), append(params.Epochs, epoch)
	}
	m.mu.Unlock()
	if len(params.Partitions) == 0 {
		return
	}
	err := n.queries.ReleasePartitions(ctx, n.config.Pool, params)
	if err != nil {
		if ctx.Err() == nil {
			n.config.Log.WarnContext(ctx, "cannot release partitions; trying again",
				"boundary", m.def.Boundary, "subscription", m.def.Name, "error", err)
		}
		m.dirty.Store(true)
		return
	}
	m.mu.Lock()
	clear(m.releasing)
	m.mu.Unlock()
	n.refreshNow(m.group())
}

// Hurry has the checkpoints of a subscription's consumers on this node saved at the next tick.
func (n *Node) Hurry(boundary, subscription string) {
	for _, m := range n.all(group{boundary, subscription}) {
		m.mu.Lock()
		for _, p := range m.partitions {
			p.hurry = true
		}
		m.dirty.Store(true)
		m.mu.Unlock()
	}
}
