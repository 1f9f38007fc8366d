package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	grpcgzip "google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/server/eventtest"
)

// rawCodec sends bytes as they are and receives none.
type rawCodec struct{}

func (rawCodec) Name() string { return "proto" }

func (rawCodec) Marshal(message any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(message.([]byte))}, nil
}

func (rawCodec) Unmarshal(mem.BufferSlice, any) error { return nil }

// blockWriter writes gzip in blocks, and each of several equal ones is compressed once: the race detector makes
// compression slow. Blocks that begin with the same phase of what is repeated in two or three bytes are equal.
type blockWriter struct {
	to               io.Writer
	last, compressed []byte
}

const gzipBlock = 96 << 10

func (w *blockWriter) Write(text []byte) (int, error) {
	for block := range slices.Chunk(text, gzipBlock) {
		if !bytes.Equal(block, w.last) {
			var member bytes.Buffer
			writer := gzip.NewWriter(&member)
			if _, err := writer.Write(block); err != nil {
				return 0, err
			}
			if err := writer.Close(); err != nil {
				return 0, err
			}
			w.last, w.compressed = block, member.Bytes()
		}
		if _, err := w.to.Write(w.compressed); err != nil {
			return 0, err
		}
	}
	return len(text), nil
}

func (w *blockWriter) Close() error { return nil }

// blockCompressor is gRPC's gzip by a blockWriter.
type blockCompressor struct{ encoding.Compressor }

func (blockCompressor) Compress(to io.Writer) (io.WriteCloser, error) {
	return &blockWriter{to: to}, nil
}

func init() {
	encoding.RegisterCompressor(blockCompressor{encoding.GetCompressor(grpcgzip.Name)})
}

// sendRaw makes a call of a message that is bytes already, in gzip.
func sendRaw(ctx context.Context, conn *grpc.ClientConn, method string, message []byte) error {
	return conn.Invoke(ctx, method, message, nil, grpc.ForceCodecV2(rawCodec{}), grpc.UseCompressor(grpcgzip.Name))
}

// largestDuring is the most memory that a server has while do runs.
func largestDuring(t *testing.T, server *process, do func()) uint64 {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		do()
	}()
	largest := memoryOf(t, server)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			largest = max(largest, memoryOf(t, server))
		case <-done:
			return max(largest, memoryOf(t, server))
		}
	}
}

func mebibytes(bytes uint64) string { return fmt.Sprintf("%.0f MiB", float64(bytes)/(1<<20)) }

// wantGrowth fails where a server's memory grows by more than so many bytes.
func wantGrowth(t *testing.T, what string, server *process, limit uint64, do func()) {
	t.Helper()
	began := memoryOf(t, server)
	largest := largestDuring(t, server, do)
	t.Logf("%s: %s before, %s at most", what, mebibytes(began), mebibytes(largest))
	if largest > began+limit {
		t.Errorf("%s: the server grew from %s to %s, by more than %s",
			what, mebibytes(began), mebibytes(largest), mebibytes(limit))
	}
}

// thirtyMillionEvents is SaveEvents in 60 MB, which gzip makes 60 kB.
func thirtyMillionEvents() []byte {
	return append([]byte("\x12\x0dorisun_test_1"), bytes.Repeat([]byte("\x22\x00"), 30_000_000)...)
}

const (
	saveEventsMethod = "/orisun.EventStore/SaveEvents"
	healthMethod     = "/grpc.health.v1.Health/"
)

func authorized(ctx context.Context, credentials string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Basic "+credentials)
}

func TestNothingIsDecodedForAnUnknownCaller(t *testing.T) {
	server := launchWith(t)
	conn := dial(t, server.address)
	bomb := thirtyMillionEvents()
	for _, c := range []struct {
		name  string
		ctx   context.Context
		code  codes.Code
		limit uint64
	}{
		{"no credentials", t.Context(), codes.Unauthenticated, 16 << 20},
		{"a wrong password", authorized(t.Context(), "YWRtaW46d3Jvbmc="), codes.Unauthenticated, 16 << 20},
		{
			"a forged token", metadata.AppendToOutgoingContext(t.Context(), "x-auth-token", strings.Repeat("A", 128)),
			codes.Unauthenticated, 16 << 20,
		},
		{"an admin", authorized(t.Context(), "YWRtaW46Y2hhbmdlaXQ="), codes.InvalidArgument, 256 << 20},
	} {
		wantGrowth(t, c.name, server, c.limit, func() {
			err := sendRaw(c.ctx, conn, saveEventsMethod, bomb)
			if status.Code(err) != c.code ||
				c.code == codes.InvalidArgument && !strings.Contains(err.Error(), "events: has 30000000 elements") {
				t.Errorf("%s: %v, wanted %v", c.name, err, c.code)
			}
		})
	}
}

