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

// Admit returns a context with the caller's identity, for a call whose request is not received yet, and puts the token into the header of the
// answer. Once the request is there, Authorize says whether the caller may make it.
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

// Authorize returns nil where the caller of a context may make this request, else PERMISSION_DENIED with the right that is missing.
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

// UnaryInterceptor is a grpc.UnaryServerInterceptor that does both, for a server that receives requests before it looks at the caller.
func (a *Authenticator) UnaryInterceptor(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	ctx, err := a.Admit(ctx, info.FullMethod)
	if err != nil {
		return nil, err
	}
	if err := a.Authorize(ctx, info.FullMethod, request); err != nil {
		return nil, err
	}
	return handler(ctx, request)
}

// AdmitHTTP returns a context with the identity of who makes a request by HTTP, whose address and certificate are the context's peer.
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

// StreamInterceptor is a grpc.StreamServerInterceptor that lets authenticated callers do what they may, with their identity in the context. The
// boundary stands in the first message, and whether the caller still may is looked at before each message that goes out: a
// subscription ends with its user, its password or its roles.
func (a *Authenticator) StreamInterceptor(service any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
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

// IsOpen tells whether a method needs no credentials.
func IsOpen(fullMethod string) bool {
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
