package client_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/oexza/orisun/client/internal/testserver"
	"github.com/oexza/orisun/client/internal/wire"
)

type saving func(*wire.SaveEventsRequest) (*wire.WriteResult, error)

// fault is what a proxy does to the answers of a server. Nil functions change nothing.
type fault struct {
	// finds is the section whose checks find it.
	finds  string
	save   func(in *wire.SaveEventsRequest, again saving, out *wire.WriteResult, err error) error
	read   func(in *wire.GetEventsRequest)
	page   func(out *wire.GetEventsResponse)
	latest func(out *wire.GetLatestByCriteriaResponse)
	// deliver returns how often the n-th event of a stream is delivered.
	deliver func(n int) int
	header  func(header metadata.MD)
	failed  func(err error) error
	// without is the beginning of the methods that are UNIMPLEMENTED.
	without string

	define     func(in *wire.CreateSubscriptionRequest)
	settle     func(in *wire.ConsumeRequest) (lost bool)
	consume    func(out *wire.ConsumeResponse)
	checkpoint func(in *wire.WaitForCheckpointRequest, out *wire.WaitForCheckpointResponse, err error) error
	parked     func(out *wire.ListParkedResponse)
}

// Deliberate faults, each of which a server could have.
var faults = map[string]fault{
	"a page lacks its last event": {finds: "reading", page: func(out *wire.GetEventsResponse) {
		if n := len(out.GetEvents()); n > 1 {
			out.Events = out.Events[:n-1]
		}
	}},
	"a page is in the wrong order": {
		finds: "reading", page: func(out *wire.GetEventsResponse) { slices.Reverse(out.Events) },
	},
	"after_position is included": {finds: "reading", read: func(in *wire.GetEventsRequest) {
		if in.AfterPosition != nil && in.FromPosition == nil {
			in.FromPosition, in.AfterPosition = in.AfterPosition, nil
		}
	}},
	"only the first criterion counts": {finds: "reading", read: func(in *wire.GetEventsRequest) {
		if len(in.GetQuery().GetCriteria()) > 1 {
			in.Query.Criteria = in.Query.Criteria[:1]
		}
	}},
	"the latest position is stale": {finds: "latest", latest: func(out *wire.GetLatestByCriteriaResponse) {
		if p := out.GetContextPosition(); p.GetGlobalId() > 0 {
			out.ContextPosition = &wire.Position{TransactionId: p.GetTransactionId() - 1, GlobalId: p.GetGlobalId() - 1}
		}
	}},
	"a conflict is lost": {finds: "conditions", save: func(
		in *wire.SaveEventsRequest, again saving, out *wire.WriteResult, err error,
	) error {
		if status.Code(err) != codes.AlreadyExists {
			return err
		}
		in.Query = nil
		result, err := again(in)
		proto.Merge(out, result)
		return err
	}},
	"a save returns a position too far": {finds: "saving", save: func(
		_ *wire.SaveEventsRequest, _ saving, out *wire.WriteResult, err error,
	) error {
		if err == nil {
			out.LogPosition.GlobalId++
		}
		return err
	}},
	"a stream doubles an event": {finds: "subscriptions", deliver: func(n int) int {
		if n == 1 {
			return 2
		}
		return 1
	}},
	"a stream drops an event": {finds: "subscriptions", deliver: func(n int) int {
		if n == 3 {
			return 0
		}
		return 1
	}},
	"errors have no details": {
		finds:  "conditions",
		failed: func(err error) error { return status.Error(status.Code(err), status.Convert(err).Message()) },
	},
	"a method is missing":   {finds: "latest", without: "/orisun.EventStore/GetLatestByCriteria"},
	"answers have no token": {finds: "access", header: func(header metadata.MD) { delete(header, "x-auth-token") }},
}

