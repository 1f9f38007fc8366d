package consumer

import (
	"context"
	"testing"
	"time"

	orisunpb "github.com/oexza/orisun/proto"
)

// endlessEvents is a feed that always has a next event.
type endlessEvents struct{}

func (endlessEvents) FollowLooking(_ context.Context, _ string, after *orisunpb.Position, _ []*orisunpb.Criterion,
	deliver func(*orisunpb.Event) error, _ func(int64, int64, bool),
) error {
	for id := after.GetGlobalId() + 1; ; id++ {
		if err := deliver(&orisunpb.Event{Position: &orisunpb.Position{TransactionId: id + 1, GlobalId: id}}); err != nil {
			return err
		}
	}
}

// TestAcknowledgementsAreWrittenInBatches acknowledges each event by itself, as fast as they come, while calls wait for
// the checkpoint, and counts the writes of the partition's row: at most 20 in a second.
func TestAcknowledgementsAreWrittenInBatches(t *testing.T) {
	const most = 20
	pool := subscribed(t)
	if _, err := pool.Exec(t.Context(), `CREATE SEQUENCE public.writes;
		CREATE FUNCTION public.count_write() RETURNS trigger LANGUAGE plpgsql AS
			$$ BEGIN PERFORM nextval('public.writes'); RETURN NULL; END $$;
		CREATE TRIGGER count_write AFTER UPDATE ON orisun.subscription_partition FOR EACH ROW
			WHEN (old.saved <> new.saved) EXECUTE FUNCTION public.count_write()`); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	n, m, responses := joinedTo(t, pool, endlessEvents{}, "node")
	acknowledged, writes := 0, 0
	for looked := began; writes < 2*most; {
		in := <-responses
		for _, d := range in.GetDeliveries().GetDeliveries() {
			if _, err := m.Settle([]*orisunpb.Acknowledgement{{
				Partition: d.GetPartition(), Epoch: d.GetEpoch(), Positions: []*orisunpb.Position{d.GetEvent().GetPosition()},
			}}, nil, nil); err != nil {
				t.Fatal(err)
			}
			acknowledged++
		}
		n.Hurry("orders", "mails")
		if time.Since(looked) < tickInterval {
			continue
		}
		looked = time.Now()
		if err := pool.QueryRow(t.Context(), `SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM public.writes`).
			Scan(&writes); err != nil {
			t.Fatal(err)
		}
	}
	took := time.Since(began)
	t.Logf("%d events acknowledged one by one in %s, %d writes", acknowledged, took, writes)
	if shortest := time.Duration(writes-1) * time.Second / most; took < shortest {
		t.Errorf("%d writes in %s: want at least %s", writes, took, shortest)
	}
}
