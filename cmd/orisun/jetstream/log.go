package jetstream

import (
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"
)

// logger hands what NATS says to slog, and keeps why it could not start: NATS tells that to its logger only.
type logger struct {
	log     *slog.Logger
	dir     string // of the store
	fatal   atomic.Pointer[error]
	started atomic.Bool  // then nobody asks for failure any more
	noRoom  atomic.Int64 // when NATS last said that there is none, in Unix nanoseconds
}

// noRoomEvery is the pause after which a full disk is told again. NATS says several times every few seconds that there is no room.
const noRoomEvery = time.Minute

// tellsNoRoom tells whether NATS speaks of a full disk, of which the log says one line.
func (l *logger) tellsNoRoom(text string) bool {
	if !strings.Contains(text, "no space left on device") {
		return false
	}
	now := time.Now().UnixNano()
	if last := l.noRoom.Swap(now); time.Duration(now-last) < noRoomEvery {
		l.log.Debug("NATS: " + text)
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
	if text := fmt.Sprintf(format, args...); !l.tellsNoRoom(text) {
		l.log.Warn("NATS: " + text)
	}
}

func (l *logger) Errorf(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); !l.tellsNoRoom(text) {
		l.log.Error("NATS: " + text)
	}
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
