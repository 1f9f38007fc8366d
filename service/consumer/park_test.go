package consumer

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/protobuf/proto"

	orisunpb "github.com/oexza/orisun/proto"
)

// saved stores an event, and returns its global_id.
func saved(t *testing.T, pool *pgxpool.Pool, id, pad string) (at int64) {
	t.Helper()
	if err := pool.QueryRow(t.Context(), `SELECT global_id FROM orisun.insert_events_with_consistency('orders', '{}',
		jsonb_build_array(jsonb_build_object('event_id', $1::text, 'event_type', 'T', 'metadata', '{}'::jsonb,
			'data', jsonb_build_object('pad', $2::text))))`, id, pad).Scan(&at); err != nil {
		t.Fatal(err)
	}
	return at
}

// storedAsParked stores an event as parked in a partition.
func storedAsParked(t *testing.T, pool *pgxpool.Pool, at int64, partition int32, key string, replaying bool) {
	t.Helper()
	if _, err := pool.Exec(t.Context(), `INSERT INTO orisun.parked_event
		(boundary, subscription, global_id, partition, key, reason, refusals, replaying)
		VALUES ('orders', 'mails', $1, $2, $3, 'bad', 1, $4)`, at, partition, key, replaying); err != nil {
		t.Fatal(err)
	}
}

const listParked = `orisun.list_parked(text, text, integer, boolean, bigint, integer)`

func TestReplaysThatCannotBeReadAreReadLater(t *testing.T) {
	pool := subscribed(t)
	log := new(bytes.Buffer)
	m, p := holder(t, Config{Pool: pool, Log: slog.New(slog.NewTextHandler(log, nil))})
	storedAsParked(t, pool, saved(t, pool, "e", ""), 0, "", true)
	if _, err := pool.Exec(t.Context(), "ALTER FUNCTION "+listParked+" RENAME TO list_parked_later"); err != nil {
		t.Fatal(err)
	}
	p.replayMore = true
	for range 2 {
		m.replay(t.Context())
		if next := m.nextLook(); next != progressInterval {
			t.Errorf("the next look is after %s", next)
		}
	}
	if lines := strings.Count(log.String(), "cannot read the parked events to replay"); lines != 1 {
		t.Errorf("logged %d times: %s", lines, log)
	}
	if _, err := pool.Exec(t.Context(), "ALTER FUNCTION "+strings.Replace(listParked, "parked", "parked_later", 1)+
		" RENAME TO list_parked"); err != nil {
		t.Fatal(err)
	}
	m.replay(t.Context())
	if len(p.replays) != 1 {
		t.Errorf("read later: %v", p.replays)
	}
}

