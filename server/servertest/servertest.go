// Package servertest runs an Orisun server in the process of a test, on a database of its own. The server is the real
// one: PostgreSQL, NATS and gRPC included. The package's TestMain starts PostgreSQL:
//
//	func TestMain(m *testing.M) { os.Exit(pgtest.Run(m)) }
package servertest

import (
	"context"
	"encoding/base64"
	"io/fs"
	"log/slog"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/oexza/orisun/migrations/pgtest"
	"github.com/oexza/orisun/server"
	"github.com/oexza/orisun/server/config"
)

// startTimeout is how long a start may take on a busy machine.
const startTimeout = 90 * time.Second

// Server is a server that runs until the test ends.
type Server struct {
	// Address is the host:port of gRPC, HTTP that of the admin HTTP service.
	Address, HTTP string
	// Database is how to connect to the server's database.
	Database *pgx.ConnConfig

	settings *config.Config
	stop     func()
}

// Start starts a server with the default settings and more variables, such as "ORISUN_GRPC_MAX_SUBSCRIBER_NAMES=2".
// It returns when calls are answered. The end of the test stops the server, and fails the test if the server did not
// end well.
func Start(t testing.TB, variables ...string) *Server {
	t.Helper()
	return StartOn(t, pgtest.Clone(t), variables...)
}

// StartOn is Start on a database of pgtest. Several servers on one database are the nodes of a cluster.
func StartOn(t testing.TB, database *pgx.ConnConfig, variables ...string) *Server {
	t.Helper()
	settings, warnings, err := config.Load(nil, append([]string{
		"ORISUN_PG_HOST=" + database.Host, "ORISUN_PG_PORT=" + strconv.Itoa(int(database.Port)),
		"ORISUN_PG_USER=" + database.User,
		"ORISUN_PG_PASSWORD=" + database.Password, "ORISUN_PG_NAME=" + database.Database,
		"ORISUN_GRPC_HOST=127.0.0.1", "ORISUN_GRPC_PORT=0", "ORISUN_ADMIN_HOST=127.0.0.1", "ORISUN_ADMIN_PORT=0",
		"ORISUN_NATS_PORT=0",
		"ORISUN_NATS_STORE_DIR=" + t.TempDir(), "ORISUN_OTEL_ENABLED=false",
	}, variables...))
	if err != nil || len(warnings) > 0 {
		t.Fatalf("servertest: warnings %q, error %v", warnings, err)
	}
	running := server.New(server.Config{Settings: settings, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	ctx, end := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- running.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		end()
		if err := <-ended; err != nil {
			t.Errorf("servertest: the server ended with %v", err)
		}
	})
	t.Cleanup(stop)
	timeout := time.NewTimer(startTimeout)
	defer timeout.Stop()
	select {
	case <-running.Ready():
	case err := <-ended:
		ended <- nil
		t.Fatalf("servertest: the server does not start: %v", err)
	case <-timeout.C:
		t.Fatalf("servertest: the server does not answer after %s", startTimeout)
	}
	return &Server{
		Address: running.Address().String(), HTTP: running.AdminAddress().String(), Database: database, settings: settings,
		stop: stop,
	}
}

// URL is the address of HTTP, https with ORISUN_GRPC_TLS_ENABLED.
func (s *Server) URL() string {
	if s.settings.GRPC.TLSEnabled {
		return "https://" + s.HTTP
	}
	return "http://" + s.HTTP
}

// Stop drains the server and returns when it has ended. Without it, the end of the test stops the server.
func (s *Server) Stop() { s.stop() }

// Dial returns a connection that sends the first admin's credentials with each call. The end of the test closes it.
func (s *Server) Dial(t testing.TB) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(s.Address, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithPerRPCCredentials(credentials{s.settings.Admin.Username, s.settings.Admin.Password}))
	if err != nil {
		t.Fatalf("servertest: %v", err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Errorf("servertest: %v", err)
		}
	})
	return conn
}

// credentials are sent without TLS: the server listens on loopback.
type credentials struct{ username, password string }

func (c credentials) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{
		"authorization": "Basic " + base64.StdEncoding.EncodeToString([]byte(c.username+":"+c.password)),
	}, nil
}

func (credentials) RequireTransportSecurity() bool { return false }

// ReadSources records the folders of a program that the test builds and runs. Go repeats a test when a package that it
// imports or a file that it reads has changed, and does not know what the go command reads for it.
func ReadSources(t testing.TB, folders ...string) {
	t.Helper()
	for _, folder := range folders {
		err := filepath.WalkDir(folder, func(_ string, _ fs.DirEntry, err error) error { return err })
		if err != nil {
			t.Fatalf("servertest: %v", err)
		}
	}
}
