package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/oexza/orisun/migrations/pgtest"
	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/server/eventtest"
)

// userPassword is basic authentication by any user.
type userPassword struct{ username, password string }

func (p userPassword) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{
		"authorization": "Basic " + base64.StdEncoding.EncodeToString([]byte(p.username+":"+p.password)),
	}, nil
}

func (userPassword) RequireTransportSecurity() bool { return false }

// connectAs creates a user with these roles, and dials as that user.
func connectAs(t *testing.T, address, username string, roles ...string) orisunpb.EventStoreClient {
	t.Helper()
	admin := orisunpb.NewAdminClient(dial(t, address, grpc.WithPerRPCCredentials(basic{})))
	const secret = "not the default one"
	if _, err := admin.CreateUser(t.Context(), &orisunpb.CreateUserRequest{
		Name: username, Username: username, Password: secret, Roles: roles,
	}); err != nil {
		t.Fatal(err)
	}
	return orisunpb.NewEventStoreClient(dial(t, address, grpc.WithPerRPCCredentials(userPassword{username, secret})))
}

// fillBoundary stores events in a boundary of schema public, of which no tag of unindexed matches one.
func fillBoundary(t *testing.T, config *pgx.ConnConfig, boundary string, events int) {
	t.Helper()
	conn, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := conn.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	_, err = conn.Exec(t.Context(),
		`INSERT INTO public.`+boundary+`_orisun_es_event (global_id, transaction_id, event_id, event_type, data)
		SELECT g, g + 1, 'old' || g, 'T',
		       (SELECT jsonb_object_agg('k' || k, g::text) FROM generate_series(0, 7) k)
		  FROM generate_series(0, $1::bigint - 1) g`, events)
	if err != nil {
		t.Fatal(err)
	}
}

// unindexed is so many criteria of eight tags each, which no event matches and no index serves.
func unindexed(criteria int) *orisunpb.Query {
	query := &orisunpb.Query{}
	for c := range criteria {
		criterion := &orisunpb.Criterion{}
		for k := range 8 {
			criterion.Tags = append(criterion.Tags, &orisunpb.Tag{Key: fmt.Sprint("k", k), Value: fmt.Sprint("none", c)})
		}
		query.Criteria = append(query.Criteria, criterion)
	}
	return query
}

// TestAReaderOfOneBoundaryDelaysNoOther has a user who may read one boundary read all of it 40 times at once, while
// another boundary is read and the server is probed.
func TestAReaderOfOneBoundaryDelaysNoOther(t *testing.T) {
	config := pgtest.Clone(t)
	server := launch(t, environment(t.TempDir(), outside(config)...))
	innocent := connectAs(t, server.address, "innocent", "read:orisun_test_2", "write:orisun_test_2")
	neighbour := connectAs(t, server.address, "neighbour", "read:"+eventtest.Boundary)
	hostile := connectAs(t, server.address, "hostile", "read:"+eventtest.Boundary)
	fillBoundary(t, config, eventtest.Boundary, 50_000)
	for i := range 10 {
		_, err := innocent.SaveEvents(t.Context(), &orisunpb.SaveEventsRequest{
			Boundary: "orisun_test_2", Events: []*orisunpb.EventToSave{{EventId: fmt.Sprint(i), EventType: "T", Data: `{}`}},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	// median is that of a read, each beside a probe.
	median := func(client orisunpb.EventStoreClient, boundary string) time.Duration {
		t.Helper()
		took := make([]time.Duration, 15)
		for i := range took {
			begun := time.Now()
			page, err := client.GetEvents(t.Context(), &orisunpb.GetEventsRequest{Boundary: boundary, Count: 10})
			if err != nil || len(page.GetEvents()) != 10 {
				t.Fatalf("%d events, %v", len(page.GetEvents()), err)
			}
			took[i] = time.Since(begun)
			if code, answer := readyz(t, server); code != http.StatusOK {
				t.Fatalf("readiness: %d, %+v", code, answer)
			}
		}
		slices.Sort(took)
		return took[len(took)/2]
	}
	alone := median(innocent, "orisun_test_2")

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var reading sync.WaitGroup
	begun := make(chan struct{}, 40)
	for range 40 {
		reading.Go(func() {
			for ctx.Err() == nil {
				begun <- struct{}{}
				_, err := hostile.GetEvents(ctx, &orisunpb.GetEventsRequest{Boundary: eventtest.Boundary, Query: unindexed(64)})
				if code := status.Code(err); code != codes.OK && code != codes.Canceled && code != codes.DeadlineExceeded {
					t.Error(err)
				}
				<-begun
			}
		})
	}
	waitFor(t, func() bool { return len(begun) == cap(begun) })
	beside, same := median(innocent, "orisun_test_2"), median(neighbour, eventtest.Boundary)
	if len(begun) == 0 {
		t.Error("no hostile read is under way any more")
	}
	stop()
	reading.Wait()
	t.Logf("median of a read: %s alone, %s beside 40 reads without an index in another boundary, %s in the same one",
		alone, beside, same)
	if most := 100 * alone; beside > most || same > most {
		t.Errorf("a read takes %s alone, %s beside 40 reads without an index in another boundary, %s in the same one",
			alone, beside, same)
	}
	median(hostile, eventtest.Boundary) // which works again
}