func TestAHealthCheckHasAShortName(t *testing.T) {
	server := launchWith(t)
	name := append([]byte("\x0a\x80\x87\xa7\x1c"), bytes.Repeat([]byte("n"), 59_360_128)...)
	wantGrowth(t, "40 watches", server, 48<<20, func() {
		var watching sync.WaitGroup
		for range 40 {
			watching.Go(func() {
				if err := sendRaw(t.Context(), dial(t, server.address), healthMethod+"Watch",
					name); status.Code(err) != codes.ResourceExhausted {
					t.Errorf("a watch of a name of 60 MB: %v", err)
				}
			})
		}
		watching.Wait()
	})
	conn := dial(t, server.address)
	long := append([]byte("\x0a\x81\x02"), bytes.Repeat([]byte("n"), 257)...)
	for _, method := range []string{"Check", "Watch"} {
		if err := sendRaw(t.Context(), conn, healthMethod+method, long); status.Code(err) != codes.InvalidArgument ||
			!strings.Contains(err.Error(), "256") {
			t.Errorf("%s of a name of 257 bytes: %v", method, err)
		}
	}
}

// largePages saves events of which a page takes 58 MB.
func largePages(t *testing.T, store orisunpb.EventStoreClient) {
	t.Helper()
	data := `{"pad": "` + strings.Repeat("x", 900_000) + `"}`
	for i := range 66 {
		_, err := store.SaveEvents(t.Context(), &orisunpb.SaveEventsRequest{
			Boundary: "orisun_test_1", Events: []*orisunpb.EventToSave{{EventId: fmt.Sprint(i), EventType: "T", Data: data}},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// anotherUser creates a user and connects as that one.
func anotherUser(t *testing.T, server *process, name, role string) orisunpb.EventStoreClient {
	t.Helper()
	admin := orisunpb.NewAdminClient(dial(t, server.address, grpc.WithPerRPCCredentials(basic{})))
	_, err := admin.CreateUser(t.Context(), &orisunpb.CreateUserRequest{
		Name: name, Username: name, Password: "a password", Roles: []string{role},
	})
	if err != nil {
		t.Fatal(err)
	}
	return orisunpb.NewEventStoreClient(dial(t, server.address, grpc.WithPerRPCCredentials(password(name+":a password"))))
}

// password sends these credentials with every call.
type password string

func (p password) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Basic " + base64.StdEncoding.EncodeToString([]byte(p))}, nil
}

func (password) RequireTransportSecurity() bool { return false }

// neverRead asks for a page and reads no byte of it that fits no window.
func neverRead(ctx context.Context, conn *grpc.ClientConn) error {
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, "/orisun.EventStore/GetEvents")
	if err != nil {
		return err
	}
	if err := stream.SendMsg(&orisunpb.GetEventsRequest{Boundary: "orisun_test_1"}); err != nil {
		return err
	}
	return stream.CloseSend()
}

func TestUnreadPagesAreBoundedAndEndWithTheirConnection(t *testing.T) {
	server := launchWith(t)
	admin := connect(t, server.address)
	largePages(t, admin)
	neighbour := anotherUser(t, server, "neighbour", "user")
	began := memoryOf(t, server)

	hostile, err := grpc.NewClient(server.address, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithPerRPCCredentials(basic{}), grpc.WithInitialWindowSize(64<<10), grpc.WithInitialConnWindowSize(64<<10))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	wantGrowth(t, "30 unread pages", server, 400<<20, func() {
		for range 30 {
			if err := neverRead(ctx, hostile); err != nil {
				t.Error(err)
			}
		}
		for i := range 100 { // the neighbour does not notice
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			_, err := neighbour.SaveEvents(ctx, &orisunpb.SaveEventsRequest{
				Boundary: "orisun_test_2", Events: []*orisunpb.EventToSave{{EventId: fmt.Sprint(i), EventType: "T", Data: `{}`}},
			})
			if err != nil {
				t.Errorf("the neighbour: %v", err)
			}
		}
		// one page found no room
		waitFor(t, func() bool { return strings.Contains(server.logged(), "ORISUN_GRPC_MAX_BYTES_IN_FLIGHT") })
	})
	if err := hostile.Close(); err != nil {
		t.Error(err)
	}
	waitFor(t, func() bool { return memoryOf(t, server) < began+64<<20 })
	t.Logf("after the connection is gone: %s", mebibytes(memoryOf(t, server)))
	page, err := admin.GetEvents(t.Context(), &orisunpb.GetEventsRequest{Boundary: "orisun_test_1"},
		grpc.MaxCallRecvMsgSize(64<<20))
	if err != nil || len(page.GetEvents()) != 66 {
		t.Errorf("a page of 58 MB afterwards: %d events, %v", len(page.GetEvents()), err)
	}
}

// gzipped is what curl --compressed would send.
func gzipped(t *testing.T, text string) []byte {
	t.Helper()
	var buffer bytes.Buffer
	writer := blockWriter{to: &buffer}
	if _, err := writer.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	return buffer.Bytes()
}

// post sends a body in gzip to an RPC and returns the answer's status, its header and its text.
func post(t *testing.T, server *process, method, credentials string, body []byte) (int, http.Header, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+server.http+"/"+method,
		bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Content-Encoding", "gzip")
	if credentials != "" {
		request.Header.Set("Authorization", "Basic "+credentials)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Error(err)
		return 0, nil, ""
	}
	text, err := io.ReadAll(response.Body)
	if err := errors.Join(err, response.Body.Close()); err != nil {
		t.Error(err)
	}
	return response.StatusCode, response.Header, string(text)
}

func TestByHTTPNothingIsDecodedForAnUnknownCaller(t *testing.T) {
	server := launchWith(t)
	events := func(n int) []byte {
		return gzipped(t, `{"boundary":"orisun_test_1","events":[{}`+strings.Repeat(",{}", n-1)+"]}")
	}
	bomb := events(20_000_000)
	spaces := append(bytes.Repeat(gzipped(t, strings.Repeat(" ", 1<<20)), 1536),
		gzipped(t, `{"boundary":"orisun_test_1"}`)...)
	const admin = "YWRtaW46Y2hhbmdlaXQ="
	for _, c := range []struct {
		name, method, credentials string
		body                      []byte
		status                    int
		says                      string
		limit                     uint64
	}{
		{"no credentials", "orisun.EventStore/SaveEvents", "", bomb, 401, "credentials are missing", 16 << 20},
		{
			"a wrong password", "orisun.EventStore/SaveEvents", "YWRtaW46d3Jvbmc=", bomb, 401, "credentials are missing",
			16 << 20,
		},
		{
			"an admin's 60 MB of events", "orisun.EventStore/SaveEvents", admin, bomb, 429, "ORISUN_GRPC_MAX_BYTES_IN_FLIGHT",
			192 << 20,
		},
		{
			"an admin's 6 MB of events", "orisun.EventStore/SaveEvents", admin, events(2_000_000), 400,
			"events: has 2000000 elements", 192 << 20,
		},
		{"an admin's 1.5 GiB of spaces", "orisun.EventStore/GetEvents", admin, spaces, 429, "resource_exhausted", 192 << 20},
		{"an empty object", "orisun.EventStore/Ping", admin, gzipped(t, "{}"), 200, "{}", 16 << 20},
	} {
		wantGrowth(t, c.name, server, c.limit, func() {
			status, header, text := post(t, server, c.method, c.credentials, c.body)
			if status != c.status || !strings.Contains(text, c.says) {
				t.Errorf("%s: %d %.300s", c.name, status, text)
			}
			if asks := header.Get("WWW-Authenticate"); (status == 401) != strings.HasPrefix(asks, "Basic realm=") {
				t.Errorf("%s: %d with WWW-Authenticate %q", c.name, status, asks)
			}
		})
	}
}

func TestASaveCountsAsPostgreSQLPrintsIt(t *testing.T) {
	server := launchWith(t)
	store := connect(t, server.address)
	save := &orisunpb.SaveEventsRequest{Boundary: "orisun_test_1"}
	for i := range 1900 {
		save.Events = append(save.Events, &orisunpb.EventToSave{
			EventId: fmt.Sprint(i), EventType: "T", Data: `{"a":[` + strings.Repeat("1e131071,", 6) + `1e131071]}`,
		})
	}
	if size := proto.Size(save); size > 200_000 {
		t.Fatalf("the save takes %d bytes", size)
	}
	wantGrowth(t, "1.74 GB of digits", server, 64<<20, func() {
		if _, err := store.SaveEvents(t.Context(), save); status.Code(err) != codes.InvalidArgument ||
			!strings.Contains(err.Error(), "as PostgreSQL prints them") {
			t.Error(err)
		}
	})
	save.Events = save.Events[:2]
	if _, err := store.SaveEvents(t.Context(), save); err != nil {
		t.Errorf("two of its events: %v", err)
	}
}

// largestQuery is the largest criteria that a request may have: 1,024 tags with the longest keys and values, of which
// all keys differ.
func largestQuery() *orisunpb.Query {
	query := &orisunpb.Query{}
	for c := range 32 {
		criterion := &orisunpb.Criterion{}
		for k := range 32 {
			key := fmt.Sprintf("%03d%03d", c, k) + strings.Repeat("k", 250)
			criterion.Tags = append(criterion.Tags, &orisunpb.Tag{Key: key, Value: strings.Repeat("<", 4096)})
		}
		query.Criteria = append(query.Criteria, criterion)
	}
	return query
}

func TestSubscriptionsWithTheLargestCriteriaCountAgainstTheirCaller(t *testing.T) {
	server := launchWith(t)
	hostile, neighbour := connect(t, server.address), anotherUser(t, server, "neighbour", "user")
	ctx, cancel := context.WithCancel(t.Context())
	var subscribed sync.WaitGroup
	var refused atomic.Int32
	wantGrowth(t, "40 subscriptions with 1,024 tags of 4 kB", server, 400<<20, func() {
		for range 40 {
			subscribed.Go(func() {
				stream, err := hostile.CatchUpSubscribeToEvents(ctx, &orisunpb.CatchUpSubscribeToEventStoreRequest{
					Boundary: eventtest.Boundary, Query: largestQuery(),
				})
				if err == nil {
					_, err = stream.Recv()
				}
				switch {
				case status.Code(err) == codes.ResourceExhausted &&
					strings.Contains(err.Error(), "ORISUN_GRPC_MAX_BYTES_IN_FLIGHT"):
					refused.Add(1)
				case ctx.Err() == nil:
					t.Error(err)
				}
			})
		}
		waitFor(t, func() bool { return refused.Load() >= 36 })
	})
	defer subscribed.Wait()
	defer cancel()
	stream := eventtest.Open(t, neighbour)
	eventtest.Save(t, neighbour, "w", 0, 1)
	if event, err := stream.Recv(); err != nil || event.GetEventType() == "" {
		t.Errorf("the neighbour's subscription: %v, %v", event, err)
	}
}

func TestTagsOfARequestAreBounded(t *testing.T) {
	server := launchWith(t)
	store := connect(t, server.address)
	query := unindexed(129) // 1,032 tags
	refused := func(call, path string, err error) {
		t.Helper()
		want := path + ".tags: has 1032 elements in the request, at most 1024 are allowed"
		if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, wanted %s", call, err, want)
		}
	}
	_, err := store.GetEvents(t.Context(), &orisunpb.GetEventsRequest{Boundary: eventtest.Boundary, Query: query})
	refused("GetEvents", "query.criteria", err)
	_, err = store.GetLatestByCriteria(t.Context(), &orisunpb.GetLatestByCriteriaRequest{
		Boundary: eventtest.Boundary, Criteria: query.GetCriteria(),
	})
	refused("GetLatestByCriteria", "criteria", err)
	stream, err := store.CatchUpSubscribeToEvents(t.Context(), &orisunpb.CatchUpSubscribeToEventStoreRequest{
		Boundary: eventtest.Boundary, Query: query,
	})
	if err == nil {
		_, err = stream.Recv()
	}
	refused("CatchUpSubscribeToEvents", "query.criteria", err)
	save := &orisunpb.SaveEventsRequest{
		Boundary: eventtest.Boundary, Query: &orisunpb.SaveQuery{SubsetQuery: query},
		Events: []*orisunpb.EventToSave{{EventId: "a", EventType: "T"}},
	}
	_, err = store.SaveEvents(t.Context(), save)
	refused("SaveEvents", "query.subset_query.criteria", err)

	text, err := protojson.Marshal(&orisunpb.GetEventsRequest{Boundary: eventtest.Boundary, Query: query})
	if err != nil {
		t.Fatal(err)
	}
	code, _, answer := post(t, server, "orisun.EventStore/GetEvents", "YWRtaW46Y2hhbmdlaXQ=", gzipped(t, string(text)))
	if code != http.StatusBadRequest || !strings.Contains(answer, "query.criteria.tags: has 1032 elements") {
		t.Errorf("by HTTP: %d %s", code, answer)
	}

	query.Criteria = query.GetCriteria()[:128]
	if _, err := store.SaveEvents(t.Context(), save); err != nil {
		t.Errorf("a save with 1,024 tags: %v", err)
	}
	if page, err := store.GetEvents(t.Context(), &orisunpb.GetEventsRequest{
		Boundary: eventtest.Boundary, Query: query,
	}); err != nil || len(page.GetEvents()) != 0 {
		t.Errorf("a page by 1,024 tags: %v, %v", page, err)
	}
}
