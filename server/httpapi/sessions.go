package httpapi

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/oexza/orisun/server/console"
	"github.com/oexza/orisun/service/auth"
)

// logOutLimit is how long a logout may wait for PostgreSQL.
const logOutLimit = 10 * time.Second

// consoleSessions are the sessions of the console, once there is an authenticator.
type consoleSessions struct {
	auth *atomic.Pointer[auth.Authenticator]
}

// Identify implements console.Sessions.
func (s consoleSessions) Identify(r *http.Request) (console.Caller, bool) {
	authenticator := s.auth.Load()
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if authenticator == nil || err != nil {
		return console.Caller{}, false
	}
	ctx, cancel := context.WithTimeout(r.Context(), readinessLimit)
	defer cancel()
	token, authorization := r.Header.Get("X-Auth-Token"), r.Header.Get("Authorization")
	caller, err := authenticator.Authenticate(ctx, token, authorization, net.TCPAddrFromAddrPort(from))
	return console.Caller{UserID: caller.UserID, Username: caller.Username, Roles: caller.Roles}, err == nil
}

// Begin implements console.Sessions.
func (s consoleSessions) Begin(token string) (string, bool) {
	authenticator := s.auth.Load()
	if authenticator == nil {
		return "", false
	}
	return authenticator.BeginSession(token)
}

// End implements console.Sessions.
func (s consoleSessions) End(w http.ResponseWriter, r *http.Request) {
	authenticator := s.auth.Load()
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if authenticator == nil || err != nil {
		writeError(w, http.StatusServiceUnavailable, "unavailable", "the server is starting; the session stays valid")
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), logOutLimit)
	defer cancel()
	if err := authenticator.EndSession(ctx, r.Header.Get("X-Auth-Token"), net.TCPAddrFromAddrPort(from)); err != nil {
		writeStatus(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
