package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/oexza/orisun/migrations/pgtest"
	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/server/eventtest"
)

var soakFor = flag.Duration("soak.for", 20*time.Second,
	"TestSoak: how long hostile clients are beside the others; from a minute on their latency counts, too")

const (
	innocents    = 16
	innocentPace = 50 * time.Millisecond
	soakMemory   = 512 << 20
	soakBoundary = "orisun_test_2" // the innocent clients'
	// lowestPriority is that of the hostile clients, as nice counts.
	lowestPriority = 19
)

// hostileClient does its worst again and again until its context ends. What it gets is its own business, as long as it
// is refused or answered.
type hostileClient struct {
	name   string
	attack func(ctx context.Context)
}

// TestSoak has eight hostile clients, of another kind each, beside sixteen innocent ones.
func TestSoak(t *testing.T) {
	config := pgtest.Clone(t)
	server := launch(t, environment(t.TempDir(), outside(config)...))
	pid := server.cmd.Process.Pid
	clients := make([]orisunpb.EventStoreClient, innocents)
	for i := range clients {
		clients[i] = connectAs(t, server.address, fmt.Sprint("innocent", i), "read:"+soakBoundary, "write:"+soakBoundary)
	}
	_, err := connect(t, server.address).CreateIndex(t.Context(), &orisunpb.CreateIndexRequest{
		Boundary: soakBoundary, Name: "account", Fields: []*orisunpb.IndexField{{JsonKey: "account"}},
	})
	if err != nil {
		t.Fatal(err)
	}

	alone := work(t, server, config, clients, max(5*time.Second, *soakFor/10))
	stop := attack(t, server, config)
	beside := work(t, server, config, clients, *soakFor)
	stop()
	t.Logf("alone:  %s", alone)
	t.Logf("beside: %s", beside)
	if beside.memory > soakMemory || beside.sessions > soakMemory {
		t.Errorf("the server had %s and the sessions of PostgreSQL %s, more than %s",
			mebibytes(beside.memory), mebibytes(beside.sessions), mebibytes(soakMemory))
	}
	if server.cmd.Process.Pid != pid || server.cmd.ProcessState != nil {
		t.Error("the server ended")
	}
	if *soakFor >= time.Minute && beside.p99 > 5*alone.p99 {
		t.Errorf("the 99th percentile of an innocent call is %s alone and %s beside hostile clients", alone.p99, beside.p99)
	}
}

// measured is what innocent clients saw.
type measured struct {
	calls              int
	median, p99, worst time.Duration
	memory, sessions   uint64 // the most that the server, and the sessions of PostgreSQL, had
}

func (m measured) String() string {
	return fmt.Sprintf("%d calls, median %s, p99 %s, at most %s; server %s, PostgreSQL's sessions %s",
		m.calls, m.median.Round(10*time.Microsecond), m.p99.Round(10*time.Microsecond), m.worst.Round(10*time.Microsecond),
		mebibytes(m.memory), mebibytes(m.sessions))
}

// attackEnv names the address of the server that TestHostileClients attacks, its HTTP address and its database, one a
// line.
const attackEnv = "ORISUN_TEST_ATTACK"

// attack runs TestHostileClients in a process of its own until stop is called. The lowest priority leaves the
// processors to the server and to the innocent clients, as machines of their own would: what hostile clients cost by
// themselves is not the server's fault. Linux may divide the processors among sessions first, so the process has one of
// its own; see yieldSession.
func attack(t *testing.T, server *process, config *pgx.ConnConfig) (stop func()) {
	t.Helper()
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestHostileClients$", "-test.v",
		"-test.timeout", "0")
	child.Env = append(os.Environ(),
		attackEnv+"="+strings.Join([]string{server.address, server.http, config.ConnString()}, "\n"))
	var output bytes.Buffer
	child.Stdout, child.Stderr = &output, &output
	child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	input, err := child.StdinPipe()
	if err == nil {
		err = child.Start()
	}
	if err == nil {
		err = syscall.Setpriority(syscall.PRIO_PROCESS, child.Process.Pid, lowestPriority)
	}
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := errors.Join(input.Close(), child.Wait()); err != nil {
			t.Errorf("hostile clients: %v", err)
		}
		t.Logf("hostile clients:\n%s", &output)
	}
}

