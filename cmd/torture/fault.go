package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// fault is a temporary failure. It affects one node, or the whole cluster.
type fault struct {
	name string
	// shortest and longest bound how long it lasts.
	shortest, longest time.Duration
	// onNode says that a node has one such fault at a time. The other faults concern PostgreSQL, which has one at a
	// time.
	onNode bool
	// begin starts the fault and returns what heals it. It returns nil where the fault is not possible here.
	begin func(context.Context, *faults, int) (heal func(context.Context) error, err error)
}

// catalogue is the list of all faults.
var catalogue = []fault{
	{"kill -9 a node", 500 * time.Millisecond, 4 * time.Second, true, killNode},
	{"kill -9 all nodes", 500 * time.Millisecond, 2 * time.Second, false, killAll},
	{"SIGSTOP a node", time.Second, 12 * time.Second, true, stopNode},
	{"drain a node", 500 * time.Millisecond, 2 * time.Second, true, drainNode},
	{"delete a node's JetStream store", 500 * time.Millisecond, 4 * time.Second, true, deleteStore},
	{"fill the disk of a node's JetStream", time.Second, 4 * time.Second, true, fillDisk},
	{"restart PostgreSQL at once", 100 * time.Millisecond, 2 * time.Second, false, crashPostgres},
	{"terminate PostgreSQL's connections", time.Millisecond, 2 * time.Millisecond, false, terminateConnections},
	{"terminate the lease connections", time.Millisecond, 2 * time.Millisecond, false, terminateLeases},
	{"cut a node from PostgreSQL", 500 * time.Millisecond, 8 * time.Second, true, cutPostgres},
	{"hold back a node's traffic with PostgreSQL", 500 * time.Millisecond, 10 * time.Second, true, freezePostgres},
	{"cut a node from the other nodes", 500 * time.Millisecond, 8 * time.Second, true, cutRoutes},
	{"hold back a node's traffic with the other nodes", 500 * time.Millisecond, 10 * time.Second, true, freezeRoutes},
	{"give a node a certificate that the others do not trust", time.Second, 6 * time.Second, true, mistrust},
	{"let a node of another store join", 2 * time.Second, 6 * time.Second, false, joinForeign},
	{"set PostgreSQL's clock", time.Second, 8 * time.Second, false, jumpClock},
	{"leave a transaction open", 2 * time.Second, 10 * time.Second, false, leaveTransactionOpen},
	{"insert by hand and commit late", 200 * time.Millisecond, 2 * time.Second, false, insertLate},
}

// faults injects them into a cluster. Its error is a failed injection, not the cluster's reaction to a fault.
type faults struct {
	c       *cluster
	rng     *rand.Rand
	fillers bool // each node's store is a small disk of its own

	database sync.Mutex // one fault of PostgreSQL at a time
	running  sync.WaitGroup

	mu       sync.Mutex
	injected map[string]int
	err      error
}

// inject begins faults of a kind, one after another and some at the same time, until ctx ends. Then it heals the
// remaining faults and returns when all are healed.
func (f *faults) inject(ctx context.Context, kinds []fault) error {
	for len(kinds) > 0 && ctx.Err() == nil {
		rest(ctx, time.Duration(200+f.rng.IntN(2500))*time.Millisecond)
		kind, victim := kinds[f.rng.IntN(len(kinds))], f.rng.IntN(nodes)
		lasting := kind.shortest + time.Duration(f.rng.Int64N(int64(kind.longest-kind.shortest)))
		if ctx.Err() == nil {
			f.running.Go(func() { f.one(ctx, kind, victim, lasting) })
		}
	}
	f.running.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

func (f *faults) one(ctx context.Context, kind fault, victim int, lasting time.Duration) {
	turn := &f.database
	if kind.onNode {
		turn = &f.c.nodes[victim].faults
	}
	turn.Lock()
	defer turn.Unlock()
	if ctx.Err() != nil {
		return
	}
	// A fault that has begun is healed, even after ctx ends.
	whole := context.WithoutCancel(ctx)
	heal, err := kind.begin(whole, f, victim)
	if heal == nil && err == nil {
		return // leftOut reported it
	}
	if err == nil {
		rest(whole, lasting)
		err = heal(whole)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.injected[kind.name]++
	f.err = errors.Join(f.err, err)
}

// leftOut lists the faults that are not possible here, with the reasons.
func leftOut() (omitted []string) {
	if runtime.GOOS != "linux" {
		omitted = append(omitted,
			"PostgreSQL's clock does not jump: only Linux lets every program be loaded with another library first")
	}
	if os.Geteuid() != 0 {
		omitted = append(omitted, "no disk is filled: only root can mount small ones")
	}
	return omitted
}

func nothing(context.Context) error { return nil }

func killNode(_ context.Context, f *faults, victim int) (func(context.Context) error, error) {
	n := f.c.nodes[victim]
	return func(context.Context) error { return n.start() }, n.end(syscall.SIGKILL)
}

func drainNode(ctx context.Context, f *faults, victim int) (func(context.Context) error, error) {
	n := f.c.nodes[victim]
	// A node that does not serve yet is not drained.
	if err := n.awaitServing(ctx); err != nil {
		return nil, err
	}
	return func(context.Context) error { return n.start() }, n.end(syscall.SIGTERM)
}

func killAll(_ context.Context, f *faults, _ int) (func(context.Context) error, error) {
	var err error
	for _, n := range f.c.nodes {
		n.faults.Lock()
		err = errors.Join(err, n.end(syscall.SIGKILL))
	}
	return func(context.Context) (err error) {
		for _, n := range f.c.nodes {
			err = errors.Join(err, n.start())
			n.faults.Unlock()
		}
		return err
	}, err
}

func stopNode(_ context.Context, f *faults, victim int) (func(context.Context) error, error) {
	n := f.c.nodes[victim]
	return func(context.Context) error { return n.signal(syscall.SIGCONT) }, n.signal(syscall.SIGSTOP)
}

func deleteStore(_ context.Context, f *faults, victim int) (func(context.Context) error, error) {
	n := f.c.nodes[victim]
	if err := n.end(syscall.SIGKILL); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(n.storeDir())
	for _, entry := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(n.storeDir(), entry.Name())))
	}
	return func(context.Context) error { return n.start() }, err
}