// durableFaults are those of durable subscriptions, by the check that finds each.
var durableFaults = map[string]fault{
	// A delivery comes twice.
	"what is stored, then what comes, in order, each once": {consume: func(out *wire.ConsumeResponse) {
		if d := out.GetDeliveries(); len(d.GetDeliveries()) > 0 {
			d.Deliveries = append(d.Deliveries[:1:1], d.Deliveries...)
		}
	}},
	// Acknowledgements are lost.
	"what is acknowledged does not come again, the rest does": {
		settle: func(in *wire.ConsumeRequest) bool { return in.GetAcknowledge() != nil },
	},
	// An acknowledgement covers what was delivered before.
	"events are acknowledged one by one, too": {settle: func(in *wire.ConsumeRequest) bool {
		if a := in.GetAcknowledge(); len(a.GetPositions()) > 0 {
			a.Through, a.Positions = a.Positions[0], nil
		}
		return false
	}},
	// The window is that of the server.
	"no more than the window is delivered": {settle: func(in *wire.ConsumeRequest) bool {
		if start := in.GetStart(); start != nil {
			start.Window = 0
		}
		return false
	}},
	// The start is always the beginning.
	"after a position": {define: func(in *wire.CreateSubscriptionRequest) { in.Start = nil }},
	// The time is that of the server.
	"what is not settled comes again after ack_timeout": {
		define: func(in *wire.CreateSubscriptionRequest) { in.AckTimeout = nil },
	},
	// Deliveries are not counted.
	"a delayed event comes again, and that is no refusal": {consume: func(out *wire.ConsumeResponse) {
		for _, d := range out.GetDeliveries().GetDeliveries() {
			d.DeliveryCount = 1
		}
	}},
	// A refused event counts as processed.
	"a refused event comes again, and is parked in the end": {settle: func(in *wire.ConsumeRequest) bool {
		if r := in.GetRefuse(); r != nil {
			in.Request = &wire.ConsumeRequest_Acknowledge{Acknowledge: &wire.Acknowledgement{
				Partition: r.GetPartition(), Epoch: r.GetEpoch(), Positions: []*wire.Position{r.GetPosition()},
			}}
		}
		return false
	}},
	// The limit of refusals is that of the server.
	"a parked event is replayed": {define: func(in *wire.CreateSubscriptionRequest) { in.MaxRefusals = 0 }},
	// Parked events are not listed.
	"with park_following later events": {parked: func(out *wire.ListParkedResponse) { out.Events = nil }},
	// A key has no order.
	"of a key the next event comes after the settlement": {define: withoutKey},
	// One consumer gets everything.
	"two consumers share the keys": {define: withoutKey},
	// WaitForCheckpoint does not wait.
	"WaitForCheckpoint waits for the acknowledgement": {checkpoint: func(
		in *wire.WaitForCheckpointRequest, out *wire.WaitForCheckpointResponse, _ error,
	) error {
		out.Checkpoint = in.GetPosition()
		return nil
	}},
}

func withoutKey(in *wire.CreateSubscriptionRequest) { in.PartitionKey, in.Partitions = "", 0 }

