package service_test

import (
	"context"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/grpc/codes"

	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/service"
)

func TestARightThatTheRoleLacksIsNamed(t *testing.T) {
	c := newCatalog(t)
	c.execute(t, `CREATE ROLE poor`)
	t.Cleanup(func() {
		if _, err := c.pool.Exec(context.Background(), `DROP ROLE poor`); err != nil {
			t.Error(err)
		}
	})
	config := c.pool.Config()
	config.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, "SET ROLE poor")
		return err
	}
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	store := service.NewEventStore(service.Config{
		Write: pool, Read: pool, MaxPageBytes: maxPageBytes,
		MessageSize: func(string, string, string, int, int) int { return 0 },
	})
	t.Cleanup(func() {
		if err := store.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	_, read := store.GetEvents(t.Context(), &orisunpb.GetEventsRequest{Boundary: actsBoundary})
	_, save := store.SaveEvents(t.Context(), &orisunpb.SaveEventsRequest{
		Boundary: actsBoundary, Events: []*orisunpb.EventToSave{event("a", `{}`)},
	})
	for _, err := range []error{read, save} {
		wantViolation(t, err, codes.FailedPrecondition, "")
		if err == nil || !strings.Contains(err.Error(), "permission denied for schema orisun") {
			t.Errorf("got %v", err)
		}
	}
}
