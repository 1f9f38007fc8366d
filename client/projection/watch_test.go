package projection_test

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/oexza/orisun/client"
	"github.com/oexza/orisun/client/clienttest"
	"github.com/oexza/orisun/client/internal/wire"
	"github.com/oexza/orisun/client/projection"
)

// newBoundary creates a boundary of the real server. The calls of the client go through the interceptor.
func newBoundary(
	t *testing.T, intercept grpc.UnaryClientInterceptor, options ...client.Option,
) (c *client.Client, boundary string) {
	t.Helper()
	c, err := client.Dial(server.URL, append(options, client.WithDialOptions(grpc.WithUnaryInterceptor(intercept)))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	boundary = "b" + strconv.FormatInt(time.Now().UnixNano(), 36)
	if _, err := c.CreateBoundary(t.Context(), client.Boundary{Name: boundary, Schema: "public"}); err != nil {
		t.Fatal(err)
	}
	return c, boundary
}

// The first two reads fail or are slow. The projection goes on, and reads less often.
func TestAFailedOrSlowReadOfTheProgressDoesNotEndTheProjection(t *testing.T) {
	call := func(ctx context.Context, method string, in, out any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker) error {
		return invoke(ctx, method, in, out, conn)
	}
	failed := func(code codes.Code) grpc.UnaryClientInterceptor {
		return func(context.Context, string, any, any, *grpc.ClientConn, grpc.UnaryInvoker, ...grpc.CallOption) error {
			return status.Error(code, "the statement takes too long")
		}
	}
	stalled := func(
		ctx context.Context, _ string, _, _ any, _ *grpc.ClientConn, _ grpc.UnaryInvoker, _ ...grpc.CallOption,
	) error {
		<-ctx.Done()
		return ctx.Err()
	}
	slow := func(
		ctx context.Context, method string, in, out any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker,
		_ ...grpc.CallOption,
	) error {
		late, cancel := context.WithTimeout(ctx, 1100*time.Millisecond)
		defer cancel()
		<-late.Done()
		return call(ctx, method, in, out, conn, invoke)
	}
	for name, test := range map[string]struct {
		broken grpc.UnaryClientInterceptor
		latest bool // the read of the boundary's latest event is broken; otherwise the search by criteria
	}{
		"the search takes too long":  {failed(codes.DeadlineExceeded), false},
		"the server is overloaded":   {failed(codes.ResourceExhausted), true},
		"the right to read is lost":  {failed(codes.PermissionDenied), true},
		"the server does not answer": {stalled, true},
		"the server is slow":         {slow, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var running atomic.Bool
			var reads atomic.Int64
			begun := make(chan time.Time, 3)
			c, boundary := newBoundary(t, func(
				ctx context.Context, method string, in, out any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker,
				_ ...grpc.CallOption,
			) error {
				read, ok := in.(*wire.GetEventsRequest)
				if running.Load() && ok && test.latest == (len(read.GetQuery().GetCriteria()) == 0) {
					if n := reads.Add(1); n <= 3 {
						begun <- time.Now()
						if n < 3 {
							return test.broken(ctx, method, in, out, conn, invoke)
						}
					}
				}
				return call(ctx, method, in, out, conn, invoke)
			}, client.WithRetryTime(10*time.Second))
			for range 3 {
				if _, err := c.Save(t.Context(), boundary, client.Always, client.NewEvent{Type: "Noted"}); err != nil {
					t.Fatal(err)
				}
			}
			running.Store(true)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			applied, reports := make(chan struct{}, 1), []projection.Progress{}
			store, ended := projection.PGX(connect(t)), make(chan error, 1)
			go func() {
				ended <- projection.Run(ctx, c, store, projection.Config[pgx.Tx]{
					Name: "sparse", Boundary: boundary, Criteria: client.Any(client.Type("Deposited")),
					Apply: func(context.Context, pgx.Tx, client.Event) error {
						applied <- struct{}{}
						return nil
					},
					Progress: func(p projection.Progress) {
						if reports = append(reports, p); p.Applied == 1 && p.Left == 0 {
							cancel()
						}
					},
				})
			}()
			next := func() (at time.Time) {
				select {
				case at = <-begun:
				case err := <-ended:
					t.Fatal(err)
				}
				return at
			}
			first, second, third := next(), next(), next()
			if _, err := c.Save(t.Context(), boundary, client.Always, client.NewEvent{Type: "Deposited"}); err != nil {
				t.Fatal(err)
			}
			select {
			case <-applied:
			case err := <-ended:
				t.Fatal(err)
			}
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
			if second.Sub(first) < 2*time.Second || third.Sub(second) < 4*time.Second {
				t.Errorf("reads after %s and %s more, want 2 s and 4 s at least", second.Sub(first), third.Sub(second))
			}
			// Without the search, the boundary's latest event and the checkpoint are known.
			if !test.latest && (len(reports) < 2 || !reports[0].Position.IsStart() || reports[0].Left != 3) {
				t.Errorf("%+v", reports)
			}
		})
	}
}

// counted counts transactions, and calls a function in the third one: after Run has read the checkpoint.
type counted struct {
	*pgxpool.Pool
	begun atomic.Int64
	third func()
}

func (c *counted) Begin(ctx context.Context) (pgx.Tx, error) {
	if c.begun.Add(1) == 3 {
		c.third()
	}
	return c.Pool.Begin(ctx)
}

// Another process applied what came since this one began to stand by.
func TestATakeoverPassesWhatIsAppliedWithoutATransactionForEach(t *testing.T) {
	c, pool := clienttest.New(t, "bank"), connect(t)
	deposits := make([]client.NewEvent, 1000)
	for i := range deposits {
		deposits[i] = client.NewEvent{Type: "Deposited"}
	}
	last, err := c.Save(t.Context(), "bank", client.Always, deposits...)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Save(t.Context(), "bank", client.Always, client.NewEvent{ID: "next", Type: "Deposited"}); err != nil {
		t.Fatal(err)
	}
	store := &counted{Pool: pool, third: func() {
		const move = "UPDATE orisun_projection SET transaction_id = $1, global_id = $2"
		if _, err := pool.Exec(t.Context(), move, last.TransactionID, last.GlobalID); err != nil {
			t.Error(err)
		}
	}}
	err = projection.Run(t.Context(), c, projection.PGX(store), projection.Config[pgx.Tx]{
		Name: "balance", Boundary: "bank",
		Apply: func(_ context.Context, _ pgx.Tx, event client.Event) error {
			if event.ID != "next" {
				t.Errorf("the event at %v is applied again", event.Position)
			}
			return errEnough
		},
	})
	if n := store.begun.Load(); !errors.Is(err, errEnough) || n > 100 {
		t.Errorf("%v after %d transactions for one event", err, n)
	}
}

// The program can recover from a panic of Progress as from one of Apply: both happen in the goroutine that called Run.
func TestAPanicOfProgressIsOneOfRun(t *testing.T) {
	c, pool := clienttest.New(t, "bank"), connect(t)
	save(t, c, 1)
	defer func() {
		if r, ok := recover().(string); !ok || !strings.Contains(r, "boom") || !strings.Contains(r, "watch_test.go") {
			t.Errorf("the panic became %v", r)
		}
	}()
	err := projection.Run(t.Context(), c, projection.PGX(pool), projection.Config[pgx.Tx]{
		Name: "balance", Boundary: "bank",
		Apply:    func(context.Context, pgx.Tx, client.Event) error { return nil },
		Progress: func(projection.Progress) { panic("boom") },
	})
	t.Error(err)
}
