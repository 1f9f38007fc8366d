package client_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/oexza/orisun/client/internal/testserver"
	"github.com/oexza/orisun/client/internal/wire"
)

type saving func(*wire.SaveEventsRequest) (*wire.WriteResult, error)

// fault is what a proxy does to the answers of a server. Nil functions change nothing.
type fault struct {
	save   func(in *wire.SaveEventsRequest, again saving, out *wire.WriteResult, err error) error
	ask    func(in *wire.GetEventsRequest)
	page   func(out *wire.GetEventsResponse)
	latest func(out *wire.GetLatestByCriteriaResponse)
	// deliver returns how often the n-th event of a stream is delivered.
	deliver func(n int) int
	header  func(header metadata.MD)
	failed  func(err error) error
}

// Ten deliberate faults, each of which a server could have.
var faults = map[string]fault{
	"a page lacks its last event": {page: func(out *wire.GetEventsResponse) {
		if n := len(out.GetEvents()); n > 1 {
			out.Events = out.Events[:n-1]
		}
	}},
	"a page is in the wrong order": {page: func(out *wire.GetEventsResponse) { slices.Reverse(out.Events) }},
	"after_position is included": {ask: func(in *wire.GetEventsRequest) {
		if in.AfterPosition != nil && in.FromPosition == nil {
			in.FromPosition, in.AfterPosition = in.AfterPosition, nil
		}
	}},
	"only the first criterion counts": {ask: func(in *wire.GetEventsRequest) {
		if len(in.GetQuery().GetCriteria()) > 1 {
			in.Query.Criteria = in.Query.Criteria[:1]
		}
	}},
	"the latest position is stale": {latest: func(out *wire.GetLatestByCriteriaResponse) {
		if p := out.GetContextPosition(); p.GetGlobalId() > 0 {
			out.ContextPosition = &wire.Position{TransactionId: p.GetTransactionId() - 1, GlobalId: p.GetGlobalId() - 1}
		}
	}},
	"a conflict is lost": {save: func(
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
	"a save returns a position too far": {save: func(
		_ *wire.SaveEventsRequest, _ saving, out *wire.WriteResult, err error,
	) error {
		if err == nil {
			out.LogPosition.GlobalId++
		}
		return err
	}},
	"a stream doubles an event": {deliver: func(n int) int {
		if n == 1 {
			return 2
		}
		return 1
	}},
	"a stream drops an event": {deliver: func(n int) int {
		if n == 3 {
			return 0
		}
		return 1
	}},
	"errors have no details": {
		failed: func(err error) error { return status.Error(status.Code(err), status.Convert(err).Message()) },
	},
	"answers have no token": {header: func(header metadata.MD) { delete(header, "x-auth-token") }},
}

// The kit finds no fault in the server, and each deliberate one of a proxy before it.
func TestTheConformanceKit(t *testing.T) {
	kit := filepath.Join(t.TempDir(), "conformance")
	build := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", kit, "./cmd/conformance")
	build.Dir = testserver.Root()
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	run := func(address string) (checks, failed int, report string) {
		t.Helper()
		command := exec.CommandContext(t.Context(), kit, "-server", address, "-json", "-timeout", "20s")
		var out bytes.Buffer
		command.Stdout, command.Stderr = &out, &out
		err := command.Run()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		var answer struct {
			Checks, Failed int
			Results        []struct {
				Section, Name string
				Passed        bool
				Errors        []string
			}
		}
		if err := json.Unmarshal(out.Bytes(), &answer); err != nil {
			t.Fatalf("%v\n%s", err, out.String())
		}
		if answer.Failed != command.ProcessState.ExitCode() {
			t.Errorf("%d checks failed, the exit code is %d", answer.Failed, command.ProcessState.ExitCode())
		}
		for _, r := range answer.Results {
			if !r.Passed {
				report += r.Section + ": " + r.Name + ": " + strings.Join(r.Errors, "; ") + "\n"
			}
		}
		return answer.Checks, answer.Failed, report
	}
	if checks, failed, report := run(shared.Address); failed != 0 || checks < 100 {
		t.Errorf("%d of %d checks fail on the server:\n%s", failed, checks, report)
	}
	if _, failed, report := run(startProxy(t, fault{})); failed != 0 {
		t.Errorf("the proxy has faults of its own:\n%s", report)
	}
	for name, fault := range faults {
		if _, failed, report := run(startProxy(t, fault)); failed == 0 {
			t.Errorf("%s: the kit does not find that", name)
		} else {
			t.Logf("%s: %d checks fail, the first: %.200s", name, failed, report)
		}
	}
}

// proxy passes calls on to the shared server.
type proxy struct {
	fault
	conn *grpc.ClientConn
}

func startProxy(t *testing.T, fault fault) (address string) {
	t.Helper()
	conn, err := grpc.NewClient(shared.Address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{fault, conn}
	server := grpc.NewServer(grpc.UnknownServiceHandler(p.handle))
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		if err := errors.Join(<-served, conn.Close()); err != nil {
			t.Error(err)
		}
	})
	return listener.Addr().String()
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
	in, out := p.messages(method)
	if err := stream.RecvMsg(in); err != nil {
		return err
	}
	if strings.HasSuffix(method, "/CatchUpSubscribeToEvents") || strings.HasSuffix(method, "/Watch") {
		up, err := p.conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, method)
		if err == nil {
			err = errors.Join(up.SendMsg(in), up.CloseSend())
		}
		if err != nil {
			return p.fail(err)
		}
		return p.fail(p.stream(up, stream))
	}
	if get, ok := in.(*wire.GetEventsRequest); ok && p.ask != nil {
		p.ask(get)
	}
	var header metadata.MD
	err := p.conn.Invoke(ctx, method, in, out, grpc.Header(&header))
	switch out := out.(type) {
	case *wire.WriteResult:
		if p.save != nil {
			err = p.save(in.(*wire.SaveEventsRequest), func(in *wire.SaveEventsRequest) (*wire.WriteResult, error) {
				var result wire.WriteResult
				err := p.conn.Invoke(ctx, method, in, &result)
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
	if _, err := from.Header(); err == nil {
		if err := to.SendHeader(nil); err != nil {
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

func (p *proxy) fail(err error) error {
	if err != nil && p.failed != nil {
		return p.failed(err)
	}
	return err
}
