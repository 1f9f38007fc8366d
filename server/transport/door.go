package transport

import (
	"context"
	"sync"

	middleware "github.com/grpc-ecosystem/go-grpc-middleware/v2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/service/auth"
	"github.com/oexza/orisun/service/inflight"
)

const (
	// maxOpenRequest is the largest request of a call without credentials: health checks and reflection.
	maxOpenRequest = 4 << 10
	// maxConsumeRequest is the largest message of a Consume stream: 10,000 acknowledgements, one by one. They come one
	// after the other, and are not counted as bytes in flight.
	maxConsumeRequest = 256 << 10
	// MaxOpenCalls is how many calls without credentials an address may have at once, such as watches of the server's
	// health.
	MaxOpenCalls = 100
	// waitingBytes is what a call counts while it waits for its connection's other calls: gRPC receives that much of
	// an unread message.
	waitingBytes = streamWindow
)

// Door checks a call before its request is received: it authenticates the caller, and checks that there is room for
// the call. gRPC's own interceptors of unary calls run after the request was decoded, so the door is part of the
// methods' descriptors.
type Door struct {
	auth        *auth.Authenticator
	connections *connections
	budget      *inflight.Budget
	openCalls   *openCalls
	maxRequest  int
	unary       grpc.UnaryServerInterceptor // its request is nil
	stream      grpc.StreamServerInterceptor
}

// doorway registers services behind a door.
type doorway struct {
	*grpc.Server
	door *Door
}

// RegisterService implements grpc.ServiceRegistrar.
func (w doorway) RegisterService(described *grpc.ServiceDesc, service any) {
	behind := *described
	behind.Methods = make([]grpc.MethodDesc, len(described.Methods))
	for i, method := range described.Methods {
		behind.Methods[i] = w.door.method("/"+described.ServiceName+"/"+method.MethodName, method)
	}
	w.Server.RegisterService(&behind, service)
}

// method is a unary method whose request is received once its interceptors have admitted the call.
func (d *Door) method(name string, method grpc.MethodDesc) grpc.MethodDesc {
	info := &grpc.UnaryServerInfo{FullMethod: name}
	handle := func(service any, ctx context.Context, _ func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		call := newCallContext(ctx)
		defer call.end()
		return d.unary(call, nil, info, func(ctx context.Context, _ any) (any, error) {
			ctx, err := d.auth.Admit(ctx, name)
			if err != nil {
				return nil, err
			}
			pass, err := d.enter(ctx, name, true)
			if err != nil {
				return nil, err
			}
			defer pass.leave()
			reply, err := method.Handler(service, inflight.NewContext(ctx, pass.call), func(request any) error {
				if err := d.receive(ctx, pass.call, name, request); err != nil {
					return err
				}
				return d.auth.Authorize(ctx, name, request)
			}, nil)
			if err != nil {
				return nil, err
			}
			return pass.answer(reply), nil
		})
	}
	return grpc.MethodDesc{MethodName: method.MethodName, Handler: handle}
}

// interceptStream is the door of streams: their handlers receive the request themselves.
func (d *Door) interceptStream(
	service any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler,
) error {
	call := newCallContext(stream.Context())
	defer call.end()
	behind := &doorStream{ServerStream: stream, door: d, info: info, ctx: call}
	return d.stream(service, behind, info, func(service any, authenticated grpc.ServerStream) (err error) {
		if behind.pass, err = d.enter(authenticated.Context(), info.FullMethod, false); err != nil {
			return err
		}
		defer behind.pass.leave()
		return handler(service, &middleware.WrappedServerStream{
			ServerStream: authenticated, WrappedContext: inflight.NewContext(authenticated.Context(), behind.pass.call),
		})
	})
}

// doorStream is a stream whose messages are counted.
type doorStream struct {
	grpc.ServerStream
	door *Door
	info *grpc.StreamServerInfo
	ctx  *callContext
	pass *pass
}

// Context is the stream's until its call ends.
func (s *doorStream) Context() context.Context { return s.ctx }

