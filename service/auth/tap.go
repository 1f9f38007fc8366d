package auth

import (
	"context"
	"time"

	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/tap"
)

// Tap is a tap.ServerInHandle. Before gRPC starts a call, it refuses guesses that would be neither tried nor held,
// which costs a fraction of a call. It does no I/O and does not wait, as gRPC demands. The interceptors check all calls
// that it lets through.
func (a *Authenticator) Tap(ctx context.Context, call *tap.Info) (context.Context, error) {
	if IsOpen(call.FullMethodName) {
		return ctx, nil
	}
	given, ok := parseBasic(firstIn(call.Header, authorizationHeader))
	if !ok || a.mayBeKnown(firstIn(call.Header, tokenHeader), given) {
		return ctx, nil
	}
	return ctx, ofUser(a.passwords.refuse(given, addressOf(ctx)), given.Username)
}

// mayBeKnown returns false only if neither the token nor the credentials can belong to a user that this node has
// cached.
func (a *Authenticator) mayBeKnown(token string, given Credentials) bool {
	if token != "" {
		ring := a.keys.latest.Load()
		if ring == nil {
			return true
		}
		if _, ok := ring.open(token, time.Now()); ok {
			return true
		}
	}
	user := a.users.named(given.Username)
	return user != nil && user.hasShown(a.passwords.mac(given))
}

func firstIn(header metadata.MD, key string) string {
	if values := header[key]; len(values) > 0 {
		return values[0]
	}
	return ""
}
