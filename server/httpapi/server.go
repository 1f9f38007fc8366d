// Package httpapi serves HTTP: every RPC as JSON, readiness, metrics and the OpenAPI description.
package httpapi

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	stdlog "log"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/oexza/orisun/server/config"
	"github.com/oexza/orisun/server/console"
	"github.com/oexza/orisun/server/transport"
)

// RequestHeaderLimit is how long a client may take to send the header of a request. It frees connections that slow
// clients hold.
const RequestHeaderLimit = 10 * time.Second

// idleLimit is how long a connection stays open without a request.
const idleLimit = 2 * time.Minute

// Server is what ORISUN_ADMIN_PORT serves, from the first moment of a start to the end of a drain:
//
//	GET  /healthz        200 while the process answers at all
//	GET  /readyz         200 while calls are answered, else 503; JSON, with reasons for authenticated callers
//	GET  /metrics        for Prometheus
//	GET  /openapi.json   what can be called by HTTP
//	GET  /               the console, unless ORISUN_CONSOLE_ENABLED is false
//	POST /orisun.EventStore/SaveEvents etc.: every RPC, with credentials, errors and interceptors of gRPC (calls.go)
//
// The first five need no credentials. TLS is that of gRPC, client certificates included, which only calls must
// present.
type Server struct {
	Readiness           *Readiness
	calls               atomic.Pointer[Calls] // nil until calls are answered
	server              *http.Server
	Served              chan error
	refusals            *transport.Refusals
	certificateRequired bool // calls must present a client certificate
	log                 *slog.Logger
	cut                 context.CancelFunc // ends requests in flight

	mu       sync.Mutex
	drained  bool
	open     map[*openCall]struct{}
	inFlight sync.WaitGroup // of open
}

// openCall is a call whose answer is not complete.
type openCall struct {
	streams    bool
	end        context.CancelFunc
	connection *http.ResponseController
}

// cut ends it even if its client does not read: the end of a context does not unblock a write to a full connection.
func (c *openCall) cut() error {
	c.end()
	now := time.Now()
	return errors.Join(c.connection.SetReadDeadline(now), c.connection.SetWriteDeadline(now))
}

// Start serves a listener, which it closes at its end. Its status of the server is "starting" at first. The console
// shows grpcPort in commands.
func Start(
	ctx context.Context, listener net.Listener, grpcPort string, config *config.Config,
	metrics prometheus.Gatherer, log *slog.Logger,
) (*Server, error) {
	a := &Server{
		Readiness: newReadiness(), certificateRequired: config.GRPC.TLSClientAuthRequired, Served: make(chan error, 1),
		refusals: transport.NewRefusals(log), log: log, open: make(map[*openCall]struct{}),
	}
	routes := http.NewServeMux()
	routes.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		answerJSON(w, http.StatusOK, map[string]string{"status": "ok"})
	})
	routes.HandleFunc("GET /readyz", a.Readiness.serve)
	routes.Handle("GET /metrics",
		promhttp.HandlerFor(metrics, promhttp.HandlerOpts{ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn)}))
	routes.HandleFunc("GET /openapi.json", serveOpenAPI)
	routes.HandleFunc("/", a.call)
	var handler http.Handler = routes
	if config.Admin.ConsoleEnabled {
		sessions := consoleSessions{&a.Readiness.auth}
		pages, err := console.Handler(sessions, grpcPort)
		if err != nil {
			return nil, errors.Join(err, listener.Close())
		}
		routes.Handle("GET /{$}", pages)
		routes.Handle("/console/", pages)
		handler = console.WithCookie(routes, sessions)
	}
	a.server = &http.Server{
		Handler:           guard(http.NewCrossOriginProtection().Handler(handler), listener.Addr(), config),
		ReadHeaderTimeout: RequestHeaderLimit,
		ReadTimeout:       config.Admin.ReadTimeout,
		IdleTimeout:       idleLimit,
		MaxHeaderBytes:    transport.MaxHeaderBytes,
		ErrorLog:          stdlog.New(transport.HTTPRefusals{Refusals: a.refusals}, "", 0),
		Protocols:         new(http.Protocols),
	}
	var base context.Context
	base, a.cut = context.WithCancel(context.WithoutCancel(ctx))
	a.server.BaseContext = func(net.Listener) context.Context { return base }
	a.server.Protocols.SetHTTP1(true)
	a.server.Protocols.SetHTTP2(true)
	a.server.Protocols.SetUnencryptedHTTP2(true)
	if config.GRPC.TLSEnabled {
		certificates, err := transport.NewCertificates(config.GRPC, log)
		if err != nil {
			return nil, errors.Join(err, listener.Close())
		}
		a.server.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: certificates.ForHTTP}
	}
	go func() {
		if a.server.TLSConfig != nil {
			a.Served <- a.server.ServeTLS(listener, "", "")
			return
		}
		a.Served <- a.server.Serve(listener)
	}()
	return a, nil
}

