package main

import (
	"context"
	"crypto/sha256"
	endian "encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	orisunpb "github.com/oexza/orisun/proto"
)

const ackTimeout = 2 * time.Second

// subscription is a durable one, which some clients share.
type subscription struct {
	name       string
	key        string // the field that is the partition key; empty for none
	partitions uint32
	clients    int
}

// subscriptions are those of each round: one whose partitions are divided, and one with an active consumer and
// standbys.
var subscriptions = []subscription{
	{name: "keyed", key: "a", partitions: 16, clients: 6},
	{name: "single", partitions: 1, clients: 3},
}

// A late delivery of an old epoch is an overlap if its client was waiting for it, and another consumer has had the
// partition for a while. A shorter one may have been under way, and a stopped node may have had it in its memory.
const (
	overlapAfter = time.Second
	waitedFor    = 300 * time.Millisecond
	afterStop    = 2 * time.Second
)

// consumed is what clients and PostgreSQL showed of an event. The numbers are those of group.step, 0 is never.
type consumed struct {
	delivered    int // first delivery
	acknowledged int // first acknowledgement, before it was sent
	deliveries   int
	epochs       []int64 // of all deliveries
}

// holding is a partition in one epoch: it has one consumer.
type holding struct {
	consumer string
	counts   map[int64]uint32 // delivery counts by event
	last     int64            // the highest event
}

type partitionEpoch struct {
	partition uint32
	epoch     int64
}

// stored is a partition as PostgreSQL had it.
type stored struct {
	step         int
	partition    uint32
	epoch        int64
	checkpoint   int64
	acknowledged []int64
}

// group is the clients of a subscription. What they see is checked against the log and PostgreSQL's tables at the end.
type group struct {
	subscription

	c      *cluster
	strict bool        // the window of all clients is 1
	calm   atomic.Bool // the clients behave well

	mu        sync.Mutex
	step      int
	events    map[int64]*consumed
	holdings  map[partitionEpoch]*holding
	newest    map[uint32]partitionEpoch // by partition
	since     map[uint32]time.Time      // the first delivery of the newest epoch
	stored    []stored
	lowest    int64 // checkpoint of all partitions, at the last look
	streams   int
	stale     int // deliveries of an epoch that another one had followed
	anomalies []string
}

func newGroup(c *cluster, s subscription, strict bool) *group {
	return &group{
		subscription: s, c: c, strict: strict,
		events: map[int64]*consumed{}, holdings: map[partitionEpoch]*holding{}, newest: map[uint32]partitionEpoch{},
		since: map[uint32]time.Time{},
	}
}

// newGroups are those of a round. Without a partition key the order is strict with a window of 1, in half of the
// rounds.
func newGroups(c *cluster, rng *rand.Rand) (all []*group) {
	strict := rng.IntN(2) == 0
	for _, s := range subscriptions {
		all = append(all, newGroup(c, s, s.key == "" && strict))
	}
	return all
}

func createSubscriptions(ctx context.Context, c *cluster) error {
	for _, s := range subscriptions {
		_, err := c.nodes[0].subscriptions.CreateSubscription(ctx, &orisunpb.CreateSubscriptionRequest{
			Boundary: boundary, Name: s.name, PartitionKey: s.key, Partitions: s.partitions,
			AckTimeout: durationpb.New(ackTimeout), MaxRefusals: 1000,
		})
		if err != nil {
			return fmt.Errorf("create the subscription %s: %w", s.name, err)
		}
	}
	return nil
}

// say records an anomaly. The caller holds the lock.
func (g *group) say(format string, args ...any) {
	g.anomalies = append(g.anomalies, "subscription "+g.name+": "+fmt.Sprintf(format, args...))
}

func (g *group) event(id int64) *consumed {
	e := g.events[id]
	if e == nil {
		e = &consumed{}
		g.events[id] = e
	}
	return e
}

