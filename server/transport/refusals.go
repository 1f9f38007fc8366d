package transport

import (
	"log/slog"
	"strings"
	"sync/atomic"

	"golang.org/x/time/rate"
)

// Refusals logs clients that TLS rejects, with the limits of the warnings about calls: any client that reaches the
// port can cause them at any rate.
type Refusals struct {
	log      *slog.Logger
	limit    *rate.Limiter
	unlogged atomic.Int64
}

// NewRefusals returns refusals that go to log.
func NewRefusals(log *slog.Logger) *Refusals {
	return &Refusals{log: log, limit: rate.NewLimiter(rate.Every(warningEvery), warningBurst)}
}

// Tell logs a warning, unless there were too many. The next one reports how many were omitted.
func (r *Refusals) Tell(message string, attributes ...any) {
	if !r.limit.Allow() {
		r.unlogged.Add(1)
		return
	}
	if unlogged := r.unlogged.Swap(0); unlogged > 0 {
		attributes = append(attributes, "unlogged", unlogged)
	}
	r.log.Warn(message, attributes...)
}

// HTTPRefusals receives the messages of http.Server: refused handshakes are warnings, connections that clients broke
// off are detail.
type HTTPRefusals struct{ *Refusals }

// Write implements io.Writer.
func (r HTTPRefusals) Write(line []byte) (int, error) {
	text := strings.TrimSpace(string(line))
	peer, why, refused := strings.Cut(strings.TrimPrefix(text, "http: TLS handshake error from "), ": ")
	switch {
	case !strings.HasPrefix(text, "http: TLS handshake error from ") || !refused:
		r.log.Debug(text)
	case why == "EOF" || strings.HasSuffix(why, "connection reset by peer"):
		r.log.Debug("a connection ended before its TLS handshake", "peer", peer, "error", why)
	default:
		r.Tell("TLS handshake refused", "peer", peer, "error", why)
	}
	return len(line), nil
}
