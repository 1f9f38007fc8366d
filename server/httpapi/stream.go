package httpapi

import (
	endian "encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// linesKey is where the context of a stream carries its lines.
type linesKey struct{}

// onBegin begins a stream of lines when the service sends its header, before there is an event. Connect's protocol
// does not expose that moment.
func onBegin(server http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if out, streams := r.Context().Value(linesKey{}).(*lines); streams {
			w = &headerWriter{w, out}
		}
		server.ServeHTTP(w, r)
	})
}

type headerWriter struct {
	http.ResponseWriter
	out *lines
}

func (t *headerWriter) WriteHeader(status int) {
	t.ResponseWriter.WriteHeader(status)
	t.out.start()
	t.out.Flush()
}

// Flush exists because gRPC requires it. Transcoded messages are flushed one by one.
func (t *headerWriter) Flush() {}

// lines is the ResponseWriter of a Connect stream and converts it to lines. The header is sent with the first line,
// or when the service sends its own.
type lines struct {
	to     http.ResponseWriter
	flush  *http.ResponseController
	header http.Header
	kind   string

	mu        sync.Mutex // guards to and the fields below, between the stream and its heartbeats
	status    int
	begun     bool
	ended     bool
	pending   []byte // of envelopes
	heartbeat *time.Timer
}

const (
	envelopeHeader = 5
	endOfStream    = 2 // the flag of the last envelope
)

func (l *lines) Header() http.Header         { return l.header }
func (l *lines) WriteHeader(status int)      { l.status = status }
func (l *lines) Unwrap() http.ResponseWriter { return l.to }

// Flush sends buffered output to the client.
func (l *lines) Flush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.flush.Flush(); err != nil {
		return // the next write returns the same error
	}
}

// start begins the stream before there is an event.
func (l *lines) start() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.begin()
}

// end ends the heartbeats. No write follows it.
func (l *lines) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	if l.heartbeat != nil {
		l.heartbeat.Stop()
	}
}

func (l *lines) beat() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return
	}
	if _, err := io.WriteString(l.to, ": still here\n\n"); err != nil {
		return // the client disconnected, which ends the stream
	}
	if err := l.flush.Flush(); err != nil {
		return
	}
	l.heartbeat.Reset(heartbeatPeriod)
}

func (l *lines) begin() {
	if l.begun {
		return
	}
	l.begun = true
	if l.kind == serverSentType {
		l.heartbeat = time.AfterFunc(heartbeatPeriod, l.beat)
	}
	for name, values := range l.header {
		if name != "Content-Type" && !strings.HasPrefix(name, "Connect-") {
			l.to.Header()[name] = values
		}
	}
	l.to.Header().Set("Content-Type", l.kind)
	l.to.Header().Set("Cache-Control", "no-store")
	l.to.WriteHeader(http.StatusOK)
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.status != 0 && l.status != http.StatusOK { // rejected before it became a stream
		if !l.begun {
			l.begun = true
			l.to.Header().Set("Content-Type", l.header.Get("Content-Type"))
			l.to.WriteHeader(l.status)
		}
		return l.to.Write(p)
	}
	l.pending = append(l.pending, p...)
	for len(l.pending) >= envelopeHeader {
		size := envelopeHeader + int(endian.BigEndian.Uint32(l.pending[1:]))
		if len(l.pending) < size {
			break
		}
		if err := l.line(l.pending[0], l.pending[envelopeHeader:size]); err != nil {
			return 0, err
		}
		l.pending = l.pending[size:]
	}
	if len(l.pending) == 0 {
		l.pending = nil
	}
	return len(p), nil
}

func (l *lines) line(flags byte, message []byte) error {
	if flags&endOfStream == 0 {
		id := ""
		if l.kind == serverSentType {
			var err error
			if id, err = eventID(message); err != nil {
				return err
			}
		}
		return l.write(id, message)
	}
	var end struct {
		Error json.RawMessage `json:"error"`
	}
	if err := json.Unmarshal(message, &end); err != nil {
		return err
	}
	switch {
	case len(end.Error) == 0:
		l.begin()
		return nil
	case l.begun:
		line, err := json.Marshal(end)
		return errors.Join(err, l.write("event: error\n", line))
	}
	var refused struct{ Code string }
	if err := json.Unmarshal(end.Error, &refused); err != nil {
		return err
	}
	l.begun = true
	answerJSON(l.to, httpStatus(refused.Code), end.Error)
	return nil
}

// write writes a line. fields are the fields of a server-sent event before its data.
func (l *lines) write(fields string, line []byte) error {
	l.begin()
	text := slices.Concat(line, []byte("\n")) // line is part of a buffer with more data behind it
	if l.kind == serverSentType {
		text = slices.Concat([]byte(fields+"data: "), text, []byte("\n"))
	}
	if _, err := l.to.Write(text); err != nil {
		return err
	}
	return l.flush.Flush()
}

// httpStatus is how Connect writes a code as a status.
func httpStatus(code string) int {
	switch code {
	case "canceled":
		return 499
	case "invalid_argument", "failed_precondition", "out_of_range":
		return http.StatusBadRequest
	case "deadline_exceeded":
		return http.StatusGatewayTimeout
	case "not_found":
		return http.StatusNotFound
	case "already_exists", "aborted":
		return http.StatusConflict
	case "permission_denied":
		return http.StatusForbidden
	case "unauthenticated":
		return http.StatusUnauthorized
	case "resource_exhausted":
		return http.StatusTooManyRequests
	case "unimplemented":
		return http.StatusNotImplemented
	case "unavailable":
		return http.StatusServiceUnavailable
	default:
		return http.StatusInternalServerError
	}
}
