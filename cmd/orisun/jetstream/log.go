package jetstream

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// lineBurst lines about connections are logged at once and then one in lineEvery: whoever can reach a port can cause them as fast as it likes.
const (
	lineBurst = 100
	lineEvery = 100 * time.Millisecond
)

// logger hands what NATS says to slog, and keeps why it could not start: NATS tells that to its logger only.
type logger struct {
	log     *slog.Logger
	dir     string // of the store
	fatal   atomic.Pointer[error]
	started atomic.Bool  // then nobody asks for failure any more
	noRoom  atomic.Int64 // when NATS last said that there is none, in Unix nanoseconds
	foreign atomic.Int64 // and when it last refused a node of another store

	connections *rate.Limiter
	unlogged    atomic.Int64
}

func newLogger(log *slog.Logger, dir string) *logger {
	return &logger{log: log, dir: dir, connections: rate.NewLimiter(rate.Every(lineEvery), lineBurst)}
}

// tell is for what somebody should know of. What a client does wrong is no error of the server.
func (l *logger) tell(level slog.Level, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if l.tellsNoRoom(text) || l.tellsForeign(text) {
		return
	}
	ofClient := strings.Contains(text, " - cid:")
	if !ofClient && !strings.Contains(text, " - rid:") {
		l.log.Log(context.Background(), level, "NATS: "+text)
		return
	}
	if ofClient {
		level = slog.LevelWarn
	}
	if !l.connections.Allow() {
		l.unlogged.Add(1)
		return
	}
	var attributes []any
	if unlogged := l.unlogged.Swap(0); unlogged > 0 {
		attributes = append(attributes, "unlogged", unlogged)
	}
	l.log.Log(context.Background(), level, "NATS: "+text, attributes...)
}

// silence is how long NATS must not have repeated something for the log to have it again. NATS repeats a full disk, and a node that it refuses,
// every few seconds.
const silence = time.Minute

// repeats reports whether NATS says again what it said last at that time.
func (l *logger) repeats(last *atomic.Int64, text string) bool {
	now := time.Now().UnixNano()
	if then := last.Swap(now); time.Duration(now-then) >= silence {
		return false
	}
	l.log.Debug("NATS: " + text)
	return true
}

// tellsForeign reports whether NATS refused a route to a node of another cluster name, which for us is another store.
func (l *logger) tellsForeign(text string) bool {
	if !strings.Contains(text, "cluster name ") || !strings.Contains(text, " does not match ") {
		return false
	}
	if !l.repeats(&l.foreign, text) {
		l.log.Error("NATS: a node of another store, or of a cluster of another name, is kept out; a cluster's name ends with its store: "+
			"find the node with this cluster's routes (ORISUN_NATS_CLUSTER_ROUTES) and another database (ORISUN_PG_*)", "error", text)
	}
	return true
}

// tellsNoRoom tells whether NATS speaks of a full disk, of which the log says one line.
func (l *logger) tellsNoRoom(text string) bool {
	if !strings.Contains(text, "no space left on device") {
		return false
	}
	if l.repeats(&l.noRoom, text) {
		return true
	}
	l.log.Error("NATS: the disk of the store directory (ORISUN_NATS_STORE_DIR) is full; what is saved waits to be published, subscribers read from PostgreSQL: make room",
		"store", l.dir, "error", text)
	return true
}

func (l *logger) Noticef(format string, args ...any) {
	l.log.Debug("NATS: " + fmt.Sprintf(format, args...))
}

func (l *logger) Debugf(format string, args ...any) {
	l.log.Debug("NATS: " + fmt.Sprintf(format, args...))
}

func (l *logger) Tracef(format string, args ...any) {
	l.log.Debug("NATS: " + fmt.Sprintf(format, args...))
}

func (l *logger) Warnf(format string, args ...any) {
	l.tell(slog.LevelWarn, format, args...)
}

func (l *logger) Errorf(format string, args ...any) {
	l.tell(slog.LevelError, format, args...)
}

func (l *logger) Fatalf(format string, args ...any) {
	err := fmt.Errorf(format, args...)
	if l.started.Load() || !l.fatal.CompareAndSwap(nil, &err) {
		l.Errorf(format, args...)
	}
}

// failure is the first thing that NATS called fatal, or nil.
func (l *logger) failure() error {
	if err := l.fatal.Load(); err != nil {
		return *err
	}
	return nil
}
