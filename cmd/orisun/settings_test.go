package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"
	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/oexza/orisun/migrations/pgtest"
	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/server/config"
)

// shownBy names, for each variable of the specification, a test of this package that shows its effect.
var shownBy = map[string]string{
	"ORISUN_PG_HOST":                       "TestWhereTheEventsAreIsAsConfigured",
	"ORISUN_PG_PORT":                       "TestPsqlGetsInByTCPWithTheConfiguredPassword",
	"ORISUN_PG_USER":                       "TestPsqlGetsInByTCPWithTheConfiguredPassword",
	"ORISUN_PG_PASSWORD":                   "TestPsqlGetsInByTCPWithTheConfiguredPassword",
	"ORISUN_PG_NAME":                       "TestPsqlGetsInByTCPWithTheConfiguredPassword",
	"ORISUN_PG_SSLMODE":                    "TestWhereTheEventsAreIsAsConfigured",
	"ORISUN_PG_SCHEMAS":                    "TestWhereTheEventsAreIsAsConfigured",
	"ORISUN_BOUNDARIES":                    "TestWhereTheEventsAreIsAsConfigured",
	"ORISUN_ADMIN_BOUNDARY":                "TestWhereTheEventsAreIsAsConfigured",
	"ORISUN_ADMIN_USERNAME":                "TestTheAdminAndThePortsAreThoseConfigured",
	"ORISUN_ADMIN_PASSWORD":                "TestTheAdminAndThePortsAreThoseConfigured",
	"ORISUN_ADMIN_PORT":                    "TestTheAdminAndThePortsAreThoseConfigured",
	"ORISUN_GRPC_PORT":                     "TestTheAdminAndThePortsAreThoseConfigured",
	"ORISUN_NATS_PORT":                     "TestTheAdminAndThePortsAreThoseConfigured",
	"ORISUN_NATS_SERVER_NAME":              "TestTheAdminAndThePortsAreThoseConfigured",
	"ORISUN_NATS_STORE_DIR":                "TestTheAdminAndThePortsAreThoseConfigured",
	"ORISUN_PPROF_ENABLED":                 "TestTheAdminAndThePortsAreThoseConfigured",
	"ORISUN_PPROF_PORT":                    "TestTheAdminAndThePortsAreThoseConfigured",
	"ORISUN_LOGGING_LEVEL":                 "TestTheAdminAndThePortsAreThoseConfigured",
	"ORISUN_OTEL_SERVICE_NAME":             "TestTheAdminAndThePortsAreThoseConfigured",
	"ORISUN_GRPC_ENABLE_REFLECTION":        "TestALimitOnMessagesIsTheConfiguredOne",
	"ORISUN_GRPC_MAX_RECEIVE_MESSAGE_SIZE": "TestALimitOnMessagesIsTheConfiguredOne",
	"ORISUN_GRPC_MAX_SEND_MESSAGE_SIZE":    "TestConnectionsAndEventsAreBoundedAsConfigured",
	"ORISUN_NATS_MAX_PAYLOAD":              "TestConnectionsAndEventsAreBoundedAsConfigured",
	"ORISUN_GRPC_CONNECTION_TIMEOUT":       "TestConnectionsAndEventsAreBoundedAsConfigured",
	"ORISUN_GRPC_KEEP_ALIVE_TIME":          "TestConnectionsAndEventsAreBoundedAsConfigured",
	"ORISUN_GRPC_KEEP_ALIVE_TIMEOUT":       "TestConnectionsAndEventsAreBoundedAsConfigured",
	"ORISUN_GRPC_MAX_CONCURRENT_STREAMS":   "TestConnectionsAndEventsAreBoundedAsConfigured",
	"ORISUN_NATS_CLUSTER_NAME":             "TestTheClusterIsAsConfigured",
	"ORISUN_NATS_CLUSTER_HOST":             "TestTheClusterIsAsConfigured",
	"ORISUN_NATS_CLUSTER_PORT":             "TestTheClusterIsAsConfigured",
	"ORISUN_NATS_CLUSTER_USERNAME":         "TestTheClusterIsAsConfigured",
	"ORISUN_NATS_CLUSTER_PASSWORD":         "TestTheClusterIsAsConfigured",
	"ORISUN_NATS_CLUSTER_ENABLED":          "TestTheClusterIsAsConfigured",
	"ORISUN_NATS_CLUSTER_TIMEOUT":          "TestTheClusterIsAsConfigured",
	"ORISUN_NATS_CLUSTER_ROUTES":           "TestTheClusterIsAsConfigured",
	"ORISUN_POLLING_PUBLISHER_BATCH_SIZE":  "TestTheOutboxReadsBatchesOfTheConfiguredSize",
	"ORISUN_OTEL_ENABLED":                  "TestATraceLeadsFromASaveToItsDelivery",
	"ORISUN_OTEL_ENDPOINT":                 "TestATraceLeadsFromASaveToItsDelivery",
	"ORISUN_PG_WRITE_MAX_OPEN_CONNS":       "TestPoolsHoldAsManyConnectionsAsConfigured",
	"ORISUN_PG_WRITE_MAX_IDLE_CONNS":       "TestPoolsHoldAsManyConnectionsAsConfigured",
	"ORISUN_PG_READ_MAX_OPEN_CONNS":        "TestPoolsHoldAsManyConnectionsAsConfigured",
	"ORISUN_PG_READ_MAX_IDLE_CONNS":        "TestPoolsHoldAsManyConnectionsAsConfigured",
	"ORISUN_PG_ADMIN_MAX_OPEN_CONNS":       "TestPoolsHoldAsManyConnectionsAsConfigured",
	"ORISUN_PG_ADMIN_MAX_IDLE_CONNS":       "TestPoolsHoldAsManyConnectionsAsConfigured",
	"ORISUN_GRPC_TLS_ENABLED":              "TestTLSIsThatOfTheConfiguredFiles",
	"ORISUN_GRPC_TLS_CERT_FILE":            "TestTLSIsThatOfTheConfiguredFiles",
	"ORISUN_GRPC_TLS_KEY_FILE":             "TestTLSIsThatOfTheConfiguredFiles",
	"ORISUN_GRPC_TLS_CA_FILE":              "TestTLSIsThatOfTheConfiguredFiles",
	"ORISUN_GRPC_TLS_CLIENT_AUTH_REQUIRED": "TestTLSIsThatOfTheConfiguredFiles",
}

