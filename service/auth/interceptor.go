package auth

import (
	"context"
	"net/http"
	"strconv"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

const (
	tokenHeader         = "x-auth-token"
	authorizationHeader = "authorization"
)

// Admit returns a context with the caller's identity, for a call whose request is not received yet, and puts the token
// into the header of the answer. Authorize checks the caller's right once the request is there.
func (a *Authenticator) Admit(ctx context.Context, method string) (context.Context, error) {
	if IsOpen(method) {
		return ctx, nil
	}
	caller, header, err := a.fromMetadata(ctx)
	if err != nil {
		return nil, err
	}
	if err := grpc.SetHeader(ctx, header); err != nil {
		return nil, unsent(ctx, err)
	}
	return NewContext(ctx, caller), nil
}

// Authorize returns nil if the caller of a context may make this request, else PERMISSION_DENIED with the missing
// right.
func (a *Authenticator) Authorize(ctx context.Context, method string, request any) error {
	if IsOpen(method) {
		return nil
	}
	caller, ok := FromContext(ctx)
	if !ok {
		return errUnauthenticated
	}
	return a.authorize(caller, method, request)
}

// UnaryInterceptor is a grpc.UnaryServerInterceptor that calls Admit and Authorize, for a server that receives requests
// before it authenticates the caller.
func (a *Authenticator) UnaryInterceptor(
	ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler,
) (any, error) {
	ctx, err := a.Admit(ctx, info.FullMethod)
	if err != nil {
		return nil, err
	}
	if err := a.Authorize(ctx, info.FullMethod, request); err != nil {
		return nil, err
	}
	return handler(ctx, request)
}

// AdmitHTTP returns a context with the identity of the caller of an HTTP request. The context's peer has the caller's
// address and certificate.
func (a *Authenticator) AdmitHTTP(ctx context.Context, method string, header http.Header) (context.Context, error) {
	if IsOpen(method) {
		return ctx, nil
	}
	caller, _, err := a.authenticate(ctx, header.Get(tokenHeader), header.Get(authorizationHeader), addressOf(ctx))
	if err != nil {
		return nil, err
	}
	return NewContext(ctx, caller), nil
}

// CallerOf names the caller of a context, for people: a user or, where a call needs no credentials, an address.
func CallerOf(ctx context.Context) string {
	if caller, ok := FromContext(ctx); ok {
		return "user " + strconv.Quote(caller.Username)
	}
	return "address " + addressOf(ctx)
}

// StreamInterceptor is a grpc.StreamServerInterceptor that authenticates and authorizes callers, and puts their
// identity into the context. The first message names the boundary. The caller's right is checked again before each
// outgoing message: a subscription ends when its user is deleted or gets another password or other roles.
func (a *Authenticator) StreamInterceptor(
	service any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler,
) error {
	if IsOpen(info.FullMethod) {
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

// unsent is the error of a header that could not be set. If the caller is gone, it is the end of the context.
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
	begun  bool // RecvMsg authorized the first message
}

func (s *authorizedStream) Context() context.Context { return s.ctx }

// RecvMsg refuses a request that the caller has no right to. Later messages are of the boundary of the first one: they
// are refused to a caller that lost its right since.
func (s *authorizedStream) RecvMsg(message any) error {
	if err := s.ServerStream.RecvMsg(message); err != nil {
		return err
	}
	if s.begun {
		return s.auth.IsCurrent(s.ctx, s.caller)
	}
	s.begun = true
	return s.auth.authorize(s.caller, s.method, message)
}

// SendMsg refuses messages to a caller that lost its right since the call began.
func (s *authorizedStream) SendMsg(message any) error {
	if err := s.auth.IsCurrent(s.ctx, s.caller); err != nil {
		return err
	}
	return s.ServerStream.SendMsg(message)
}

// IsOpen returns whether a method needs no credentials.
func IsOpen(fullMethod string) bool {
	return strings.HasPrefix(fullMethod, "/grpc.health.v1.Health/") || strings.HasPrefix(fullMethod, "/grpc.reflection.")
}

// fromMetadata returns the caller and the header of the answer.
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