// Answer begins to answer calls.
func (a *Server) Answer(calls *Calls) { a.calls.Store(calls) }

func (a *Server) call(w http.ResponseWriter, r *http.Request) {
	calls := a.calls.Load()
	ctx, end := context.WithCancel(r.Context())
	defer end()
	leave, entered := a.enter(&openCall{
		streams: calls != nil && calls.methods[r.URL.Path].streams, end: end, connection: http.NewResponseController(w),
	})
	if !entered {
		writeError(w, http.StatusServiceUnavailable, "unavailable",
			"the server is shutting down; try again, with another node if there is one")
		return
	}
	defer leave()
	switch {
	case calls == nil:
		writeError(w, http.StatusServiceUnavailable, "unavailable", "the server is starting; /readyz shows how far it is")
	case r.TLS != nil && a.certificateRequired && len(r.TLS.VerifiedChains) == 0:
		a.refusals.Tell("call by HTTP refused", "peer", r.RemoteAddr, "reason",
			"the client has no certificate; ORISUN_GRPC_TLS_CLIENT_AUTH_REQUIRED asks for one")
		writeError(w, http.StatusUnauthorized, "unauthenticated",
			"a client certificate is required (ORISUN_GRPC_TLS_CLIENT_AUTH_REQUIRED)")
	default:
		calls.ServeHTTP(w, r.WithContext(ctx))
	}
}

// enter registers a call until leave, unless the server accepts no more calls.
func (a *Server) enter(call *openCall) (leave func(), entered bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.drained {
		return nil, false
	}
	a.open[call] = struct{}{}
	a.inFlight.Add(1)
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.open, call)
		a.inFlight.Done()
	}, true
}

// Drain accepts no more calls, and lets those in flight finish until ctx ends. Then it cuts them. Streams have less
// time, streamGrace. Other requests are still served, so that probes see that the server drains.
func (a *Server) Drain(ctx context.Context) error {
	a.mu.Lock()
	a.drained = true
	a.mu.Unlock()
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		a.inFlight.Wait()
	}()
	grace := time.NewTimer(transport.StreamGrace)
	defer grace.Stop()
	select {
	case <-finished:
		return nil
	case <-ctx.Done():
	case <-grace.C:
		a.cutCalls(func(call *openCall) bool { return call.streams })
	}
	select {
	case <-finished:
		return nil
	case <-ctx.Done():
		a.cutCalls(func(*openCall) bool { return true })
		<-finished
		return fmt.Errorf("calls by HTTP in flight were cut: %w", context.Cause(ctx))
	}
}

func (a *Server) cutCalls(which func(*openCall) bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for call := range a.open {
		if !which(call) {
			continue
		}
		if err := call.cut(); err != nil {
			a.log.Debug("a call by HTTP may not be cut before its client reads", "error", err)
		}
	}
}

// Stop ends the remaining requests, such as probes, which may be cut.
func (a *Server) Stop(ctx context.Context) (err error) {
	a.cut()
	if a.server.Shutdown(ctx) != nil {
		err = a.server.Close()
	}
	if served := <-a.Served; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, fmt.Errorf("serve HTTP on ORISUN_ADMIN_PORT: %w", served))
	}
	return err
}