func mustLoad(t *testing.T, environ ...string) *config.Config {
	t.Helper()
	c, warnings, err := config.Load(nil, environ)
	if err != nil || len(warnings) > 0 {
		t.Fatalf("config.Load(%q): warnings %q, error %v", environ, warnings, err)
	}
	return c
}

func TestTheEffectOfEveryVariableOfTheSpecificationIsShown(t *testing.T) {
	var files []string
	for _, folder := range []string{".", "../../server", "../../server/transport", "../../server/jetstream"} {
		found, err := filepath.Glob(folder + "/*_test.go")
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	bodies := map[string]string{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, function := range strings.Split(string(text), "\nfunc ")[1:] {
			name, _, _ := strings.Cut(function, "(")
			bodies[name] = function
		}
	}
	known := map[string]bool{}
	for _, f := range config.Read(nil, nil).Settings {
		known[f.Variable] = true
	}
	for variable, name := range shownBy {
		if !known[variable] {
			t.Errorf("%s is no variable", variable)
		}
		if !strings.Contains(bodies[name], variable) {
			t.Errorf("%s does not use %s", name, variable)
		}
	}
	variables, err := os.ReadFile("testdata/specified_variables")
	if err != nil {
		t.Fatal(err)
	}
	for variable := range strings.FieldsSeq(string(variables)) {
		if shownBy[variable] == "" {
			t.Errorf("no test shows the effect of %s", variable)
		}
	}
}

func TestWhereTheEventsAreIsAsConfigured(t *testing.T) {
	config := pgtest.NewEmpty(t)
	// ORISUN_PG_HOST is in outside
	env := environment(t.TempDir(),
		append(outside(config), "ORISUN_PG_SCHEMAS=shop:Sales,people:staff", "ORISUN_ADMIN_BOUNDARY=people",
			`ORISUN_BOUNDARIES=[{"name":"shop","description":"what is sold"},{"name":"people"}]`)...)
	server := launch(t, env)
	if _, err := connect(t, server.address).SaveEvents(t.Context(), &orisunpb.SaveEventsRequest{
		Boundary: "shop", Events: []*orisunpb.EventToSave{{EventId: "a", EventType: "T", Data: `{}`}},
	}); err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	var id, description string
	err = conn.QueryRow(t.Context(),
		`SELECT e.event_id, b.description FROM "Sales".shop_orisun_es_event e, orisun.boundary b WHERE b.name = 'shop'`).
		Scan(&id, &description)
	var users int
	counted := conn.QueryRow(t.Context(),
		`SELECT count(*) FROM staff.people_orisun_es_event WHERE data->>'username' = 'admin'`).Scan(&users)
	if err = errors.Join(err, counted, conn.Close(t.Context())); err != nil || id != "a" ||
		description != "what is sold" || users != 1 {
		t.Errorf("%q, %q, %d events of the first admin, %v", id, description, users, err)
	}
	code, output := runToEnd(t, append(env, "ORISUN_PG_HOST=127.0.0.1", "ORISUN_PG_SSLMODE=require"))
	if code != exitFailed || !strings.Contains(output, "TLS") {
		t.Errorf("TLS is required of a PostgreSQL without: exit code %d\n%s", code, output)
	}
}

func TestTheAdminAndThePortsAreThoseConfigured(t *testing.T) {
	data := t.TempDir()
	ports := map[string]int{}
	env := environment(data, "ORISUN_ADMIN_USERNAME=boss", "ORISUN_ADMIN_PASSWORD=s3cret",
		"ORISUN_NATS_SERVER_NAME=node-7", "ORISUN_PPROF_ENABLED=true",
		"ORISUN_LOGGING_LEVEL=debug", "ORISUN_OTEL_SERVICE_NAME=shop", "ORISUN_NATS_STORE_DIR="+data+"/elsewhere",
		"ORISUN_AUTH_SESSION_TTL=2s")
	for _, name := range []string{"ORISUN_ADMIN_PORT", "ORISUN_GRPC_PORT", "ORISUN_NATS_PORT", "ORISUN_PPROF_PORT"} {
		ports[name] = freePort(t)
		env = append(env, name+"="+strconv.Itoa(ports[name]))
	}
	server := launch(t, env)
	at := func(name string) string { return "127.0.0.1:" + strconv.Itoa(ports[name]) }
	store := orisunpb.NewEventStoreClient(dial(t, at("ORISUN_GRPC_PORT"),
		grpc.WithPerRPCCredentials(basicAuth{"boss", "s3cret"})))
	info, err := store.GetServerInfo(t.Context(), &orisunpb.GetServerInfoRequest{})
	if err != nil || info.GetNodeId() != "node-7" {
		t.Errorf("%v, %v", info, err)
	}
	if _, err := connect(t, at("ORISUN_GRPC_PORT")).Ping(t.Context(),
		&orisunpb.PingRequest{}); status.Code(err) != codes.Unauthenticated {
		t.Errorf("the default credentials: %v", err)
	}
	var header metadata.MD
	if _, err := store.Ping(t.Context(), &orisunpb.PingRequest{}, grpc.Header(&header)); err != nil ||
		len(header.Get("x-auth-token")) != 1 {
		t.Fatalf("%v, %v", header, err)
	}
	anybody := orisunpb.NewEventStoreClient(dial(t, at("ORISUN_GRPC_PORT")))
	session := metadata.AppendToOutgoingContext(t.Context(), "x-auth-token", header.Get("x-auth-token")[0])
	waitFor(t, func() bool { // no process takes the next token, so the session ends
		_, err := anybody.Ping(session, &orisunpb.PingRequest{})
		return status.Code(err) == codes.Unauthenticated
	})
	if code, text := ask(t, http.MethodGet, "http://"+at("ORISUN_ADMIN_PORT")+"/metrics", ""); code != http.StatusOK ||
		!strings.Contains(text, `service_name="shop"`) {
		t.Errorf("metrics: %d", code)
	}
	if code, text := ask(t, http.MethodGet, "http://"+at("ORISUN_PPROF_PORT")+"/debug/pprof/goroutine?debug=1",
		""); code != http.StatusOK || !strings.Contains(text, "goroutine profile") {
		t.Errorf("profiles: %d", code)
	}
	conn, err := nats.Connect("nats://"+at("ORISUN_NATS_PORT"), nats.UserInfo("boss", "s3cret"))
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if _, err := os.Stat(data + "/elsewhere/jetstream"); err != nil {
		t.Error(err)
	}
	if !strings.Contains(server.logged(), `"level":"DEBUG"`) {
		t.Error("the log has nothing of level DEBUG")
	}
}

func TestConnectionsAndEventsAreBoundedAsConfigured(t *testing.T) {
	server := launchWith(t, "ORISUN_GRPC_MAX_SEND_MESSAGE_SIZE=2048", "ORISUN_NATS_MAX_PAYLOAD=4096",
		"ORISUN_GRPC_CONNECTION_TIMEOUT=300ms",
		"ORISUN_GRPC_KEEP_ALIVE_TIME=1s", "ORISUN_GRPC_KEEP_ALIVE_TIMEOUT=200ms", "ORISUN_GRPC_MAX_CONCURRENT_STREAMS=77")
	store := connect(t, server.address)
	large := func(id string, bytes int) error {
		_, err := store.SaveEvents(t.Context(), &orisunpb.SaveEventsRequest{
			Boundary: "orisun_test_1",
			Events: []*orisunpb.EventToSave{
				{EventId: id, EventType: "T", Data: `{"a": "` + strings.Repeat("x", bytes) + `"}`},
			},
		})
		return err
	}
	if err := large("a", 4096); status.Code(err) != codes.InvalidArgument ||
		!strings.Contains(err.Error(), "ORISUN_NATS_MAX_PAYLOAD") {
		t.Errorf("an event larger than a message: %v", err)
	}
	if err := large("b", 2500); err != nil {
		t.Fatal(err)
	}
	if _, err := store.GetEvents(t.Context(),
		&orisunpb.GetEventsRequest{Boundary: "orisun_test_1"}); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("a page larger than the send limit: %v", err)
	}

	silent, err := new(net.Dialer).DialContext(t.Context(), "tcp", server.address)
	if err != nil {
		t.Fatal(err)
	}
	ended := func(conn net.Conn, limit time.Duration) bool {
		if err := conn.SetReadDeadline(time.Now().Add(limit)); err != nil {
			t.Fatal(err)
		}
		_, err := io.Copy(io.Discard, conn)
		var timeout net.Error
		return !errors.As(err, &timeout) || !timeout.Timeout()
	}
	if !ended(silent, 10*time.Second) { // the default would be 60 s
		t.Error("a client that never says what it speaks keeps its connection")
	}

	deaf, err := new(net.Dialer).DialContext(t.Context(), "tcp", server.address)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(deaf, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	framer := http2.NewFramer(deaf, deaf)
	if err := framer.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	frame, err := framer.ReadFrame()
	if err != nil {
		t.Fatal(err)
	}
	if streams, found := frame.(*http2.SettingsFrame).Value(http2.SettingMaxConcurrentStreams); !found || streams != 77 {
		t.Errorf("%d streams are allowed, want 77", streams)
	}
	if !ended(deaf, 15*time.Second) { // the defaults would be 30 s and 5 s
		t.Error("a client that answers no ping keeps its connection")
	}
	if err := errors.Join(silent.Close(), deaf.Close()); err != nil {
		t.Error(err)
	}
}

func TestTheOutboxReadsBatchesOfTheConfiguredSize(t *testing.T) {
	server := launchWith(t, "ORISUN_POLLING_PUBLISHER_BATCH_SIZE=1")
	acquired := func() (n int) {
		t.Helper()
		_, text := ask(t, http.MethodGet, "http://"+server.http+"/metrics", "")
		if _, err := fmt.Sscan(sample(text, "pgxpool_acquires_total", `db_client_connection_pool_name="outbox"`),
			&n); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		return n
	}
	before := acquired()
	request := &orisunpb.SaveEventsRequest{Boundary: "orisun_test_1"}
	const events = 200
	for i := range events {
		request.Events = append(request.Events, &orisunpb.EventToSave{EventId: strconv.Itoa(i), EventType: "T", Data: `{}`})
	}
	if _, err := connect(t, server.address).SaveEvents(t.Context(), request); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return acquired() >= before+events })
}

