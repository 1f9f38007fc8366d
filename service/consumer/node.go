// Package consumer divides the partitions of durable subscriptions among the consumers of all nodes, delivers their
// events and stores what is acknowledged.
//
// Leases are rows in PostgreSQL, and need no clock that nodes share. A Node renews one row for all of its consumers, by
// counting up. It stops delivering when the lease time has passed on its own monotonic clock since it sent the last
// renewal that succeeded. Another node takes its partitions when it has seen the same count for the lease time, on its
// own clock: that is later. Each change of a holder raises the partition's epoch, and a write with an older epoch is
// refused: so a node that was stopped, and does not know that its lease has ended, stores nothing.
//
//	node.go        the consumers of this node, and what they hold
//	lease.go       renews the lease, and removes other nodes whose lease has ended
//	member.go      one consumer: what its files have in common
//	assign.go      the partitions that it holds and loses
//	reader.go      reads events into its partitions, as far as there is room
//	deliver.go     sends responses, within the window
//	settle.go      applies acknowledgements, refusals and delays
//	park.go        stores parked events, and reads those that are replayed
//	partition.go   the events of a partition between reader and checkpoint, without I/O
//	checkpoints.go writes checkpoints in batches
//	wait.go        waits for checkpoints
package consumer

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/oexza/orisun/db"
	orisunpb "github.com/oexza/orisun/proto"
)

// Feed is where events come from.
type Feed interface {
	// FollowLooking delivers the events of a boundary after a position that match, in order, and reports how far it
	// looked. It always ends with an error.
	FollowLooking(ctx context.Context, boundary string, after *orisunpb.Position, criteria []*orisunpb.Criterion,
		deliver func(*orisunpb.Event) error, looked func(transactionID, globalID int64, caughtUp bool)) error
}

// Config is what a Node needs.
type Config struct {
	Pool *pgxpool.Pool
	Feed Feed
	// FieldOf is the value of a field of an event's data, as data->>key.
	FieldOf func(event *orisunpb.Event, key string) string
	// Name is the node's, for people.
	Name             string
	MaxResponseBytes int
	// MaxConsumers is how many consumers a subscription may have on all nodes.
	MaxConsumers int
	// MaxParked is how many events a subscription parks. Further ones are delivered again instead.
	MaxParked int
	Log       *slog.Logger
}

// Node has the consumers of this server. Its methods are safe for concurrent use.
type Node struct {
	config  Config
	queries *db.Queries

	id         atomic.Pointer[string] // another one after each end of the lease
	aliveUntil atomic.Pointer[time.Time]
	renewal    sync.Mutex
	changes    int64               // guarded by renewal
	others     map[string]renewals // guarded by renewal
	refresh    chan struct{}
	waits      waits

	starting sync.Mutex
	mu       sync.Mutex
	members  map[string]*Member
	leaving  map[string]*Member // which PostgreSQL does not know yet
	joined   map[string]bool    // consumers that may be in PostgreSQL: from before they join until they have left
	changed  map[group]bool     // whose consumers are to be compared at the next refresh
	stop     context.CancelFunc // nil while nothing runs
	running  sync.WaitGroup

	saving  sync.Mutex      // one write of checkpoints at a time
	saves   int64           // number of the last write; guarded by saving
	failing map[string]bool // boundaries whose failure was logged; guarded by saving
}

// group is the consumers of a subscription; the zero group is all of them.
type group struct{ boundary, subscription string }

// NewNode returns a node without consumers. It does nothing before the first one joins.
func NewNode(config Config) *Node {
	n := &Node{
		config: config, queries: db.New(), refresh: make(chan struct{}, 1),
		members: make(map[string]*Member), leaving: make(map[string]*Member), joined: make(map[string]bool),
		changed: make(map[group]bool),
		waits:   waits{open: make(map[string]*polled)},
		failing: make(map[string]bool),
	}
	unknown := uuid.NewString()
	n.id.Store(&unknown)
	return n
}

