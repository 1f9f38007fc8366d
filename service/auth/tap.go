package auth

import (
	"context"
	"time"

	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/tap"
)

// Tap is a tap.ServerInHandle: it refuses guesses that would neither be tried nor held before gRPC starts a call for them, which costs a fraction
// of what a call does. It asks nobody and waits for nothing, as gRPC demands; all that it lets pass the interceptors look at.
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

// mayBeKnown tells whether a token, or credentials, may be those of somebody whom this node knows; false only where they are not.
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
