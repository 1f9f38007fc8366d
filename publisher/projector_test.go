package publisher_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/oexza/orisun/db"
	"github.com/oexza/orisun/migrations/pgtest"
	"github.com/oexza/orisun/publisher"
)

// account is a row of orisun.user_account.
type account struct {
	Username string
	Roles    []string
	Epoch    int64
	Deleted  bool
}

func accounts(t *testing.T, pool *pgxpool.Pool) map[string]account {
	t.Helper()
	rows, err := pool.Query(t.Context(), `SELECT user_id, username, roles, epoch, deleted FROM orisun.user_account`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	all := map[string]account{}
	for rows.Next() {
		var id string
		var row account
		if err := rows.Scan(&id, &row.Username, &row.Roles, &row.Epoch, &row.Deleted); err != nil {
			t.Fatal(err)
		}
		all[id] = row
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

// TestProjectorsKilledAnywhereLeaveTheSameTable lets two nodes project what a writer saves, ends their sessions again
// and again, and compares the table with what the events say. Each event moves the epoch or is notified by it, so one
// applied twice or never shows.
func TestProjectorsKilledAnywhereLeaveTheSameTable(t *testing.T) {
	pool := pgtest.New(t)
	pgtest.Boundary(t, pool, "people")
	var projected atomic.Int64
	project := func(ctx context.Context, tx db.DBTX) (int, error) {
		few := int32(3)
		count, err := db.New().ProjectUsers(ctx, tx, db.ProjectUsersParams{Boundary: "people", Count: &few})
		projected.Add(int64(count))
		return int(count), err
	}
	for range 2 {
		leases, _ := newLeases(t, pool.Config().ConnConfig)
		t.Cleanup(inBackground(t, publisher.NewProjector(leases, "people", "users", project, logTo(t)).Run))
	}

	const users, rounds = 40, 6
	want := map[string]account{}
	next := int64(0)
	save := func(kind, id string, roles string) {
		t.Helper()
		_, err := pool.Exec(t.Context(), `SELECT orisun.insert_events_with_consistency('people', '{}', $1::jsonb)`,
			fmt.Sprintf(`[{"event_id": "%d", "event_type": %q, "data": {"user_id": %q, "username": "name of %s", "roles": %s}}]`,
				next, kind, id, id, roles))
		if err != nil {
			t.Fatal(err)
		}
		next++
	}
	killing, stop := context.WithCancel(t.Context())
	var killer sync.WaitGroup
	kills := 0
	killer.Go(func() {
		look := time.NewTicker(time.Millisecond)
		defer look.Stop()
		for goal := int64(5); killing.Err() == nil; <-look.C {
			if projected.Load() < goal {
				continue
			}
			goal = projected.Load() + 25
			if _, err := pool.Exec(context.Background(),
				`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'orisun leases'
					AND datname = current_database()`); err != nil {
				t.Error(err)
			}
			kills++
		}
	})
	for round := range rounds {
		for user := range users {
			id := fmt.Sprint("u", user)
			row := want[id]
			switch {
			case round == 0:
				save("UserCreated", id, `["user"]`)
				row = account{Username: "name of " + id, Roles: []string{"user"}, Epoch: next - 1}
			case row.Deleted:
			case (user+round)%7 == 0:
				save("UserDeleted", id, `[]`)
				row.Deleted = true
			case (user+round)%2 == 0:
				save("UserRolesChanged", id, fmt.Sprintf(`["read:b%d"]`, round))
				row.Roles, row.Epoch = []string{fmt.Sprint("read:b", round)}, next-1
			default:
				save("UserPasswordChanged", id, `null`)
				row.Epoch = next - 1
			}
			want[id] = row
		}
	}
	eventually(t, "all events are projected", func() (bool, error) {
		var at int64
		err := pool.QueryRow(t.Context(),
			`SELECT coalesce(max(global_id), -1) FROM public.people_projector_checkpoint`).Scan(&at)
		return at == next-1, err
	})
	stop()
	killer.Wait()
	if kills < 3 {
		t.Errorf("only %d kills: this shows nothing", kills)
	}
	if diff := cmp.Diff(want, accounts(t, pool)); diff != "" {
		t.Errorf("the table (-as the events say +as projected):\n%s", diff)
	}

	// And recreated it is the same.
	if _, err := pool.Exec(t.Context(), `DELETE FROM public.people_projector_checkpoint`); err != nil {
		t.Fatal(err)
	}
	if _, err := pool.Exec(t.Context(), `SELECT orisun.project_users('people')`); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, accounts(t, pool)); diff != "" {
		t.Errorf("the table recreated (-as the events say +as projected):\n%s", diff)
	}
}