// Close ends what the node does in the background. Its consumers have left before.
func (n *Node) Close() {
	n.mu.Lock()
	stop := n.stop
	n.stop = nil
	n.mu.Unlock()
	if stop != nil {
		stop()
	}
	n.running.Wait()
}

// refreshNow has the consumers of a group compared with what they hold.
func (n *Node) refreshNow(in group) {
	n.mu.Lock()
	n.changed[in] = true
	n.mu.Unlock()
	signal(n.refresh)
}

// signal wakes the receiver of a channel with room for one; a signal that waits already is enough.
func signal(to chan struct{}) {
	select {
	case to <- struct{}{}:
	default:
	}
}

// refreshing reads what the consumers hold whenever it changed.
func (n *Node) refreshing(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.refresh:
		}
		n.mu.Lock()
		changed := n.changed
		n.changed = make(map[group]bool)
		n.mu.Unlock()
		if changed[group{}] {
			changed = map[group]bool{{}: true}
		}
		for in := range changed {
			if err := n.assign(ctx, in); err != nil && ctx.Err() == nil {
				n.config.Log.WarnContext(ctx, "cannot read what this node's consumers hold; trying again", "error", err)
				pause(ctx, renewInterval)
				n.refreshNow(in)
			}
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// assign reads what the consumers of a group hold, and lets each compare.
func (n *Node) assign(ctx context.Context, in group) error {
	members := n.all(in) // before the read, so that it has a row of each
	rows, err := n.queries.HeldPartitions(ctx, n.config.Pool, db.HeldPartitionsParams{
		Node: *n.id.Load(), Boundary: in.boundary, Subscription: in.subscription,
	})
	if err != nil {
		return err
	}
	failed := n.removeStrays(ctx, rows)
	held, generations := make(map[string][]holding), make(map[string]string)
	for _, row := range rows {
		generations[row.Member] = row.Generation
		if row.Partition >= 0 {
			held[row.Member] = append(held[row.Member], holding{row.Partition, row.Epoch, row.Moving, row.Replaying})
		}
	}
	for _, m := range members {
		if generations[m.ID] == m.def.Generation {
			failed = errors.Join(failed, m.assign(ctx, held[m.ID]))
			continue
		}
		failed = errors.Join(failed, m.assign(ctx, nil), n.rejoin(ctx, m))
	}
	return failed
}

// removeStrays removes consumers whose request to join reached PostgreSQL after they had left, or had given up.
func (n *Node) removeStrays(ctx context.Context, rows []db.HeldPartitionsRow) (failed error) {
	strays := make(map[string]group)
	n.mu.Lock()
	for _, row := range rows {
		if !n.joined[row.Member] {
			strays[row.Member] = group{row.Boundary, row.Subscription}
		}
	}
	n.mu.Unlock()
	for member, in := range strays {
		failed = errors.Join(failed, n.queries.LeaveSubscription(ctx, n.config.Pool, db.LeaveSubscriptionParams{
			Boundary: in.boundary, Subscription: in.subscription, Member: member,
		}))
		n.refreshNow(in)
	}
	return failed
}

// rejoin lets a consumer that PostgreSQL does not know join again, unless its subscription was deleted or reset.
func (n *Node) rejoin(ctx context.Context, m *Member) error {
	rows, err := n.queries.ListSubscriptions(ctx, n.config.Pool, db.ListSubscriptionsParams{
		Boundary: m.def.Boundary, Name: m.def.Name,
	})
	var refused *pgconn.PgError
	switch {
	case errors.As(err, &refused) && (refused.Code == "OR040" || refused.Code == "OR001"):
		m.end(ErrDeleted)
		return nil
	case err != nil:
		return err
	case len(rows) != 1 || rows[0].Generation.String() != m.def.Generation:
		m.end(ErrReset)
		return nil
	}
	if err := n.renew(ctx); err != nil {
		return err
	}
	defer n.refreshNow(m.group())
	err = n.join(ctx, m)
	if errors.As(err, &refused) && refused.Code == "OR043" { // others have joined since
		m.end(err)
		return nil
	}
	return err
}

func (n *Node) join(ctx context.Context, m *Member) error {
	_, err := n.queries.JoinSubscription(ctx, n.config.Pool, db.JoinSubscriptionParams{
		Boundary: m.def.Boundary, Subscription: m.def.Name, Member: m.ID, Node: *n.id.Load(),
		Name: m.Client.Name, Address: m.Client.Address, Username: m.Client.Username,
		ConsumerLimit: int32(n.config.MaxConsumers),
	})
	return err
}

// all returns the consumers of a group.
func (n *Node) all(in group) (all []*Member) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, m := range n.members {
		if in == (group{}) || in == m.group() {
			all = append(all, m)
		}
	}
	return all
}

