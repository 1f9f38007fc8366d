package main

import (
	"log/slog"
	"strings"
	"sync/atomic"

	"golang.org/x/time/rate"
)

// refusals tell of clients that TLS keeps out, as many warnings as of calls: whoever can reach the port can cause them as fast as it likes.
type refusals struct {
	log      *slog.Logger
	limit    *rate.Limiter
	unlogged atomic.Int64
}

func newRefusals(log *slog.Logger) *refusals {
	return &refusals{log: log, limit: rate.NewLimiter(rate.Every(warningEvery), warningBurst)}
}

func (r *refusals) tell(message string, attributes ...any) {
	if !r.limit.Allow() {
		r.unlogged.Add(1)
		return
	}
	if unlogged := r.unlogged.Swap(0); unlogged > 0 {
		attributes = append(attributes, "unlogged", unlogged)
	}
	r.log.Warn(message, attributes...)
}

// httpRefusals takes what http.Server has to say: of refused handshakes it is a warning, of connections that clients broke off detail.
type httpRefusals struct{ *refusals }

// Write implements io.Writer.
func (r httpRefusals) Write(line []byte) (int, error) {
	text := strings.TrimSpace(string(line))
	peer, why, refused := strings.Cut(strings.TrimPrefix(text, "http: TLS handshake error from "), ": ")
	switch {
	case !strings.HasPrefix(text, "http: TLS handshake error from ") || !refused:
		r.log.Debug(text)
	case why == "EOF" || strings.HasSuffix(why, "connection reset by peer"):
		r.log.Debug("a connection ended before its TLS handshake", "peer", peer, "error", why)
	default:
		r.tell("TLS handshake refused", "peer", peer, "error", why)
	}
	return len(line), nil
}
