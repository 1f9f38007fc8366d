package transport

import (
	"context"
	"errors"
	"log/slog"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/recovery"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/time/rate"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"

	"github.com/oexza/orisun/publisher"
)

// warningBurst warnings of a code are logged at once and then one in warningEvery, since any client that reaches the
// server can cause them at any rate.
const (
	warningBurst = 20
	warningEvery = time.Second
)

// callLog logs how calls ended. It costs nothing where the level of that end is not logged. Excess warnings are
// counted, and the next warning of their code reports the count.
type callLog struct {
	log      *slog.Logger
	draining atomic.Bool // then the reason for UNAVAILABLE is known
	limits   [codes.Unauthenticated + 1]*rate.Limiter
	unlogged [codes.Unauthenticated + 1]atomic.Int64
}

func newCallLog(log *slog.Logger) *callLog {
	l := &callLog{log: log}
	for code := range l.limits {
		l.limits[code] = rate.NewLimiter(rate.Every(warningEvery), warningBurst)
	}
	return l
}

func (l *callLog) unary(
	ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler,
) (any, error) {
	start := time.Now()
	response, err := handler(ctx, request)
	l.ended(ctx, info.FullMethod, start, err)
	return response, err
}

func (l *callLog) stream(
	service any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler,
) error {
	start := time.Now()
	err := handler(service, stream)
	l.ended(stream.Context(), info.FullMethod, start, err)
	return err
}

// tap logs the calls that a handle rejects before they begin.
func (l *callLog) tap(handle tap.ServerInHandle) tap.ServerInHandle {
	return func(ctx context.Context, call *tap.Info) (context.Context, error) {
		start := time.Now()
		ctx, err := handle(ctx, call)
		if err != nil {
			l.ended(ctx, call.FullMethodName, start, err)
		}
		return ctx, err
	}
}

func (l *callLog) ended(ctx context.Context, method string, start time.Time, err error) {
	code := status.Code(err)
	level := l.levelOf(ctx, code, err)
	if !l.log.Enabled(ctx, level) {
		return
	}
	var unlogged int64
	if level == slog.LevelWarn {
		if !l.limits[code].Allow() {
			l.unlogged[code].Add(1)
			return
		}
		unlogged = l.unlogged[code].Swap(0)
	}
	attributes := []slog.Attr{
		slog.String("method", method),
		slog.String("code", code.String()),
		slog.Duration("duration", time.Since(start)),
	}
	if p, ok := peer.FromContext(ctx); ok {
		attributes = append(attributes, slog.String("peer", p.Addr.String()))
	}
	if span := trace.SpanContextFromContext(ctx); span.HasTraceID() {
		attributes = append(attributes, slog.String("trace_id", span.TraceID().String()))
	}
	message := "gRPC call"
	var login interface{ ClaimedUser() string }
	if errors.As(err, &login) {
		message = "login failed"
		attributes = append(attributes, slog.String("user", login.ClaimedUser()))
	}
	if err != nil {
		message := status.Convert(err).Message()
		attributes = append(attributes, slog.String("error", message))
		if cause := errors.Unwrap(err); cause != nil && cause.Error() != message {
			attributes = append(attributes, slog.String("cause", cause.Error()))
		}
	}
	if unlogged > 0 {
		attributes = append(attributes, slog.Int64("unlogged", unlogged))
	}
	l.log.LogAttrs(ctx, level, message, attributes...)
}

// levelOf ranks the ends of calls. A fault of the server is an error, an end that an operator may want to see is a
// warning, and an end that a caller sees and can act on is detail. Detail also covers an expired deadline of the
// caller, and causes for which the log has one line for all calls: PostgreSQL is away (publisher.Leases), or the
// server drains.
func (l *callLog) levelOf(ctx context.Context, code codes.Code, err error) slog.Level {
	switch code {
	case codes.Internal, codes.Unknown, codes.DataLoss:
		return slog.LevelError
	case codes.DeadlineExceeded:
		if ctx.Err() != nil {
			return slog.LevelDebug
		}
		return slog.LevelWarn
	case codes.Unavailable:
		if l.draining.Load() || publisher.IsDisconnected(errors.Unwrap(err)) {
			return slog.LevelDebug
		}
		return slog.LevelWarn
	case codes.ResourceExhausted, codes.Unauthenticated, codes.PermissionDenied:
		return slog.LevelWarn
	default:
		return slog.LevelDebug
	}
}

// recoverPanic answers INTERNAL for a handler that panics, so that the fault of one call does not end other calls.
func recoverPanic(log *slog.Logger) recovery.Option {
	return recovery.WithRecoveryHandlerContext(func(ctx context.Context, value any) error {
		log.ErrorContext(ctx, "panic in a call", "panic", value,
			"trace_id", trace.SpanContextFromContext(ctx).TraceID().String(), "stack", string(debug.Stack()))
		return status.Error(codes.Internal, "internal error; the server's log has the cause")
	})
}