// run consumes on any node, over and over, until ctx ends.
func (g *group) run(ctx context.Context, rng *rand.Rand) {
	for ctx.Err() == nil {
		n := g.c.nodes[rng.IntN(nodes)]
		if err := g.consume(ctx, n, rng); ctx.Err() == nil && !mayFail(err) && !errors.Is(err, io.EOF) {
			g.mu.Lock()
			g.say("a consumer on %s: %v", n.name, err)
			g.mu.Unlock()
		}
		rest(ctx, time.Duration(rng.IntN(500))*time.Millisecond)
	}
}

// client is one stream of a consumer.
type client struct {
	g      *group
	n      *node
	rng    *rand.Rand
	stream orisunpb.Subscriptions_ConsumeClient
	id     string

	mu     sync.Mutex // of sending
	closed bool
}

// consume opens a stream and processes its events. Its client dies, or closes its side, after a few seconds.
func (g *group) consume(ctx context.Context, n *node, rng *rand.Rand) error {
	ctx, end := context.WithCancel(ctx)
	defer end()
	stream, err := n.subscriptions.Consume(ctx)
	if err != nil {
		return err
	}
	c := &client{g: g, n: n, rng: rng, stream: stream}
	window := uint32(1)
	if !g.strict {
		window += rng.Uint32N(50)
	}
	err = stream.Send(&orisunpb.ConsumeRequest{Request: &orisunpb.ConsumeRequest_Start{Start: &orisunpb.ConsumeStart{
		Boundary: boundary, Subscription: g.name, Window: window,
	}}})
	if err != nil && !errors.Is(err, io.EOF) { // of which Recv has the reason
		return err
	}
	dies := rng.IntN(2) == 0
	life := time.AfterFunc(time.Second+time.Duration(rng.IntN(8000))*time.Millisecond, func() {
		switch {
		case g.calm.Load():
		case dies:
			end()
		default:
			c.close()
		}
	})
	defer life.Stop()
	g.mu.Lock()
	g.streams++
	g.mu.Unlock()
	for {
		began := time.Now()
		in, err := stream.Recv()
		if err != nil {
			return err
		}
		if started := in.GetStarted(); started != nil {
			c.id = started.GetConsumerId()
		}
		waited := time.Since(began) >= waitedFor
		for _, d := range in.GetDeliveries().GetDeliveries() {
			g.delivered(c, d, waited)
		}
		for _, d := range in.GetDeliveries().GetDeliveries() {
			if err := c.process(ctx, d); err != nil {
				return err
			}
		}
	}
}

// close ends what the client sends. The server stores it and ends the stream.
func (c *client) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	_ = c.stream.CloseSend() // an error ends the stream, which Recv reports
}

// process settles an event in one of several ways.
func (c *client) process(ctx context.Context, d *orisunpb.Delivery) error {
	if !c.g.calm.Load() {
		switch c.rng.IntN(300) {
		case 0:
			rest(ctx, time.Duration(c.rng.IntN(6000))*time.Millisecond) // longer than the timeout
		case 1, 2:
			return nil // it forgets the event
		case 3, 4, 5:
			return c.send(&orisunpb.ConsumeRequest{Request: &orisunpb.ConsumeRequest_Refuse{Refuse: &orisunpb.Refusal{
				Partition: d.GetPartition(), Epoch: d.GetEpoch(), Position: d.GetEvent().GetPosition(), Reason: "no mood",
			}}})
		case 6, 7, 8:
			return c.send(&orisunpb.ConsumeRequest{Request: &orisunpb.ConsumeRequest_Delay{Delay: &orisunpb.Delay{
				Partition: d.GetPartition(), Epoch: d.GetEpoch(), Position: d.GetEvent().GetPosition(),
				Delay: durationpb.New(time.Duration(c.rng.IntN(500)) * time.Millisecond),
			}}})
		}
	}
	c.g.acknowledges(d.GetEvent().GetPosition().GetGlobalId())
	acknowledge := &orisunpb.Acknowledgement{
		Partition: d.GetPartition(), Epoch: d.GetEpoch(), Positions: []*orisunpb.Position{d.GetEvent().GetPosition()},
	}
	return c.send(&orisunpb.ConsumeRequest{Request: &orisunpb.ConsumeRequest_Acknowledge{Acknowledge: acknowledge}})
}