// Join adds a consumer to its group. Call Leave after Run.
func (n *Node) Join(ctx context.Context, def Definition, client Client) (*Member, error) {
	if err := n.start(ctx); err != nil {
		return nil, err
	}
	m := &Member{
		ID: uuid.NewString(), Client: client, node: n, def: def, wake: make(chan struct{}, 1), room: make(chan struct{}, 1),
		partitions: make(map[int32]*partition), releasing: make(map[int32]int64), released: make(map[int32]int64),
		looked: Position{-1, -1},
	}
	n.mu.Lock()
	n.joined[m.ID] = true
	n.mu.Unlock()
	if err := n.firstJoin(ctx, m); err != nil {
		n.mu.Lock()
		delete(n.joined, m.ID)
		n.mu.Unlock()
		return nil, err
	}
	n.mu.Lock()
	n.members[m.ID] = m
	n.mu.Unlock()
	n.refreshNow(m.group())
	return m, nil
}

// firstJoin renews the lease first if it has ended.
func (n *Node) firstJoin(ctx context.Context, m *Member) error {
	err := n.join(ctx, m)
	const foreignKey = "23503" // the lease had ended
	var refused *pgconn.PgError
	if !errors.As(err, &refused) || refused.Code != foreignKey {
		return err
	}
	if err := n.renew(ctx); err != nil {
		return err
	}
	return n.join(ctx, m)
}

// Find returns the consumer of an id, nil if this node has none.
func (n *Node) Find(id string) *Member {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.members[id]
}

// ErrUnstored is the error of a consumer that has left before its last acknowledgements were stored.
var ErrUnstored = errors.New("the last acknowledgements may not be stored")

// Leave stores what was acknowledged, and gives the consumer's partitions to others. If PostgreSQL does not answer, it
// goes on in the background, and returns ErrUnstored where something was acknowledged.
func (n *Node) Leave(m *Member) error {
	n.mu.Lock()
	delete(n.members, m.ID)
	n.mu.Unlock()
	m.mu.Lock()
	m.left = true
	m.mu.Unlock()
	m.stopReading()
	ctx, cancel := context.WithTimeout(context.Background(), renewTimeout)
	defer cancel()
	left := n.leave(ctx, m)
	unstored := m.unstored()
	if !left {
		n.mu.Lock()
		n.leaving[m.ID] = m
		n.mu.Unlock()
	}
	if unstored {
		return ErrUnstored
	}
	return nil
}

// leave returns whether PostgreSQL has all of a consumer that leaves.
func (n *Node) leave(ctx context.Context, m *Member) bool {
	if m.park(ctx) != nil || n.save(ctx, m.def.Boundary, []*Member{m}, dueAll) != nil {
		return false
	}
	if err := n.queries.LeaveSubscription(ctx, n.config.Pool, db.LeaveSubscriptionParams{
		Boundary: m.def.Boundary, Subscription: m.def.Name, Member: m.ID,
	}); err != nil {
		return false
	}
	n.mu.Lock()
	delete(n.leaving, m.ID)
	delete(n.joined, m.ID)
	n.mu.Unlock()
	n.refreshNow(m.group())
	return true
}

func (n *Node) readCheckpoints(ctx context.Context, m *Member, partitions []int32) ([]db.ReadCheckpointsRow, error) {
	return n.queries.ReadCheckpoints(ctx, n.config.Pool, db.ReadCheckpointsParams{
		Boundary: m.def.Boundary, Subscription: m.def.Name, Partitions: partitions,
	})
}
