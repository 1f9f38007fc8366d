package server

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/oexza/orisun/migrations/pgtest"
	"github.com/oexza/orisun/server/config"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Run(m)) }

// startTimeout is how long a start may take on a busy machine.
const startTimeout = 90 * time.Second

// settings are the defaults for a database, with more variables.
func settings(t testing.TB, database *pgx.ConnConfig, variables ...string) *config.Config {
	t.Helper()
	loaded, warnings, err := config.Load(nil, variables)
	if err != nil || len(warnings) > 0 {
		t.Fatalf("%v: %v, %v", variables, warnings, err)
	}
	pg := &loaded.PG
	pg.Host, pg.Port, pg.User, pg.Password, pg.Name = database.Host, int(database.Port), database.User, database.Password,
		database.Database
	return loaded
}

// basic sends the default credentials with every call.
type basic struct{}

func (basic) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Basic YWRtaW46Y2hhbmdlaXQ="}, nil
}

func (basic) RequireTransportSecurity() bool { return false }

func dial(t testing.TB, address string, options ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(address, append(options, grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	})
	return conn
}

// waitFor returns when the condition holds, and fails the test when it does not within startTimeout.
func waitFor(t *testing.T, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(startTimeout)
	for tick := time.NewTicker(5 * time.Millisecond); ; <-tick.C {
		if condition() {
			tick.Stop()
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the condition does not come to hold")
		}
	}
}
