package auth

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"net"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// sessionLifetimes is for how many lifetimes of a token an ended session is stored. One is not enough: a node that does
// not know yet that a session has ended may renew its token, by a clock that is ahead. A token that was issued before
// the lifetime was lowered does not outlive the row: it ends by the present lifetime (keyring.open).
const sessionLifetimes = 2

// BeginSession returns a token like this valid one for a session of its own, which EndSession ends. It returns false
// if the token is invalid. The token of a session is returned unchanged.
func (a *Authenticator) BeginSession(token string) (string, bool) {
	ring, now := a.keys.latest.Load(), time.Now()
	if ring == nil {
		return "", false
	}
	claimed, ok := ring.open(token, now)
	if !ok || claimed.session != 0 {
		return token, ok
	}
	var number [sessionSize]byte
	rand.Read(number[:])                                               // never returns an error
	claimed.session = int64(binary.BigEndian.Uint64(number[:])>>1) | 1 // never 0
	return ring.current(now).token(claimed), true
}

// EndSession ends the session of a token. When it returns nil, no node accepts a token of the session. There is nothing
// to end if the token is not valid or has no session.
//
// The error is RESOURCE_EXHAUSTED if the user has ended too many sessions lately, or UNAVAILABLE.
func (a *Authenticator) EndSession(ctx context.Context, token string, from net.Addr) error {
	caller, err := a.Authenticate(ctx, token, "", from)
	switch {
	case status.Code(err) == codes.Unauthenticated || err == nil && caller.session == 0:
		return nil
	case err != nil:
		return err
	}
	if err := a.directory.EndSession(ctx, caller.UserID, caller.session, sessionLifetimes*a.keys.ttl); err != nil {
		return err
	}
	return a.Settle(ctx)
}