// A replay may be stored while a read is under way that does not see it.
func TestAReplayDuringAReadIsNotLost(t *testing.T) {
	pool := subscribed(t)
	m, p := holder(t, Config{Pool: pool})
	at := saved(t, pool, "e", "")
	storedAsParked(t, pool, at, 0, "", false)
	if _, err := pool.Exec(t.Context(), "ALTER FUNCTION "+listParked+` RENAME TO list_parked_now;
		CREATE FUNCTION orisun.list_parked(p_boundary text, p_subscription text, p_partition integer, p_replaying boolean,
			p_after bigint, p_count integer) RETURNS TABLE
			(global_id bigint, transaction_id bigint, date_created timestamptz, event_id text, event_type text, data jsonb,
			 metadata jsonb, partition integer, key text, reason text, refusals integer, parked_at timestamptz,
			 replaying boolean) LANGUAGE plpgsql STABLE AS
		$$ BEGIN
			PERFORM pg_advisory_xact_lock(17);
			RETURN QUERY SELECT * FROM orisun.list_parked_now($1, $2, $3, $4, $5, $6);
		END $$`); err != nil {
		t.Fatal(err)
	}
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(t.Context()) }()
	if _, err := tx.Exec(t.Context(), "SELECT pg_advisory_xact_lock(17)"); err != nil {
		t.Fatal(err)
	}
	p.replayMore = true
	read := make(chan struct{})
	go func() {
		m.replay(t.Context())
		close(read)
	}()
	for waits := 0; waits == 0; {
		select {
		case <-read:
			t.Fatal("the read did not wait")
		default:
		}
		if err := tx.QueryRow(t.Context(), `SELECT count(*) FROM pg_locks
			WHERE locktype = 'advisory' AND NOT granted AND objid = 17 AND
			      database = (SELECT oid FROM pg_database WHERE datname = current_database())`).Scan(&waits); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := pool.Exec(t.Context(), "SELECT orisun.replay_parked('orders', 'mails', $1)", []int64{at}); err != nil {
		t.Fatal(err)
	}
	if err := m.assign(t.Context(), []holding{{partition: 0, replaying: true}}); err != nil {
		t.Fatal(err)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-read
	m.replay(t.Context())
	if len(p.replays) != 1 {
		t.Errorf("replays: %v", p.replays)
	}
}

// Replayed events are bounded in memory like all others, and all of them come in the end.
func TestReplayedEventsAreBoundedInBytes(t *testing.T) {
	const partitions, each, size = 3, 4, 1_000_000
	pool := subscribed(t)
	m, _ := holder(t, Config{Pool: pool, MaxResponseBytes: 64 << 20})
	for id := range int32(partitions) {
		m.partitions[id] = newPartition(id, 0, false, false, Position{1000, 999}, nil, nil)
		m.partitions[id].replayMore = true
		if id > 0 {
			if _, err := pool.Exec(t.Context(), `INSERT INTO orisun.subscription_partition
				SELECT (jsonb_populate_record(p, jsonb_build_object('partition', $1::int))).*
				  FROM orisun.subscription_partition p WHERE partition = 0`, id); err != nil {
				t.Fatal(err)
			}
		}
		for i := range each {
			at := saved(t, pool, fmt.Sprintf("%d-%d", id, i), strings.Repeat("x", size))
			storedAsParked(t, pool, at, id, "", true)
		}
	}
	got := make(map[int64]bool)
	for len(got) < partitions*each {
		m.replay(t.Context())
		held := 0
		for _, p := range m.partitions {
			for _, it := range p.replays {
				held += proto.Size(it.event)
			}
		}
		if held == 0 || held > maxBufferedBytes+size+1000 || held != m.bytes || m.buffered != 0 {
			t.Fatalf("%d bytes are held after %d events, and counted as %d", held, len(got), m.bytes)
		}
		for frame, err := m.collect(time.Now()); frame != nil || err != nil; frame, err = m.collect(time.Now()) {
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range frame.GetDeliveries().GetDeliveries() {
				at := d.GetEvent().GetPosition()
				if got[at.GetGlobalId()] {
					t.Fatalf("%v comes twice", at)
				}
				got[at.GetGlobalId()] = true
				if _, err := m.Settle([]*orisunpb.Acknowledgement{
					{Partition: d.GetPartition(), Positions: []*orisunpb.Position{at}},
				}, nil, nil); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := m.park(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if m.bytes != 0 {
		t.Errorf("%d bytes are counted when all is settled", m.bytes)
	}
}

// Events behind a parked one may fill the memory: it is replayed all the same, or they would never come.
func TestAReplayIsReadWhereMemoryIsFull(t *testing.T) {
	pool := subscribed(t)
	m, p := holder(t, Config{Pool: pool})
	for i := range 2 {
		storedAsParked(t, pool, saved(t, pool, fmt.Sprint(i), ""), 0, "", true)
	}
	const full = maxBufferedBytes + 1
	m.bytes = full
	p.replayMore = true
	m.replay(t.Context())
	if len(p.replays) != 1 || m.bytes <= full {
		t.Errorf("replays: %v, in %d bytes", p.replays, m.bytes)
	}
	m.drop(p)
	if m.bytes != full {
		t.Errorf("%d bytes once the partition is dropped, want %d", m.bytes, full)
	}
}

// While there is no room to park an event, later ones of its key are not parked either: a replay would deliver them
// first.
func TestNoEventIsParkedBeforeEarlierOnesOfItsKey(t *testing.T) {
	pool := subscribed(t)
	m, _ := holder(t, Config{Pool: pool, MaxParked: 10})
	storedAsParked(t, pool, saved(t, pool, "e", ""), 0, "a", false)
	p := newPartition(0, 0, true, true, Position{1, 0}, nil, []string{"a"})
	m.partitions[0] = p
	for id := int64(1); id < 3; id++ {
		p.add(&orisunpb.Event{Position: &orisunpb.Position{GlobalId: id}}, "a")
		p.cannotPark(time.Now().Add(time.Minute))
	}
	p.add(&orisunpb.Event{Position: &orisunpb.Position{GlobalId: 3}}, "a")
	m.buffered = 3
	parked := func() (ids []int64) {
		if err := m.park(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := pool.QueryRow(t.Context(),
			"SELECT array_agg(global_id ORDER BY global_id) FROM orisun.parked_event").Scan(&ids); err != nil {
			t.Fatal(err)
		}
		return ids
	}
	if ids := parked(); len(ids) != 1 {
		t.Errorf("parked while there is no room: %v", ids)
	}
	p.parkAfter = time.Now()
	if ids := parked(); len(ids) != 4 || m.buffered != 0 {
		t.Errorf("parked when there is room: %v; %d are buffered", ids, m.buffered)
	}
}

// An event may be settled, or its partition may move, while it is stored as parked. It is counted out of memory once.
func TestAnEventLeavesMemoryOnce(t *testing.T) {
	for name, meanwhile := range map[string]func(m *Member, p *partition, it *item){
		"acknowledged": func(m *Member, p *partition, it *item) { m.done(p, it) },
		"dropped":      func(m *Member, p *partition, _ *item) { m.drop(p) },
	} {
		t.Run(name, func(t *testing.T) {
			m, p := holder(t, Config{})
			event := &orisunpb.Event{Data: "{}", Position: &orisunpb.Position{}}
			p.add(event, "")
			m.buffered, m.bytes = 1, proto.Size(event)
			it := p.next(time.Now(), time.Minute)
			p.refuse(it, "bad", time.Now(), 1)
			meanwhile(m, p, it)
			m.parkedAs(p, it, "parked")
			if m.buffered != 0 || m.bytes != 0 {
				t.Errorf("%d events of %d bytes are counted", m.buffered, m.bytes)
			}
		})
	}
}

func TestParkedEventsAreReadAsFarAsThereIsRoom(t *testing.T) {
	const each, size = 4, 1_000_000
	pool := subscribed(t)
	m, p := holder(t, Config{Pool: pool})
	for i := range each {
		storedAsParked(t, pool, saved(t, pool, fmt.Sprint(i), strings.Repeat("x", size)), 0, "", true)
	}
	for room, want := range map[int]int{0: 1, size / 2: 1, 2 * size: 2, 3 * size / 2: 2, 10 * size: each} {
		if events, err := m.node.readReplays(t.Context(), m, p, room); err != nil || len(events) != want {
			t.Errorf("%d events are read where there is room for %d bytes, want %d: %v", len(events), room, want, err)
		}
	}
}

// A read of replays costs what it returns, not what else is parked. The texts are random, so that PostgreSQL stores
// them outside of the rows.
func TestAReadOfReplaysFetchesNoDataOfFurtherEvents(t *testing.T) {
	const events, size = 20, 100_000
	pool, random := subscribed(t), rand.NewChaCha8([32]byte{})
	for i := range events {
		text := make([]byte, size/2)
		_, _ = random.Read(text)
		storedAsParked(t, pool, saved(t, pool, fmt.Sprint(i), hex.EncodeToString(text)), 0, "", true)
	}
	buffers := func(room int) (count int) {
		var plans []struct {
			Plan struct {
				Hit  int `json:"Shared Hit Blocks"`
				Read int `json:"Shared Read Blocks"`
			}
		}
		if err := pool.QueryRow(t.Context(), fmt.Sprintf(`EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON)
			SELECT octet_length(data::text) FROM orisun.list_replays('orders', 'mails', 0, 100, %d)`, room)).
			Scan(&plans); err != nil {
			t.Fatal(err)
		}
		return plans[0].Plan.Hit + plans[0].Plan.Read
	}
	buffers(0) // once, so that the session's caches are filled
	one, all := buffers(0), buffers(events*size*2)
	t.Logf("%d blocks are read for one event, %d for %d", one, all, events)
	if one > 2*all/events+100 {
		t.Errorf("%d blocks are read for one event of %d, and %d for all", one, events, all)
	}
}
