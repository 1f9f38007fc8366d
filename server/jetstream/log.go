package jetstream

import (
	"context"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

const (
	// lineBurst lines about clients are logged at once and then one in lineEvery, since any client that reaches the
	// port can cause them at any rate.
	lineBurst = 20
	lineEvery = time.Second
	// repeatEvery is how often the same line is logged, ignoring numbers in it. NATS repeats some lines every second
	// while their cause lasts.
	repeatEvery = time.Minute
	// maxRepeated bounds the memory for repeated lines.
	maxRepeated = 256
)

// logger forwards the messages of NATS to slog, and stores why NATS could not start: NATS reports that to its logger
// only.
type logger struct {
	log     *slog.Logger
	peers   *peers // receives the errors of routes; may be nil
	dir     string // of the store
	fatal   atomic.Pointer[error]
	started atomic.Bool  // then failure is no longer read
	noRoom  atomic.Int64 // when NATS last reported no room on the disk, in Unix nanoseconds
	foreign atomic.Int64 // when it last rejected a node of another store

	connections *rate.Limiter
	unlogged    atomic.Int64

	mu       sync.Mutex
	repeated map[string]*repeated
}

// repeated is a line that was logged, and how often it occurred since.
type repeated struct {
	logged time.Time
	since  int
}

func newLogger(log *slog.Logger, dir string) *logger {
	return &logger{
		log: log, dir: dir, connections: rate.NewLimiter(rate.Every(lineEvery), lineBurst), repeated: map[string]*repeated{},
	}
}

// notify logs lines that matter to an operator. An error of a client is no error of the server.
func (l *logger) notify(level slog.Level, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	switch {
	case l.logNoRoom(text), l.logForeign(text):
	case l.peers != nil && l.peers.noteError(text):
		l.log.Debug("NATS: " + text)
	case strings.Contains(text, " - cid:"):
		l.logClient(text)
	default:
		if again, due := l.isDue(text); due {
			l.log.Log(context.Background(), level, "NATS: "+text, again...)
		} else {
			l.log.Debug("NATS: " + text)
		}
	}
}

func (l *logger) logClient(text string) {
	if !l.connections.Allow() {
		l.unlogged.Add(1)
		return
	}
	var attributes []any
	if unlogged := l.unlogged.Swap(0); unlogged > 0 {
		attributes = append(attributes, "unlogged", unlogged)
	}
	l.log.Warn("NATS: "+text, attributes...)
}

var numbers = regexp.MustCompile(`[0-9]+`)

// isDue reports whether a line was not logged within repeatEvery. If it occurred meanwhile, the attributes hold how
// often.
func (l *logger) isDue(text string) (again []any, due bool) {
	key := numbers.ReplaceAllString(text, "0")
	l.mu.Lock()
	defer l.mu.Unlock()
	before, found := l.repeated[key]
	if found && time.Since(before.logged) < repeatEvery {
		before.since++
		return nil, false
	}
	if !found && len(l.repeated) >= maxRepeated {
		clear(l.repeated)
	}
	l.repeated[key] = &repeated{logged: time.Now()}
	if found && before.since > 0 {
		again = []any{"repeated", before.since}
	}
	return again, true
}

// silence is how long NATS must not have repeated a message before it is logged again. NATS repeats messages of a
// full disk, and of a rejected node, every few seconds.
const silence = time.Minute

// repeats reports whether NATS last logged the message within silence. It logs such a repetition as detail.
func (l *logger) repeats(last *atomic.Int64, text string) bool {
	now := time.Now().UnixNano()
	if then := last.Swap(now); time.Duration(now-then) >= silence {
		return false
	}
	l.log.Debug("NATS: " + text)
	return true
}

// logForeign reports whether NATS rejected a route to a node of another cluster name, which means another store.
func (l *logger) logForeign(text string) bool {
	if !strings.Contains(text, "cluster name ") || !strings.Contains(text, " does not match ") {
		return false
	}
	if !l.repeats(&l.foreign, text) {
		l.log.Error("NATS: a node of another store, or of a cluster of another name, is refused; a cluster's name ends "+
			"with its store: "+
			"find the node with this cluster's routes (ORISUN_NATS_CLUSTER_ROUTES) and another database (ORISUN_PG_*)",
			"error", text)
	}
	return true
}

// logNoRoom reports whether NATS reports a full disk, for which the log has one line.
func (l *logger) logNoRoom(text string) bool {
	if !strings.Contains(text, "no space left on device") {
		return false
	}
	if l.repeats(&l.noRoom, text) {
		return true
	}
	l.log.Error("NATS: the disk of the store directory (ORISUN_NATS_STORE_DIR) is full; what is saved waits to be "+
		"published, subscribers read from PostgreSQL: make room", "store", l.dir, "error", text)
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
	l.notify(slog.LevelWarn, format, args...)
}

func (l *logger) Errorf(format string, args ...any) {
	l.notify(slog.LevelError, format, args...)
}

func (l *logger) Fatalf(format string, args ...any) {
	err := fmt.Errorf(format, args...)
	if l.started.Load() || !l.fatal.CompareAndSwap(nil, &err) {
		l.Errorf(format, args...)
	}
}

// failure is the first error that NATS called fatal, or nil.
func (l *logger) failure() error {
	if err := l.fatal.Load(); err != nil {
		return *err
	}
	return nil
}