// The kit finds no fault in the server, and each deliberate one of a proxy before it.
func TestTheConformanceKit(t *testing.T) {
	kit := filepath.Join(t.TempDir(), "conformance")
	build := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", kit, "./cmd/conformance")
	build.Dir = testserver.Root()
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	type report struct {
		Checks, Passed, Failed int
		NotSupported           int `json:"not_supported"`
		Results                []struct {
			Section, Name, Verdict string
			Details                []string
		}
	}
	run := func(t *testing.T, address string, flags ...string) (got report, failures string) {
		t.Helper()
		command := exec.CommandContext(t.Context(), kit, append([]string{"-server", address, "-json"}, flags...)...)
		var out bytes.Buffer
		command.Stdout, command.Stderr = &out, &out
		err := command.Run()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		if err := json.Unmarshal(out.Bytes(), &got); err != nil {
			t.Fatalf("%v\n%s", err, out.String())
		}
		if got.Failed != command.ProcessState.ExitCode() || got.Passed+got.Failed+got.NotSupported != got.Checks {
			t.Errorf("the exit code is %d: %+v", command.ProcessState.ExitCode(), got)
		}
		for _, r := range got.Results {
			if r.Verdict == "failed" {
				failures += r.Section + ": " + r.Name + ": " + strings.Join(r.Details, "; ") + "\n"
			}
		}
		return got, failures
	}
	if got, failures := run(t, shared.Address); got.Failed+got.NotSupported != 0 || got.Checks < 170 {
		t.Errorf("%d of %d checks fail on the server:\n%s", got.Failed, got.Checks, failures)
	} else {
		for _, r := range got.Results {
			if line := fmt.Sprintf("passed  subscriptions  %s", r.Name); len(line) > 80 {
				t.Errorf("the table is wider than 80 columns: %s", line)
			}
		}
	}
	for _, arguments := range [][]string{{"-only", "no such check"}, {"-server", "grpc://" + shared.Address}, {"races"}} {
		command := exec.CommandContext(t.Context(), kit, append([]string{"-server", shared.Address}, arguments...)...)
		out, err := command.CombinedOutput()
		if command.ProcessState.ExitCode() != 125 || !bytes.ContainsAny(out, "\n") {
			t.Errorf("%v: %v, %s", arguments, err, out)
		}
	}
	if _, failures := run(t, startProxy(t, fault{})); failures != "" {
		t.Errorf("the proxy has faults of its own:\n%s", failures)
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			got, failures := run(t, startProxy(t, fault), "-timeout", "5s", "-only", fault.finds+" ")
			if got.Failed == 0 {
				t.Error("the kit does not find that")
			}
			t.Logf("%d checks fail, the first: %.200s", got.Failed, failures)
		})
	}
	for check, fault := range durableFaults {
		t.Run(check, func(t *testing.T) {
			got, failures := run(t, startProxy(t, fault), "-timeout", "5s", "-only", "durable "+check)
			if got.Checks != 1 || got.Failed != 1 {
				t.Errorf("it does not find its fault: %+v", got)
			}
			t.Logf("%.200s", failures)
		})
	}
	t.Run("a server without SetUserBoundaryPermissions", func(t *testing.T) {
		without := startProxy(t, fault{without: "/orisun.Admin/SetUserBoundaryPermissions"})
		if got, failures := run(t, without, "-only", "users "); got.Failed != 0 || got.NotSupported != 1 {
			t.Errorf("%+v\n%s", got, failures)
		}
	})
	t.Run("a server without durable subscriptions", func(t *testing.T) {
		got, failures := run(t, startProxy(t, fault{without: "/orisun.Subscriptions/"}), "-only", "subscription")
		if got.Failed != 0 || got.NotSupported == 0 || got.Passed == 0 {
			t.Errorf("%+v\n%s", got, failures)
		}
		for _, r := range got.Results {
			want, method := "passed", ""
			if r.Section == "durable" {
				want, method = "not supported", "/orisun.Subscriptions/"
			}
			if r.Verdict != want || !strings.HasPrefix(strings.Join(r.Details, " "), method) {
				t.Errorf("%+v", r)
			}
		}
	})
}

// proxy passes calls on to the shared server.
type proxy struct {
	fault
	mu    sync.Mutex
	conns map[string]*grpc.ClientConn // by the address of the client's connection, which each has one of its own
}

func startProxy(t *testing.T, fault fault) (address string) {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{fault: fault, conns: map[string]*grpc.ClientConn{}}
	server := grpc.NewServer(grpc.UnknownServiceHandler(p.handle))
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		err := <-served
		for _, conn := range p.conns {
			err = errors.Join(err, conn.Close())
		}
		if err != nil {
			t.Error(err)
		}
	})
	return listener.Addr().String()
}

func (p *proxy) connection(ctx context.Context) (conn *grpc.ClientConn, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	from, _ := peer.FromContext(ctx)
	conn = p.conns[from.Addr.String()]
	if conn == nil {
		conn, err = grpc.NewClient(shared.Address, grpc.WithTransportCredentials(insecure.NewCredentials()))
		p.conns[from.Addr.String()] = conn
	}
	return conn, err
}

// Messages of which the fault knows nothing are passed on as unknown fields.
func (p *proxy) messages(method string) (in, out proto.Message) {
	switch {
	case strings.HasSuffix(method, "/SaveEvents"):
		return &wire.SaveEventsRequest{}, &wire.WriteResult{}
	case strings.HasSuffix(method, "/GetEvents"):
		return &wire.GetEventsRequest{}, &wire.GetEventsResponse{}
	case strings.HasSuffix(method, "/GetLatestByCriteria"):
		return &wire.GetLatestByCriteriaRequest{}, &wire.GetLatestByCriteriaResponse{}
	case strings.HasSuffix(method, "/CreateSubscription"):
		return &wire.CreateSubscriptionRequest{}, &emptypb.Empty{}
	case strings.HasSuffix(method, "/WaitForCheckpoint"):
		return &wire.WaitForCheckpointRequest{}, &wire.WaitForCheckpointResponse{}
	case strings.HasSuffix(method, "/ListParked"):
		return &emptypb.Empty{}, &wire.ListParkedResponse{}
	default:
		return &emptypb.Empty{}, &emptypb.Empty{}
	}
}

