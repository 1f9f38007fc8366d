package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/pprof"

	"github.com/oexza/orisun/server/config"
	"github.com/oexza/orisun/server/httpapi"
)

// startPprof serves Go's profiles at /debug/pprof/ on a port of their own, without other handlers: profiles expose
// the contents of memory to every client. stop cuts requests in flight.
func startPprof(ctx context.Context, config config.Pprof, log *slog.Logger) (stop func() error, err error) {
	if !config.Enabled {
		return func() error { return nil }, nil
	}
	listener, err := listen(ctx, config.Host, config.Port)
	if err != nil {
		return nil, fmt.Errorf("ORISUN_PPROF_PORT: %w", err)
	}
	routes := http.NewServeMux()
	routes.HandleFunc("/debug/pprof/", pprof.Index)
	routes.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	routes.HandleFunc("/debug/pprof/profile", pprof.Profile)
	routes.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	routes.HandleFunc("/debug/pprof/trace", pprof.Trace)
	server := &http.Server{
		Handler: routes, ReadHeaderTimeout: httpapi.RequestHeaderLimit,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	log.Info("profiles", "address", "http://"+listener.Addr().String()+"/debug/pprof/")
	return func() error {
		err := server.Close()
		if ended := <-served; !errors.Is(ended, http.ErrServerClosed) {
			err = errors.Join(err, fmt.Errorf("serve HTTP on ORISUN_PPROF_PORT: %w", ended))
		}
		return err
	}, nil
}