// TestHostileClients attacks a server until its standard input ends; where there is none, one of its own, for one round
// of each kind.
func TestHostileClients(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var server *process
	var config *pgx.ConnConfig
	if settings, ok := os.LookupEnv(attackEnv); ok {
		lines := strings.Split(settings, "\n")
		var err error
		if config, err = pgx.ParseConfig(lines[2]); err != nil {
			t.Fatal(err)
		}
		server = &process{address: lines[0], http: lines[1]}
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin) // its end is all that counts
			cancel()
		}()
	} else {
		config = pgtest.Clone(t)
		server = launch(t, environment(t.TempDir(), outside(config)...))
	}
	kinds := hostileClients(t, server, config)
	if server.cmd == nil {
		yieldSession(t)
	}
	var attacking sync.WaitGroup
	for _, kind := range kinds {
		attacking.Go(func() {
			rounds := 0
			for again := true; again; again = server.cmd == nil && ctx.Err() == nil {
				kind.attack(ctx)
				rounds++
			}
			t.Logf("%s: %d rounds", kind.name, rounds)
		})
	}
	attacking.Wait()
}

// yieldSession gives the process's session the lowest priority among the sessions, where Linux divides the processors
// among them. What prepares the attack is done by then.
func yieldSession(t *testing.T) {
	t.Helper()
	err := os.WriteFile("/proc/self/autogroup", []byte(strconv.Itoa(lowestPriority)), 0)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
}

// work has innocent clients save and read for some time. None of their calls may fail, and the server must be ready all
// the time.
func work(
	t *testing.T, server *process, config *pgx.ConnConfig, clients []orisunpb.EventStoreClient, lasts time.Duration,
) (m measured) {
	t.Helper()
	ctx := t.Context()
	var working sync.WaitGroup
	took := make([][]time.Duration, len(clients))
	end := time.Now().Add(lasts)
	for i, client := range clients {
		working.Go(func() {
			tick := time.NewTicker(innocentPace)
			defer tick.Stop()
			for n := 0; time.Now().Before(end); n++ {
				began := time.Now()
				if err := innocent(ctx, client, fmt.Sprint(i), fmt.Sprint(began.UnixNano(), "-", i), n); err != nil {
					t.Errorf("innocent client %d: %v", i, err)
					return
				}
				took[i] = append(took[i], time.Since(began))
				<-tick.C
			}
		})
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		working.Wait()
	}()
	backends := session(t, config)
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for looking := true; looking; {
		select {
		case <-tick.C:
			m.memory, m.sessions = max(m.memory, memoryOf(t, server)), max(m.sessions, memoryOfSessions(t, backends))
			probe(t, server)
		case <-done:
			looking = false
		}
	}
	all := slices.Concat(took...)
	slices.Sort(all)
	if len(all) == 0 {
		t.Fatal("no innocent call succeeded")
	}
	m.calls, m.median, m.p99, m.worst = len(all), all[len(all)/2], all[len(all)*99/100], all[len(all)-1]
	return m
}

// innocent saves an event under an indexed context, or reads what the client saved last.
func innocent(ctx context.Context, client orisunpb.EventStoreClient, account, id string, n int) error {
	criteria := []*orisunpb.Criterion{{Tags: []*orisunpb.Tag{{Key: "account", Value: account}}}}
	if n%2 == 0 {
		_, err := client.GetEvents(ctx, &orisunpb.GetEventsRequest{
			Boundary: soakBoundary, Query: &orisunpb.Query{Criteria: criteria}, Direction: orisunpb.Direction_DESC, Count: 10,
		})
		return err
	}
	latest, err := client.GetLatestByCriteria(ctx, &orisunpb.GetLatestByCriteriaRequest{
		Boundary: soakBoundary, Criteria: criteria,
	})
	if err != nil {
		return err
	}
	_, err = client.SaveEvents(ctx, &orisunpb.SaveEventsRequest{
		Boundary: soakBoundary, Query: &orisunpb.SaveQuery{ExpectedPosition: latest.GetContextPosition(), Criteria: criteria},
		Events: []*orisunpb.EventToSave{{EventId: id, EventType: "T", Data: `{"account": "` + account + `"}`}},
	})
	return err
}