// RecvMsg implements grpc.ServerStream.
func (s *doorStream) RecvMsg(request any) error {
	if s.info.IsClientStream { // its messages are small and arrive one after the other
		return s.door.receiveNext(s.ctx, nil, s.info.FullMethod, request)
	}
	return s.door.receive(s.ctx, s.pass.call, s.info.FullMethod, request)
}

// SendMsg implements grpc.ServerStream.
func (s *doorStream) SendMsg(message any) error {
	return s.ServerStream.SendMsg(s.pass.answer(message))
}

// pass is a call that was admitted.
type pass struct {
	call  *inflight.Call
	conn  *clientConnection // nil by HTTP, where the call counts until its client has the answer
	leave func()
}

// enter admits a call when there is room for it. Its error is a gRPC status.
func (d *Door) enter(ctx context.Context, method string, isUnary bool) (*pass, error) {
	if stream, ok := grpc.ServerTransportStreamFromContext(ctx).(messages); ok && stream.RecvCompress() != "" {
		// gRPC would compress the answer as well. It reports only for uncompressed answers when they are written.
		if err := grpc.SetSendCompressor(ctx, encoding.Identity); err != nil {
			return nil, status.Errorf(codes.Internal, "answer uncompressed: %v", err)
		}
	}
	if call := inflight.FromContext(ctx); call != nil {
		return &pass{call: call, leave: func() {}}, nil
	}
	conn := d.connections.of(ctx)
	leave := func() {}
	switch {
	case auth.IsOpen(method):
		address := auth.CallerOf(ctx)
		if !d.openCalls.enter(address) {
			return nil, status.Errorf(codes.ResourceExhausted, "%s has %d calls without credentials open, no more are taken",
				address, MaxOpenCalls)
		}
		leave = func() { d.openCalls.leave(address) }
	case isUnary && conn != nil:
		if err := d.waitForCalls(ctx, conn); err != nil {
			return nil, err
		}
		leave = func() { conn.calls.Release(1) }
	}
	call, err := d.budget.Enter(ctx, auth.CallerOf(ctx), 1)
	if err != nil {
		leave()
		return nil, err
	}
	return &pass{call, conn, func() {
		call.End()
		leave()
	}}, nil
}

// waitForCalls waits until fewer than ORISUN_GRPC_MAX_CONCURRENT_CALLS calls of a connection are under way.
func (d *Door) waitForCalls(ctx context.Context, conn *clientConnection) error {
	if conn.calls.TryAcquire(1) {
		return nil
	}
	waiting, err := d.budget.Enter(ctx, auth.CallerOf(ctx), 1)
	if err != nil {
		return err
	}
	defer waiting.End()
	if err := waiting.Grow(waitingBytes); err != nil {
		return err
	}
	if err := conn.calls.Acquire(ctx, 1); err != nil {
		return status.FromContextError(err).Err()
	}
	return nil
}

// answer is a message in the form that the codec expects.
func (p *pass) answer(message any) any {
	reply, ok := message.(proto.Message)
	if !ok || p.conn == nil {
		return message
	}
	size := proto.Size(reply)
	if mem.IsBelowBufferPoolingThreshold(size) { // gRPC does not report when so few bytes are written
		return message
	}
	return &answer{reply, size, p.conn.answers.Answer(p.call, size)}
}

// Limit is the largest request of a method.
func (d *Door) Limit(method string) int {
	switch {
	case auth.IsOpen(method):
		return min(maxOpenRequest, d.maxRequest)
	case method == orisunpb.Subscriptions_Consume_FullMethodName:
		return min(maxConsumeRequest, d.maxRequest)
	}
	return d.maxRequest
}

// openCalls counts calls without credentials by the address that they come from.
type openCalls struct {
	mu sync.Mutex
	by map[string]int
}

func (o *openCalls) enter(address string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.by[address] >= MaxOpenCalls {
		return false
	}
	o.by[address]++
	return true
}

func (o *openCalls) leave(address string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.by[address]--; o.by[address] == 0 {
		delete(o.by, address)
	}
}
