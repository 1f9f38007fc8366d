package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"runtime/debug"
	"time"

	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/recovery"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/term"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// newLogger writes text for people at a terminal, and JSON for machines elsewhere. Durations have their unit in both.
func newLogger(out *os.File, level slog.Level) *slog.Logger {
	options := &slog.HandlerOptions{Level: level, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Value.Kind() == slog.KindDuration {
			a.Value = slog.StringValue(a.Value.Duration().Round(10 * time.Microsecond).String())
		}
		return a
	}}
	if term.IsTerminal(int(out.Fd())) {
		return slog.New(slog.NewTextHandler(out, options))
	}
	return slog.New(slog.NewJSONHandler(out, options))
}

// logUnary notes how each call ended. It costs nothing where the level of that end is not logged.
func logUnary(log *slog.Logger) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		start := time.Now()
		response, err := handler(ctx, request)
		logCall(ctx, log, info.FullMethod, start, err)
		return response, err
	}
}

func logStream(log *slog.Logger) grpc.StreamServerInterceptor {
	return func(service any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		start := time.Now()
		err := handler(service, stream)
		logCall(stream.Context(), log, info.FullMethod, start, err)
		return err
	}
}

func logCall(ctx context.Context, log *slog.Logger, method string, start time.Time, err error) {
	code := status.Code(err)
	level := levelOf(code)
	if !log.Enabled(ctx, level) {
		return
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
	if err != nil {
		attributes = append(attributes, slog.String("error", status.Convert(err).Message()))
		if cause := errors.Unwrap(err); cause != nil {
			attributes = append(attributes, slog.String("cause", cause.Error()))
		}
	}
	log.LogAttrs(ctx, level, "gRPC call", attributes...)
}

// levelOf ranks the ends of calls: what is the server's fault is an error, what an operator may want to look at a warning,
// and what a caller is told and can act on is detail.
func levelOf(code codes.Code) slog.Level {
	switch code {
	case codes.Internal, codes.Unknown, codes.DataLoss:
		return slog.LevelError
	case codes.Unavailable, codes.ResourceExhausted, codes.DeadlineExceeded, codes.Unauthenticated, codes.PermissionDenied:
		return slog.LevelWarn
	default:
		return slog.LevelDebug
	}
}

// recoverPanic answers INTERNAL for a handler that panics, so that one call's fault does not end the others'.
func recoverPanic(log *slog.Logger) recovery.Option {
	return recovery.WithRecoveryHandlerContext(func(ctx context.Context, value any) error {
		log.ErrorContext(ctx, "panic in a call", "panic", value, "trace_id", trace.SpanContextFromContext(ctx).TraceID().String(), "stack", string(debug.Stack()))
		return status.Error(codes.Internal, "internal error; the server's log has the cause")
	})
}