// fillDisk leaves no byte on the small disk of a node's store. JetStream then switches itself off permanently, so the
// node is restarted afterwards. A node that is starting would end with the error that there is no room.
func fillDisk(ctx context.Context, f *faults, victim int) (func(context.Context) error, error) {
	if !f.fillers {
		return nil, nil
	}
	n := f.c.nodes[victim]
	if err := n.awaitServing(ctx); err != nil {
		return nil, err
	}
	path := filepath.Join(n.storeDir(), "filler")
	file, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	for chunk := make([]byte, 1<<20); err == nil; {
		_, err = file.Write(chunk)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		return nil, errors.Join(err, file.Close())
	}
	return func(context.Context) error {
		return errors.Join(os.Remove(path), n.end(syscall.SIGKILL), n.start())
	}, file.Close()
}

func crashPostgres(ctx context.Context, f *faults, _ int) (func(context.Context) error, error) {
	return func(ctx context.Context) error { return f.c.startPostgres(ctx, f.c.pgBinDir) }, f.c.crashPostgres(ctx)
}

func terminateConnections(ctx context.Context, f *faults, _ int) (func(context.Context) error, error) {
	_, err := f.c.admin.Exec(ctx,
		`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()
			AND application_name LIKE 'orisun%'`)
	return nothing, err
}

func terminateLeases(ctx context.Context, f *faults, _ int) (func(context.Context) error, error) {
	_, err := f.c.admin.Exec(ctx,
		`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'orisun leases'`)
	return nothing, err
}

func cutPostgres(_ context.Context, f *faults, victim int) (func(context.Context) error, error) {
	return disturb((*proxy).sever, f.c.toPostgres[victim])
}

func freezePostgres(_ context.Context, f *faults, victim int) (func(context.Context) error, error) {
	return disturb((*proxy).freeze, f.c.toPostgres[victim])
}

func cutRoutes(_ context.Context, f *faults, victim int) (func(context.Context) error, error) {
	return disturb((*proxy).sever, f.c.proxiesOf(victim)...)
}

func freezeRoutes(_ context.Context, f *faults, victim int) (func(context.Context) error, error) {
	return disturb((*proxy).freeze, f.c.proxiesOf(victim)...)
}

func disturb(how func(*proxy), proxies ...*proxy) (func(context.Context) error, error) {
	for _, p := range proxies {
		how(p)
	}
	return func(context.Context) error {
		for _, p := range proxies {
			p.heal()
		}
		return nil
	}, nil
}

// leaveTransactionOpen leaves an old transaction open in the same database. Code that waits for the end of the oldest
// transaction would wait for this one.
func leaveTransactionOpen(ctx context.Context, f *faults, _ int) (func(context.Context) error, error) {
	tx, err := f.c.admin.Begin(ctx)
	if err != nil {
		return nil, err
	}
	_, err = tx.Exec(ctx, `CREATE TABLE IF NOT EXISTS public.foreign_transaction (); LOCK public.foreign_transaction`)
	return tx.Rollback, err
}

// insertLate inserts an event as people do with psql. Every save of the boundary waits for its commit.
func insertLate(ctx context.Context, f *faults, _ int) (func(context.Context) error, error) {
	tx, err := f.c.admin.Begin(ctx)
	if err != nil {
		return nil, err
	}
	_, err = tx.Exec(ctx, `INSERT INTO public.`+boundary+`_orisun_es_event (event_id, event_type, data)
		VALUES ('psql-' || gen_random_uuid(), 'ByHand', '{}')`)
	return tx.Commit, err
}
