package auth

import (
	"context"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

const (
	tokenHeader         = "x-auth-token"
	authorizationHeader = "authorization"
)

// UnaryInterceptor is a grpc.UnaryServerInterceptor that lets authenticated callers do what they may, with their identity in the context.
func (a *Authenticator) UnaryInterceptor(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	if isOpen(info.FullMethod) {
		return handler(ctx, request)
	}
	caller, header, err := a.fromMetadata(ctx)
	if err != nil {
		return nil, err
	}
	if err := grpc.SetHeader(ctx, header); err != nil {
		return nil, unsent(ctx, err)
	}
	if err := a.authorize(caller, info.FullMethod, request); err != nil {
		return nil, err
	}
	return handler(NewContext(ctx, caller), request)
}

// StreamInterceptor is a grpc.StreamServerInterceptor that lets authenticated callers do what they may, with their identity in the context. The
// boundary stands in the first message, and whether the caller still may is looked at before each message that goes out: a
// subscription ends with its user, its password or its roles.
func (a *Authenticator) StreamInterceptor(service any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	if isOpen(info.FullMethod) {
		return handler(service, stream)
	}
	caller, header, err := a.fromMetadata(stream.Context())
	if err != nil {
		return err
	}
	if err := stream.SetHeader(header); err != nil {
		return unsent(stream.Context(), err)
	}
	return handler(service, &authorizedStream{
		ServerStream: stream, auth: a, method: info.FullMethod, caller: caller, ctx: NewContext(stream.Context(), caller),
	})
}

// unsent is the error of a header that could not be set: for a caller that is gone, that it is gone.
func unsent(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return status.FromContextError(ctx.Err()).Err()
	}
	return err
}

type authorizedStream struct {
	grpc.ServerStream
	auth   *Authenticator
	method string
	caller Identity
	ctx    context.Context
}

func (s *authorizedStream) Context() context.Context { return s.ctx }

// RecvMsg refuses a request that the caller has no right to.
func (s *authorizedStream) RecvMsg(message any) error {
	if err := s.ServerStream.RecvMsg(message); err != nil {
		return err
	}
	return s.auth.authorize(s.caller, s.method, message)
}

// SendMsg refuses what would go to a caller who was let in and may not any more.
func (s *authorizedStream) SendMsg(message any) error {
	if err := s.auth.IsCurrent(s.ctx, s.caller); err != nil {
		return err
	}
	return s.ServerStream.SendMsg(message)
}

// isOpen tells whether a method needs no credentials.
func isOpen(fullMethod string) bool {
	return strings.HasPrefix(fullMethod, "/grpc.health.v1.Health/") || strings.HasPrefix(fullMethod, "/grpc.reflection.")
}

// fromMetadata returns who calls and the header of the answer.
func (a *Authenticator) fromMetadata(ctx context.Context) (Identity, metadata.MD, error) {
	caller, token, err := a.authenticate(ctx, first(ctx, tokenHeader), first(ctx, authorizationHeader), addressOf(ctx))
	if err != nil {
		return Identity{}, nil, err
	}
	return caller, metadata.MD{tokenHeader: {token}}, nil
}

func first(ctx context.Context, key string) string {
	if values := metadata.ValueFromIncomingContext(ctx, key); len(values) > 0 {
		return values[0]
	}
	return ""
}