func (c *client) send(in *orisunpb.ConsumeRequest) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil
	}
	if err := c.stream.Send(in); !errors.Is(err, io.EOF) {
		return err
	}
	return nil // Recv has the reason
}

// acknowledges notes that an event is processed, before its acknowledgement is sent.
func (g *group) acknowledges(id int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.step++
	if e := g.event(id); e.acknowledged == 0 {
		e.acknowledged = g.step
	}
}

// delivered checks a delivery against the others: a partition has one consumer in an epoch, which gets each event with
// a growing count, and nothing of an epoch comes long after a later one has begun.
func (g *group) delivered(c *client, d *orisunpb.Delivery, waited bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.step++
	id, in := d.GetEvent().GetPosition().GetGlobalId(), partitionEpoch{d.GetPartition(), d.GetEpoch()}
	e := g.event(id)
	if e.delivered == 0 {
		e.delivered = g.step
	}
	e.deliveries++
	e.epochs = append(e.epochs, d.GetEpoch())
	held := g.holdings[in]
	if held == nil {
		held = &holding{consumer: c.id, counts: map[int64]uint32{}, last: -1}
		g.holdings[in] = held
	}
	if held.consumer != c.id {
		g.say("partition %d has two consumers in epoch %d: %s and %s", in.partition, in.epoch, held.consumer, c.id)
	}
	if before := held.counts[id]; d.GetDeliveryCount() <= before {
		g.say("event %d comes in epoch %d with the count %d after %d", id, in.epoch, d.GetDeliveryCount(), before)
	}
	if g.key == "" && id < held.last && held.counts[id] == 0 {
		g.say("event %d comes in epoch %d for the first time after %d", id, in.epoch, held.last)
	}
	held.counts[id], held.last = d.GetDeliveryCount(), max(held.last, id)
	switch newest := g.newest[in.partition]; {
	case in.epoch > newest.epoch:
		g.newest[in.partition], g.since[in.partition] = in, time.Now()
	case in.epoch < newest.epoch:
		g.stale++
		late := time.Since(g.since[in.partition])
		if waited && late > overlapAfter && time.Since(c.n.stoppedAt()) > afterStop {
			g.say("event %d of partition %d comes from %s in epoch %d, %s after another consumer has got events in epoch %d",
				id, in.partition, c.n.name, in.epoch, late.Round(time.Millisecond), newest.epoch)
		}
	}
}

// watch polls what PostgreSQL has of the subscription until ctx ends.
func (g *group) watch(ctx context.Context) {
	for ; ctx.Err() == nil; rest(ctx, 30*time.Millisecond) {
		if err := g.look(ctx); err != nil {
			continue // PostgreSQL is away
		}
	}
}