// probe fails where a balancer would take the node out.
func probe(t *testing.T, server *process) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+server.http+"/readyz", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Errorf("readiness: %v", err)
		return
	}
	if err := response.Body.Close(); err != nil || response.StatusCode != http.StatusOK {
		t.Errorf("readiness: %s, %v", response.Status, err)
	}
}

func session(t *testing.T, config *pgx.ConnConfig) *pgx.Conn {
	t.Helper()
	conn, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return conn
}

// memoryOfSessions is what PostgreSQL's sessions in a test's database have of their own.
func memoryOfSessions(t *testing.T, conn *pgx.Conn) (bytes uint64) {
	t.Helper()
	rows, err := conn.Query(t.Context(), "SELECT pid FROM pg_stat_activity WHERE datname = current_database()")
	if err != nil {
		t.Fatal(err)
	}
	pids, err := pgx.CollectRows(rows, pgx.RowTo[int])
	if err != nil {
		t.Fatal(err)
	}
	for _, pid := range pids {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			continue // the session has ended
		}
		if _, after, found := strings.Cut(string(text), "RssAnon:"); found {
			var kilobytes uint64
			if _, err := fmt.Sscanf(after, "%d kB", &kilobytes); err != nil {
				t.Fatal(err)
			}
			bytes += kilobytes << 10
		}
	}
	return bytes
}

