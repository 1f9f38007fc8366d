package jetstream

import (
	"fmt"
	"log/slog"
	"sync/atomic"
)

// logger hands what NATS says to slog, and keeps why it could not start: NATS tells that to its logger only.
type logger struct {
	log     *slog.Logger
	fatal   atomic.Pointer[error]
	started atomic.Bool // then nobody asks for failure any more
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
	l.log.Warn("NATS: " + fmt.Sprintf(format, args...))
}

func (l *logger) Errorf(format string, args ...any) {
	l.log.Error("NATS: " + fmt.Sprintf(format, args...))
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
