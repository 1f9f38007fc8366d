package bench

import (
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

const (
	liveInterval = 200 * time.Millisecond // of the line at a terminal
	lineInterval = 5 * time.Second        // between lines elsewhere
)

// progress shows the progress to people. At a terminal it overwrites one line, elsewhere it writes a line now and
// then. When its output fails it stops writing: that is no reason to end a measurement.
type progress struct {
	mu   sync.Mutex
	out  io.Writer
	live bool
}

func newProgress(out io.Writer, live bool) *progress {
	if out == nil {
		out = io.Discard
	}
	return &progress{out: out, live: live}
}

func (p *progress) write(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, err := io.WriteString(p.out, text); err != nil {
		p.out = io.Discard
	}
}

// say writes a line that stays.
func (p *progress) say(format string, args ...any) { p.write(fmt.Sprintf(format+"\n", args...)) }

// count shows how much of a whole is done, until the returned function is called.
func (p *progress) count(label string, whole int64, done *atomic.Int64) func() {
	return p.show(func() string { return fmt.Sprintf("%s: %d of %d", label, done.Load(), whole) })
}

// watch shows a point, until the returned function is called.
func (p *progress) watch(label string, m *measurement, whole time.Duration) func() {
	begin := time.Now()
	return p.show(func() string {
		var requests, failures int64
		for _, r := range m.rows {
			s := r.state()
			failures += s.failures
			requests += s.requests
		}
		passed := time.Since(begin)
		text := fmt.Sprintf("%s: %.1f of %v s", label, min(passed, whole).Seconds(), whole.Seconds())
		if requests > 0 {
			text += fmt.Sprintf(", %d requests, p99 %s", requests, m.rows[0].state().p99.Round(10*time.Microsecond))
		}
		if failures > 0 {
			text += fmt.Sprintf(", %d FAILED", failures)
		}
		return text
	})
}

// show writes the result of text periodically, and for a last time when the returned function is called.
func (p *progress) show(text func() string) func() {
	interval := lineInterval
	if p.live {
		interval = liveInterval
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		for {
			select {
			case <-stop:
				p.line(text(), "\n")
				return
			case <-ticker.C:
				if p.live {
					p.line(text(), "")
				} else {
					p.line(text(), "\n")
				}
			}
		}
	}()
	return func() {
		close(stop)
		<-stopped
	}
}

// line overwrites the last line, at a terminal.
func (p *progress) line(text, end string) {
	const overwrite = "\r\x1b[K"
	if p.live {
		text = overwrite + text
	}
	p.write(text + end)
}
