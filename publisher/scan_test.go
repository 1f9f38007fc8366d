package publisher

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"pgregory.net/rapid"

	"github.com/oexza/orisun/db"
	"github.com/oexza/orisun/migrations/pgtest"
)

// TestPagesTogetherAreWhatAQueryFinds reads boundaries with saves of several events and unused global_ids, after any
// position, in pages of all sizes, and compares them with one page of orisun.get_matching_events.
func TestPagesTogetherAreWhatAQueryFinds(t *testing.T) {
	pool := pgtest.New(t)
	boundaries := 0
	rapid.Check(t, func(t *rapid.T) {
		boundaries++
		boundary := fmt.Sprintf("b%d", boundaries)
		log := insertLog(t, pool, boundary)
		for range 10 {
			query := rapid.SliceOfN(rapid.Custom(drawCriterion), 0, 3).Draw(t, "criteria")
			criteria, err := json.Marshal(query)
			if err != nil {
				t.Fatalf("%v", err)
			}
			after := drawPosition(t, log)
			found, err := db.New().GetMatchingEvents(context.Background(), pool, db.GetMatchingEventsParams{
				Boundary: boundary, Criteria: string(criteria), TransactionID: &after.transactionID, GlobalID: &after.globalID,
				Count: 1000,
			})
			if err != nil {
				t.Fatalf("ask PostgreSQL: %v", err)
			}
			var want, got []int64
			for _, e := range found {
				want = append(want, e.GlobalID)
			}
			feed := NewFeed(FeedConfig{
				Pool: pool, PageEvents: rapid.IntRange(1, 5).Draw(t, "count"), PageBytes: rapid.IntRange(1, 300).Draw(t, "bytes"),
			})
			s := feed.newScan(boundary, wireCriteria(query))
			for cursor := after; ; {
				s.window, s.count = rapid.Int32Range(1, 9).Draw(t, "window"), min(max(s.count, 1), int32(s.feed.config.PageEvents))
				events, end, err := s.page(context.Background(), cursor)
				if err != nil {
					t.Fatalf("%v", err)
				}
				for _, e := range events {
					got = append(got, e.GetPosition().GetGlobalId())
				}
				if end == cursor {
					break
				}
				if !cursor.before(end) {
					t.Fatalf("a page after %v ends at %v", cursor, end)
				}
				cursor = end
			}
			if !slices.Equal(got, want) {
				t.Fatalf("after %v, %s: pages have %v, the query finds %v", after, criteria, got, want)
			}
		}
	})
}

func insertLog(t *rapid.T, pool *pgxpool.Pool, boundary string) []logged {
	log := drawLog(t)
	if _, err := pool.Exec(context.Background(), "SELECT orisun.initialize_boundary_tables($1, 'public')",
		boundary); err != nil {
		t.Fatalf("%v", err)
	}
	for i, l := range log {
		e := drawSmallEvent(t)
		_, err := pool.Exec(context.Background(),
			fmt.Sprintf("INSERT INTO public.%s_orisun_es_event (global_id, transaction_id, event_id, event_type, data) "+
				"VALUES ($1, $2, $3, $4, $5)", boundary),
			l.event.GetPosition().GetGlobalId(), l.event.GetPosition().GetTransactionId(), fmt.Sprint(i), e.GetEventType(),
			e.GetData())
		if err != nil {
			t.Fatalf("%v", err)
		}
	}
	return log
}

// TestACursorMovesOnWhereNothingMatches: else each wake-up would read all of it again.
func TestACursorMovesOnWhereNothingMatches(t *testing.T) {
	s := newStore(t)
	s.save(2 * firstWindow)
	pages := s.feed(FeedConfig{}).newScan(feedBoundary, wireCriteria([]criterion{{Tags: []tag{{"n", "none"}}}}))
	cursor := beginning
	for _, want := range []int{firstWindow, 2 * firstWindow, 2 * firstWindow} {
		events, end, err := pages.page(t.Context(), cursor)
		if err != nil || len(events) > 0 || end != positionOf(s.saved[want-1].GetPosition()) {
			t.Fatalf("after %v: %d events, up to %v, %v; want none, up to event %d", cursor, len(events), end, err, want-1)
		}
		cursor = end
	}
}

// TestAScanThatTakesTooLongLooksAtLess sets a statement_timeout that a whole window cannot keep: a thousand events
// there take a millisecond each to look at, however fast the machine is, and a timeout of half of that leaves a small
// window far more time than a busy one needs.
func TestAScanThatTakesTooLongLooksAtLess(t *testing.T) {
	s := newStore(t)
	s.save(2000)
	_, err := s.pool.Exec(t.Context(), `
		INSERT INTO public.bank_orisun_es_event (event_id, event_type, data)
		SELECT gen_random_uuid()::text, 'Slow', '{"odd": "maybe"}' FROM generate_series(1, 1000);
		ALTER TABLE public.bank_orisun_es_event RENAME TO slow_event;
		CREATE VIEW public.bank_orisun_es_event AS
		SELECT * FROM public.slow_event WHERE event_type <> 'Slow' OR pg_sleep(0.001) IS NOT NULL`)
	if err != nil {
		t.Fatal(err)
	}
	slow := s.pool.Config()
	slow.ConnConfig.RuntimeParams["statement_timeout"] = "500"
	pool, err := pgxpool.NewWithConfig(t.Context(), slow)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	pages := NewFeed(FeedConfig{Pool: pool}).newScan(feedBoundary, onlyOdd)
	pages.window, pages.count = 3000, 512
	found, smallest := 0, pages.window
	for cursor := beginning; ; {
		events, end, err := pages.page(t.Context(), cursor)
		if err != nil {
			t.Fatalf("after %v: %v", cursor, err)
		}
		found += len(events)
		smallest = min(smallest, pages.window)
		if end == cursor {
			break
		}
		cursor = end
	}
	if found != 1000 {
		t.Errorf("%d events were found, want 1,000", found)
	}
	if smallest > 1000 {
		t.Errorf("the window was never below %d: no page took too long, so this test shows nothing", smallest)
	}
}

func TestAPageIsBoundedByBytes(t *testing.T) {
	s := newStore(t)
	pad := strings.Repeat("x", 10<<10)
	for i := range 100 {
		if _, err := s.pool.Exec(t.Context(),
			`INSERT INTO public.bank_orisun_es_event (event_id, event_type, data)
				VALUES ($1, 'T', jsonb_build_object('pad', $2::text))`, fmt.Sprint(i), pad); err != nil {
			t.Fatal(err)
		}
	}
	pages := s.feed(FeedConfig{PageBytes: 100 << 10}).newScan(feedBoundary, nil)
	events, _, err := pages.page(t.Context(), beginning)
	if err != nil || len(events) != 9 { // ten of them are more than 100 KiB
		t.Errorf("%d events in a page, %v; want 9", len(events), err)
	}
	pages = s.feed(FeedConfig{PageBytes: 1}).newScan(feedBoundary, nil)
	events, _, err = pages.page(t.Context(), beginning)
	if err != nil || len(events) != 1 {
		t.Errorf("%d events in a page, %v; want one, however large", len(events), err)
	}
}

func sqlState(err error) string {
	var refused *pgconn.PgError
	if errors.As(err, &refused) {
		return refused.Code
	}
	return ""
}
