package main

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/oexza/orisun/migrations/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Run(m)) }

func TestTheEmbeddedServerSavesAnEventOnce(t *testing.T) {
	database := pgtest.Clone(t)
	environ := []string{
		"ORISUN_PG_HOST=" + database.Host, "ORISUN_PG_PORT=" + strconv.Itoa(int(database.Port)),
		"ORISUN_PG_USER=" + database.User,
		"ORISUN_PG_PASSWORD=" + database.Password, "ORISUN_PG_NAME=" + database.Database,
		"ORISUN_NATS_STORE_DIR=" + t.TempDir(),
		"ORISUN_GRPC_HOST=127.0.0.1", "ORISUN_GRPC_PORT=0", "ORISUN_ADMIN_HOST=127.0.0.1", "ORISUN_ADMIN_PORT=0",
		"ORISUN_NATS_PORT=0",
		"ORISUN_OTEL_ENABLED=false", "ORISUN_LOGGING_LEVEL=ERROR",
	}
	var first, again strings.Builder
	if err := run(t.Context(), environ, &first); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(first.String(), "saved an event at ") {
		t.Errorf("it printed %q", first.String())
	}
	if err := run(t.Context(), environ, &again); err != nil { // saves are idempotent
		t.Fatal(err)
	}
	if again.String() != first.String() {
		t.Errorf("a retry printed %q, the first run %q", again.String(), first.String())
	}
	if err := run(t.Context(), append(environ, "ORISUN_PG_NAME=missing"), &again); err == nil ||
		!strings.Contains(err.Error(), "start the server") {
		t.Errorf("a server without its database: %v", err)
	}
}