func (p *proxy) handle(_ any, stream grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(stream)
	incoming, _ := metadata.FromIncomingContext(stream.Context())
	incoming = incoming.Copy()
	for key := range incoming {
		if strings.HasPrefix(key, ":") || key == "content-type" || key == "user-agent" {
			delete(incoming, key)
		}
	}
	ctx := metadata.NewOutgoingContext(stream.Context(), incoming)
	if p.without != "" && strings.HasPrefix(method, p.without) {
		return status.Error(codes.Unimplemented, "unknown service")
	}
	conn, err := p.connection(stream.Context())
	if err != nil {
		return err
	}
	if strings.HasSuffix(method, "/Consume") {
		return p.fail(p.consumer(ctx, conn, stream))
	}
	in, out := p.messages(method)
	if err := stream.RecvMsg(in); err != nil {
		return err
	}
	if slices.Contains([]string{"CatchUpSubscribeToEvents", "ReadSubscription", "Watch"}, path.Base(method)) {
		up, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, method)
		if err == nil {
			err = errors.Join(up.SendMsg(in), up.CloseSend())
		}
		if err != nil {
			return p.fail(err)
		}
		return p.fail(p.stream(up, stream))
	}
	if get, ok := in.(*wire.GetEventsRequest); ok && p.read != nil {
		p.read(get)
	}
	if create, ok := in.(*wire.CreateSubscriptionRequest); ok && p.define != nil {
		p.define(create)
	}
	var header metadata.MD
	err = conn.Invoke(ctx, method, in, out, grpc.Header(&header))
	switch out := out.(type) {
	case *wire.WriteResult:
		if p.save != nil {
			err = p.save(in.(*wire.SaveEventsRequest), func(in *wire.SaveEventsRequest) (*wire.WriteResult, error) {
				var result wire.WriteResult
				err := conn.Invoke(ctx, method, in, &result)
				return &result, err
			}, out, err)
		}
	case *wire.GetEventsResponse:
		if p.page != nil {
			p.page(out)
		}
	case *wire.GetLatestByCriteriaResponse:
		if p.latest != nil {
			p.latest(out)
		}
	case *wire.WaitForCheckpointResponse:
		if p.checkpoint != nil {
			err = p.checkpoint(in.(*wire.WaitForCheckpointRequest), out, err)
		}
	case *wire.ListParkedResponse:
		if p.parked != nil {
			p.parked(out)
		}
	}
	if p.header != nil {
		p.header(header)
	}
	if token := header.Get("x-auth-token"); len(token) > 0 {
		if err := stream.SetHeader(metadata.Pairs("x-auth-token", token[0])); err != nil {
			return err
		}
	}
	if err != nil {
		return p.fail(err)
	}
	return stream.SendMsg(out)
}

func (p *proxy) stream(from grpc.ClientStream, to grpc.ServerStream) error {
	if header, err := from.Header(); err == nil {
		const state = "x-orisun-subscription"
		passed := metadata.MD{}
		passed.Set(state, header.Get(state)...)
		if err := to.SendHeader(passed); err != nil {
			return err
		}
	}
	var n atomic.Int64
	for {
		var event emptypb.Empty
		if err := from.RecvMsg(&event); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		times := 1
		if p.deliver != nil {
			times = p.deliver(int(n.Add(1)))
		}
		for range times {
			if err := to.SendMsg(&event); err != nil {
				return err
			}
		}
	}
}

// consumer passes a stream of Consume on in both directions.
func (p *proxy) consumer(ctx context.Context, conn *grpc.ClientConn, stream grpc.ServerStream) error {
	up, err := conn.NewStream(
		ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/orisun.Subscriptions/Consume")
	if err != nil {
		return err
	}
	go func() {
		for {
			var in wire.ConsumeRequest
			if err := stream.RecvMsg(&in); err != nil { // otherwise than by EOF, ctx ends, too
				_ = up.CloseSend() // never fails
				return
			}
			if p.settle != nil && p.settle(&in) {
				continue
			}
			if up.SendMsg(&in) != nil { // RecvMsg says why
				return
			}
		}
	}()
	for {
		var out wire.ConsumeResponse
		if err := up.RecvMsg(&out); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if p.consume != nil {
			p.consume(&out)
		}
		if err := stream.SendMsg(&out); err != nil {
			return err
		}
	}
}

func (p *proxy) fail(err error) error {
	if err != nil && p.failed != nil {
		return p.failed(err)
	}
	return err
}