// look reads the partitions, without the server's code.
func (g *group) look(ctx context.Context) error {
	rows, err := g.c.admin.Query(ctx, `SELECT p.partition, p.epoch, c.global_id, p.acknowledged
		FROM orisun.subscription_partition p
		JOIN public.`+boundary+`_projector_checkpoint c ON c.name = 'subscription/' || p.subscription || '/' || p.partition
		WHERE p.subscription = $1 ORDER BY c.global_id`, g.name)
	if err != nil {
		return err
	}
	defer rows.Close()
	var all []stored
	for rows.Next() {
		var s stored
		if err := rows.Scan(&s.partition, &s.epoch, &s.checkpoint, &s.acknowledged); err != nil {
			return err
		}
		all = append(all, s)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	if len(all) != int(g.partitions) {
		return fmt.Errorf("the subscription has %d partitions, want %d", len(all), g.partitions)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.step++
	for _, s := range all {
		s.step = g.step
		g.stored = append(g.stored, s)
	}
	g.lowest = all[0].checkpoint
	return nil
}

// settle waits until the subscription has acknowledged all of the log.
func (g *group) settle(ctx context.Context, log []*orisunpb.Event) {
	g.calm.Store(true)
	ctx, cancel := context.WithTimeout(ctx, catchUpLimit)
	defer cancel()
	for {
		g.mu.Lock()
		lowest := g.lowest
		g.mu.Unlock()
		if lowest == int64(len(log)-1) {
			return
		}
		if ctx.Err() != nil {
			g.mu.Lock()
			defer g.mu.Unlock()
			g.say("%s after everything was healed its lowest checkpoint is %d, and the log ends at %d", catchUpLimit, lowest,
				len(log)-1)
			return
		}
		rest(ctx, 50*time.Millisecond)
	}
}

// keyOf is the value of the partition key.
func (s subscription) keyOf(event *orisunpb.Event) string {
	var data eventData
	if err := json.Unmarshal([]byte(event.GetData()), &data); s.key == "" || err != nil {
		return ""
	}
	return data.A
}

// partitionOf is the partition of an event as documented. It is independent of the server's code.
func (s subscription) partitionOf(event *orisunpb.Event) uint32 {
	sum := sha256.Sum256([]byte(s.keyOf(event)))
	return uint32(endian.BigEndian.Uint64(sum[:8]) % uint64(s.partitions))
}

// check compares everything that the clients and PostgreSQL showed with the log.
func (g *group) check(log []*orisunpb.Event) []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.checkOrder(log)
	g.checkStored(log)
	return g.anomalies
}

// checkOrder: every event is processed, and delivered after those of its key before it. Without a key, the window
// decides how many are delivered together.
func (g *group) checkOrder(log []*orisunpb.Event) {
	last := map[string]int64{}
	for i, event := range log {
		id, key := int64(i), g.keyOf(event)
		e := g.event(id)
		if e.acknowledged == 0 {
			g.say("event %d of %q is not processed; it was delivered %d times", id, key, e.deliveries)
		}
		before, found := last[key]
		if found && (g.key != "" || g.strict) && e.delivered < g.event(before).acknowledged {
			g.say("event %d of %q is delivered before %d is processed", id, key, before)
		}
		last[key] = id
	}
}

// checkStored: PostgreSQL never has more than what clients have acknowledged, and what it has is never delivered in a
// later epoch: only what it does not have comes twice.
func (g *group) checkStored(log []*orisunpb.Event) {
	byPartition := map[uint32][]int64{}
	for i, event := range log {
		p := g.partitionOf(event)
		byPartition[p] = append(byPartition[p], int64(i))
	}
	seen, at, epoch := map[int64]bool{}, map[uint32]int64{}, map[uint32]int64{}
	have := func(s stored, id int64) {
		if seen[id] {
			return
		}
		seen[id] = true
		e := g.event(id)
		if e.acknowledged == 0 || e.acknowledged > s.step {
			g.say("the checkpoint of partition %d in epoch %d is ahead of what is acknowledged: %d is not", s.partition,
				s.epoch, id)
		}
		if slices.Max(append(e.epochs, 0)) > s.epoch {
			g.say("event %d was stored as acknowledged in epoch %d, and comes again in the epochs %v", id, s.epoch, e.epochs)
		}
	}
	for _, s := range g.stored {
		if before, looked := at[s.partition]; looked && s.checkpoint < before || s.epoch < epoch[s.partition] {
			g.say("partition %d went back from %d in epoch %d to %d in epoch %d",
				s.partition, at[s.partition], epoch[s.partition], s.checkpoint, s.epoch)
		}
		at[s.partition], epoch[s.partition] = s.checkpoint, s.epoch
		ids := byPartition[s.partition]
		for len(ids) > 0 && ids[0] <= s.checkpoint {
			have(s, ids[0])
			ids = ids[1:]
		}
		byPartition[s.partition] = ids
		for _, id := range s.acknowledged {
			have(s, id)
		}
	}
}

// count adds what happened to the result.
func (g *group) count(r *result) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, e := range g.events {
		r.consumed += e.deliveries
		r.again += max(e.deliveries-1, 0)
	}
	r.epochs += len(g.holdings)
	r.stale += g.stale
	r.joined += g.streams
}