// hostileClients are the kinds that docs/security.md#limits is about.
func hostileClients(t *testing.T, server *process, config *pgx.ConnConfig) []hostileClient {
	t.Helper()
	admin := orisunpb.NewAdminClient(dial(t, server.address, grpc.WithPerRPCCredentials(basic{})))
	if _, err := admin.CreateBoundary(t.Context(), &orisunpb.CreateBoundaryRequest{
		Name: "bulk", Placement: &orisunpb.BoundaryPlacementInput{Namespace: "public"},
	}); err != nil {
		t.Fatal(err)
	}
	fillBoundary(t, config, eventtest.Boundary, 50_000)
	store := connect(t, server.address)
	data := `{"pad": "` + strings.Repeat("x", 900_000) + `"}`
	for i := range 60 {
		_, err := store.SaveEvents(t.Context(), &orisunpb.SaveEventsRequest{
			Boundary: "bulk", Events: []*orisunpb.EventToSave{{EventId: fmt.Sprint(i), EventType: "T", Data: data}},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	reader := connectAs(t, server.address, "reader", "read:"+eventtest.Boundary)
	subscriber := connectAs(t, server.address, "subscriber", "read:"+eventtest.Boundary)
	writer := connectAs(t, server.address, "writer", "read:"+eventtest.Boundary, "write:"+eventtest.Boundary,
		"write:"+soakBoundary)
	builder := connectAs(t, server.address, "builder", "admin:"+eventtest.Boundary)
	connectAs(t, server.address, "glutton", "read:bulk", "write:bulk")
	const glutton = "Z2x1dHRvbjpub3QgdGhlIGRlZmF1bHQgb25l" // glutton:not the default one

	bomb := thirtyMillionEvents()
	bombs := gzipped(t, `{"boundary":"bulk","events":[{}`+strings.Repeat(",{}", 20_000_000)+"]}")
	spaces := append(bytes.Repeat(gzipped(t, strings.Repeat(" ", 1<<20)), 1536), gzipped(t, `{"boundary":"bulk"}`)...)
	name := append([]byte("\x0a\x80\x87\xa7\x1c"), bytes.Repeat([]byte("n"), 59_360_128)...)
	var saves atomic.Int64
	return []hostileClient{
		{"an unknown caller's 60 MB of gzip by gRPC", func(ctx context.Context) {
			conn := dialOnce(t, server)
			defer closeConn(t, conn)
			for range 8 {
				expectCode(ctx, t, sendRaw(ctx, conn, saveEventsMethod, bomb), codes.Unauthenticated)
			}
		}},
		{"gzip by HTTP, with and without a password", func(ctx context.Context) {
			for _, credentials := range []string{"", glutton} {
				postHostile(ctx, t, server, "orisun.EventStore/SaveEvents", credentials, bombs)
				postHostile(ctx, t, server, "orisun.EventStore/GetEvents", credentials, spaces)
			}
		}},
		{"watches of health with long names", func(ctx context.Context) {
			atOnce(8, func() {
				conn := dialOnce(t, server)
				defer closeConn(t, conn)
				expectCode(ctx, t, sendRaw(ctx, conn, healthMethod+"Watch", name), codes.ResourceExhausted)
			})
		}},
		{"pages that it never reads", func(ctx context.Context) {
			conn, err := grpc.NewClient(server.address, grpc.WithTransportCredentials(insecure.NewCredentials()),
				grpc.WithPerRPCCredentials(userPassword{"glutton", "not the default one"}), grpc.WithInitialWindowSize(64<<10),
				grpc.WithInitialConnWindowSize(64<<10))
			if err != nil {
				t.Error(err)
				return
			}
			defer closeConn(t, conn)
			for range 30 {
				stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, "/orisun.EventStore/GetEvents")
				if err == nil {
					err = stream.SendMsg(&orisunpb.GetEventsRequest{Boundary: "bulk"})
				}
				if err != nil && ctx.Err() == nil {
					t.Errorf("a page that is not read: %v", err)
				}
			}
			pause(ctx, 3*time.Second)
		}},
		{"40 reads without an index", func(ctx context.Context) {
			atOnce(40, func() {
				_, err := reader.GetEvents(ctx, &orisunpb.GetEventsRequest{Boundary: eventtest.Boundary, Query: unindexed(64)})
				expectCode(ctx, t, err, codes.OK, codes.DeadlineExceeded, codes.ResourceExhausted)
			})
		}},
		{"subscriptions with names, and with the largest criteria", func(ctx context.Context) {
			ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
			defer cancel()
			atOnce(300, func() {
				subscribeUntil(ctx, t, subscriber, &orisunpb.CatchUpSubscribeToEventStoreRequest{
					Boundary: eventtest.Boundary, SubscriberName: fmt.Sprint("n", saves.Add(1)%2000),
				})
			}, func() {
				atOnce(8, func() {
					subscribeUntil(ctx, t, subscriber, &orisunpb.CatchUpSubscribeToEventStoreRequest{
						Boundary: eventtest.Boundary, Query: largestQuery(),
					})
				})
			})
		}},
		{"saves with contexts that no index serves, and with numbers that grow", func(ctx context.Context) {
			id := fmt.Sprint("hostile ", saves.Add(1))
			request := &orisunpb.SaveEventsRequest{
				Boundary: eventtest.Boundary, Query: &orisunpb.SaveQuery{Criteria: unindexed(128).GetCriteria()},
				Events: []*orisunpb.EventToSave{{EventId: id, EventType: "T", Data: `{}`}},
			}
			_, err := writer.SaveEvents(ctx, request)
			expectCode(ctx, t, err, codes.OK, codes.DeadlineExceeded, codes.ResourceExhausted)
			request.Boundary = soakBoundary // the innocent clients' own
			_, err = writer.SaveEvents(ctx, request)
			expectCode(ctx, t, err, codes.OK, codes.DeadlineExceeded, codes.ResourceExhausted)
			request = &orisunpb.SaveEventsRequest{Boundary: soakBoundary}
			for i := range 1900 {
				request.Events = append(request.Events, &orisunpb.EventToSave{
					EventId: fmt.Sprint(id, i), EventType: "T", Data: `{"a":[` + strings.Repeat("1e131071,", 6) + `1e131071]}`,
				})
			}
			_, err = writer.SaveEvents(ctx, request)
			expectCode(ctx, t, err, codes.InvalidArgument)
		}},
		{"wrong passwords, headers that do not end, and 100 indexes", func(ctx context.Context) {
			ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
			defer cancel()
			atOnce(100, func() {
				name := fmt.Sprint("i", saves.Add(1)%8)
				_, err := builder.CreateIndex(ctx, &orisunpb.CreateIndexRequest{
					Boundary: eventtest.Boundary, Name: name, Fields: []*orisunpb.IndexField{{JsonKey: name}},
				})
				if err == nil {
					_, err = builder.DropIndex(ctx, &orisunpb.DropIndexRequest{Boundary: eventtest.Boundary, Name: name})
				}
				expectCode(ctx, t, err, codes.OK, codes.ResourceExhausted, codes.AlreadyExists, codes.NotFound, codes.Aborted,
					codes.FailedPrecondition)
			}, func() {
				conn, err := new(net.Dialer).DialContext(ctx, "tcp", server.http)
				if err == nil {
					_, err = io.WriteString(conn, "POST /orisun.EventStore/Ping HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
					pause(ctx, 4*time.Second)
					err = errors.Join(err, conn.Close())
				}
				if err != nil && ctx.Err() == nil && !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("a header that does not end: %v", err)
				}
			}, func() {
				for range 100 {
					postHostile(ctx, t, server, "orisun.EventStore/Ping", "YWRtaW46d3Jvbmc=", nil)
				}
			})
		}},
	}
}

// dialOnce makes a connection of its own.
func dialOnce(t *testing.T, server *process) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(server.address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Error(err)
	}
	return conn
}

func closeConn(t *testing.T, conn *grpc.ClientConn) {
	t.Helper()
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
}

// expectCode fails where a hostile call got another answer than the limits give. A server that is too busy may refuse
// it, and its deadline may end it.
func expectCode(ctx context.Context, t *testing.T, err error, expected ...codes.Code) {
	t.Helper()
	if code := status.Code(err); ctx.Err() == nil && code != codes.Unavailable && code != codes.DeadlineExceeded &&
		!slices.Contains(expected, code) {
		t.Errorf("a hostile call: %.300v, expected one of %v", err, expected)
	}
}

// postHostile sends a body in gzip, of which the answer is a refusal.
func postHostile(ctx context.Context, t *testing.T, server *process, method, credentials string, body []byte) {
	t.Helper()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+server.http+"/"+method,
		bytes.NewReader(body))
	if err != nil {
		t.Error(err)
		return
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Content-Encoding", "gzip")
	if credentials != "" {
		request.Header.Set("Authorization", "Basic "+credentials)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return // the server answers before it has read the body, and closes the connection
	}
	if err := response.Body.Close(); err != nil || response.StatusCode < 400 {
		t.Errorf("a hostile call by HTTP: %s, %v", response.Status, err)
	}
}

// subscribeUntil holds a subscription until its context ends, or it is refused.
func subscribeUntil(
	ctx context.Context, t *testing.T, client orisunpb.EventStoreClient,
	request *orisunpb.CatchUpSubscribeToEventStoreRequest,
) {
	t.Helper()
	stream, err := client.CatchUpSubscribeToEvents(ctx, request)
	for err == nil {
		_, err = stream.Recv()
	}
	expectCode(ctx, t, err, codes.ResourceExhausted, codes.Aborted)
}

// atOnce runs do so many times at once, beside the others.
func atOnce(times int, do func(), others ...func()) {
	var running sync.WaitGroup
	for range times {
		running.Go(do)
	}
	for _, other := range others {
		running.Go(other)
	}
	running.Wait()
}

// pause waits, at most until ctx ends.
func pause(ctx context.Context, limit time.Duration) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
