package postgres

import (
	"context"
	"errors"
)

// Server does not exist on Windows. Its methods are here so that the command compiles.
type Server struct{}

// Start returns an error on Windows, whatever cfg is: Windows has neither a Unix socket's protection nor a way to end
// PostgreSQL with our process.
func Start(context.Context, Config) (*Server, error) {
	return nil, errors.New("on Windows Orisun starts no PostgreSQL of its own: set ORISUN_PG_HOST to a server that runs")
}

func (*Server) Host() string               { return "" }
func (*Server) Port() int                  { return 0 }
func (*Server) Superuser() string          { return "" }
func (*Server) PID() int                   { return 0 }
func (*Server) Done() <-chan struct{}      { return nil }
func (*Server) Err() error                 { return nil }
func (*Server) Stop(context.Context) error { return nil }