func TestPoolsHoldAsManyConnectionsAsConfigured(t *testing.T) {
	config := pgtest.Clone(t)
	server := launch(t, environment(t.TempDir(), append(outside(config),
		"ORISUN_PG_WRITE_MAX_OPEN_CONNS=3", "ORISUN_PG_WRITE_MAX_IDLE_CONNS=1", "ORISUN_PG_READ_MAX_OPEN_CONNS=4",
		"ORISUN_PG_READ_MAX_IDLE_CONNS=2",
		"ORISUN_PG_ADMIN_MAX_OPEN_CONNS=2", "ORISUN_PG_ADMIN_MAX_IDLE_CONNS=0",
		"ORISUN_PG_SCHEMAS=orisun_test_1:public,orisun_test_2:test2,third:public,orisun_admin:admin")...))
	store := connect(t, server.address)
	gauge := func(name, pool string) int {
		t.Helper()
		_, text := ask(t, http.MethodGet, "http://"+server.http+"/metrics", "")
		n, err := strconv.Atoi(sample(text, name, `db_client_connection_pool_name="`+pool+`"`))
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		return n
	}
	for pool, open := range map[string]int{"write": 3, "read": 4, "outbox": 2} {
		if got := gauge("pgxpool_max_connections", pool); got != open {
			t.Errorf("the pool %s has at most %d connections, want %d", pool, got, open)
		}
	}
	conn, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// Each read or save waits, and holds a connection.
	if _, err := tx.Exec(t.Context(),
		`LOCK TABLE public.orisun_test_1_orisun_es_event, test2.orisun_test_2_orisun_es_event,
			 public.third_orisun_es_event`); err != nil {
		t.Fatal(err)
	}
	var calls sync.WaitGroup
	for _, boundary := range []string{"orisun_test_1", "orisun_test_2", "third"} {
		for i := range 2 {
			calls.Go(func() {
				if _, err := store.GetEvents(t.Context(), &orisunpb.GetEventsRequest{Boundary: boundary}); err != nil {
					t.Error(err)
				}
			})
			calls.Go(func() {
				_, err := store.SaveEvents(t.Context(), &orisunpb.SaveEventsRequest{
					Boundary: boundary, Events: []*orisunpb.EventToSave{{EventId: strconv.Itoa(i), EventType: "T", Data: `{}`}},
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
	}
	waitFor(t, func() bool {
		// One caller has less than half of the read pool, and slow flushes have half of the write pool.
		return gauge("pgxpool_acquired_connections", "write") >= 1 && gauge("pgxpool_acquired_connections", "read") == 1 &&
			gauge("pgxpool_acquired_connections", "outbox") == 2
	})
	if err := errors.Join(tx.Rollback(t.Context()), conn.Close(t.Context())); err != nil {
		t.Fatal(err)
	}
	calls.Wait()
	for pool, idle := range map[string]int{"write": 1, "read": 2, "outbox": 0} {
		waitFor(t, func() bool {
			return gauge("pgxpool_acquired_connections", pool) == 0 && gauge("pgxpool_idle_connections", pool) <= idle
		})
	}
}
