package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"syscall"
	"time"

	"google.golang.org/protobuf/proto"

	orisunpb "github.com/oexza/orisun/proto"
)

// roundConfig is the part of a round that its seed does not decide.
type roundConfig struct {
	binary   string
	pgBinDir string
	dir      string // of the round; it stays when there are anomalies
	lasts    time.Duration
	kinds    []fault
	mutation *mutation
}

// result is what a round found.
type result struct {
	seed       uint64
	took       time.Duration
	faults     map[string]int
	saves      int // acknowledged
	conflicts  int
	reads      int
	unknown    int // saves without a known outcome before the log was read
	retried    int // saves with more than one attempt
	events     int
	datedBack  int           // events that are dated before the event before them
	deliveries int           // to subscribers
	streams    int           // that subscribers opened
	looks      int           // reads of the checkpoint
	consumed   int           // deliveries to the consumers of durable subscriptions
	again      int           // those of them that were not the first of their event
	stale      int           // those of them that came after one of a later epoch
	epochs     int           // in which partitions delivered something
	joined     int           // streams of consumers
	undecided  int           // histories
	pause      time.Duration // the longest without an answer to a save, on any node
	anomalies  []string
}

// run creates a cluster, disturbs it under load, heals it and checks everything. The error is what prevented the
// round.
func run(ctx context.Context, config roundConfig, seed uint64) (_ *result, err error) {
	begun := time.Now()
	small := smallDisks()
	defer func() { err = errors.Join(err, small.remove()) }()
	c, err := startCluster(ctx, clusterConfig{
		dir: config.dir, binary: config.binary, pgBinDir: config.pgBinDir, prepareStore: small.add,
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	if err := prepare(ctx, c, config.mutation); err != nil {
		return nil, err
	}
	r := &result{seed: seed}
	f := &faults{c: c, rng: seeded(seed, 1), fillers: small != nil, injected: map[string]int{}}
	if err := r.torture(ctx, c, f, config); err != nil {
		return nil, err
	}
	r.faults, r.took = f.injected, time.Since(begun)
	return r, nil
}

// prepare starts the nodes, and creates the indexes that a real store would have.
func prepare(ctx context.Context, c *cluster, mutation *mutation) error {
	if err := c.serve(ctx); err != nil {
		return err
	}
	for _, field := range []string{"a", "b"} {
		_, err := c.nodes[0].store.CreateIndex(ctx, &orisunpb.CreateIndexRequest{
			Boundary: boundary, Name: field, Fields: []*orisunpb.IndexField{{JsonKey: field}},
		})
		if err != nil {
			return fmt.Errorf("create index %s: %w", field, err)
		}
	}
	if err := createSubscriptions(ctx, c); err != nil {
		return err
	}
	if mutation != nil {
		if err := mutation.apply(ctx, c); err != nil {
			return err
		}
	}
	// The first event creates the stream. From here on faults have something to disturb.
	if err := barrier(ctx, c, "begin"); err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	for {
		messages, err := readStream(limited, c.nodes[0])
		if err == nil && len(messages) > 0 {
			return nil
		}
		if limited.Err() != nil {
			return fmt.Errorf("no stream after %s: %w", startLimit, err)
		}
		rest(limited, 100*time.Millisecond)
	}
}

// barrier saves an event on each node. As a node has one flush of a boundary in progress at a time, earlier flushes
// are over afterwards.
func barrier(ctx context.Context, c *cluster, name string) error {
	for _, n := range c.nodes {
		ctx, cancel := context.WithTimeout(ctx, startLimit)
		_, err := n.store.SaveEvents(ctx, &orisunpb.SaveEventsRequest{
			Boundary: boundary, Events: []*orisunpb.EventToSave{
				{EventId: name + "-" + n.name, EventType: "Barrier", Data: "{}"},
			},
		})
		cancel()
		if err != nil {
			return fmt.Errorf("save on %s when nothing is wrong: %w", n.name, err)
		}
	}
	return nil
}

// torture lets clients work while faults are injected. Then it heals everything and checks.
func (r *result) torture(ctx context.Context, c *cluster, f *faults, config roundConfig) error {
	l := &load{c: c, started: time.Now()}
	subscribers := []*subscriber{{}, {}, {context: 1}, {group: 1, context: 6}, {group: 2, context: 7, name: "torture"}}
	following, endFollowing := context.WithCancel(ctx)
	defer endFollowing()
	var followers, watcher sync.WaitGroup
	for i, s := range subscribers {
		followers.Go(func() { s.run(following, c, seeded(r.seed, uint64(100+i))) })
	}
	groups := newGroups(c, seeded(r.seed, 2))
	for i, g := range groups {
		for j := range g.clients {
			followers.Go(func() { g.run(following, seeded(r.seed, uint64(200+100*i+j))) })
		}
		watcher.Go(func() { g.watch(following) })
	}
	watcher.Go(func() {
		var wrong []string
		r.looks, wrong = watchCheckpoint(following, c)
		l.mu.Lock()
		defer l.mu.Unlock()
		l.anomalies = append(l.anomalies, wrong...)
	})
	working, stop := context.WithTimeout(ctx, config.lasts)
	defer stop()
	var writing sync.WaitGroup
	for i := range writers {
		writing.Go(func() { l.write(working, i, seeded(r.seed, uint64(1000+i))) })
	}
	err := f.inject(working, config.kinds)
	writing.Wait()
	if err != nil {
		r.anomalies = append(r.anomalies, "faults: "+err.Error())
	}
	for _, n := range c.nodes {
		if err := n.awaitServing(ctx); err != nil {
			r.anomalies = append(r.anomalies, "healed: "+err.Error())
			return nil
		}
	}
	if err := barrier(ctx, c, "end"); err != nil {
		r.anomalies = append(r.anomalies, "healed: "+err.Error())
		return nil
	}
	log, err := readLog(ctx, c)
	if err != nil {
		return err
	}
	r.anomalies = append(r.anomalies, checkStream(ctx, c, log)...)
	for _, s := range subscribers {
		r.anomalies = append(r.anomalies, s.check(ctx, log)...)
		r.deliveries += s.count()
	}
	for _, g := range groups {
		g.settle(ctx, log)
	}
	endFollowing()
	followers.Wait()
	watcher.Wait()
	for _, s := range subscribers {
		r.streams += s.streams
	}
	for _, g := range groups {
		r.anomalies = append(r.anomalies, g.check(log)...)
		g.count(r)
	}
	r.anomalies = append(r.anomalies, l.said()...)
	r.anomalies = append(r.anomalies, checkLog(log)...)
	return errors.Join(r.judge(l.operations, log, config.dir), r.compare(ctx, c, log))
}

// judge checks the answers that clients received.
func (r *result) judge(operations []*operation, log []*orisunpb.Event, dir string) error {
	completed, unknown := complete(operations, log)
	r.unknown, r.events, r.datedBack = unknown, len(log), datedBack(log)
	for _, o := range completed {
		switch {
		case !o.sent.save:
			r.reads++
		case o.received.conflict:
			r.conflicts++
		default:
			r.saves++
		}
		if o.attempts > 2 || o.sent.save && !o.known {
			r.retried++
		}
	}
	r.pause = longestPause(completed)
	r.anomalies = append(r.anomalies, checkAnswers(completed, log)...)
	wrong, undecided, err := checkLinearizable(completed, dir)
	r.anomalies, r.undecided = append(r.anomalies, wrong...), undecided
	return err
}

// longestPause is the longest time in which no client learned the outcome of a save.
func longestPause(operations []*operation) (longest time.Duration) {
	ends := []time.Duration{0}
	for _, o := range operations {
		if o.sent.save && o.known {
			ends = append(ends, o.ended)
		}
	}
	slices.Sort(ends)
	for i := range ends[1:] {
		longest = max(longest, ends[i+1]-ends[i])
	}
	return longest
}

// compare reads the whole log from every node, then ends the nodes and checks that the log is still the same.
func (r *result) compare(ctx context.Context, c *cluster, log []*orisunpb.Event) error {
	for _, n := range c.nodes {
		var got []*orisunpb.Event
		after := &orisunpb.Position{TransactionId: -1, GlobalId: -1}
		for {
			page, err := n.store.GetEvents(ctx, &orisunpb.GetEventsRequest{
				Boundary: boundary, AfterPosition: after, Count: 2000,
			})
			if err != nil {
				return fmt.Errorf("read all on %s: %w", n.name, err)
			}
			if len(page.GetEvents()) == 0 {
				break
			}
			got = append(got, page.GetEvents()...)
			after = got[len(got)-1].GetPosition()
		}
		r.same("GetEvents of "+n.name, got, log)
	}
	for _, n := range c.nodes {
		if err := n.end(syscall.SIGTERM); err != nil {
			r.anomalies = append(r.anomalies, err.Error())
		}
	}
	final, err := readLog(ctx, c)
	r.same("the log after the end", final, log)
	return err
}

func (r *result) same(what string, got, want []*orisunpb.Event) {
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || !proto.Equal(got[i], want[i]) {
			r.anomalies = append(r.anomalies,
				fmt.Sprintf("%s has %d events, the log %d; they differ from %d on", what, len(got), len(want), i))
			return
		}
	}
}
