package transport

import (
	"log/slog"
	"strings"
	"sync/atomic"

	"golang.org/x/time/rate"
)

// Refusals tell of clients that TLS keeps out, as many warnings as of calls: whoever can reach the port can cause them as fast as it likes.
type Refusals struct {
	log      *slog.Logger
	limit    *rate.Limiter
	unlogged atomic.Int64
}

// NewRefusals returns refusals that go to log.
func NewRefusals(log *slog.Logger) *Refusals {
	return &Refusals{log: log, limit: rate.NewLimiter(rate.Every(warningEvery), warningBurst)}
}

// Tell logs a warning, unless there were too many: the next one says how many were left out.
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

// HTTPRefusals takes what http.Server has to say: of refused handshakes it is a warning, of connections that clients broke off detail.
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
