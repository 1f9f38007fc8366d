package jetstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

const (
	// startTimeout bounds a start that hangs. Recovering gigabytes of streams takes seconds.
	startTimeout = 2 * time.Minute

	// maxStore is what all streams together may reserve, in bytes: more than any disk has. NATS would by default use
	// three quarters of the free disk space, and reject a stream whose limit does not fit, though it may never grow
	// to it.
	maxStore = 1 << 50
)

// Server is a running NATS server. Its methods are safe for concurrent use.
type Server struct {
	nats   *server.Server
	dir    string // of the store
	access *access
	peers  *peers // nil without a cluster
	log    *slog.Logger
	lock   *os.File

	unwatch context.CancelFunc
	watched sync.WaitGroup // goroutines that end with unwatch

	stop     sync.Once
	stopErr  error
	mu       sync.Mutex
	stopped  bool
	sessions []*nats.Conn
}

// Start runs a server and returns when it accepts connections and JetStream is ready. ctx bounds the start, not the
// server's life. The errors to distinguish are ErrLocked and ErrAnotherStore. After any error nothing is left
// running.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("NATS: %w", err)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	dir, err := filepath.Abs(cfg.StoreDir)
	if err != nil {
		return nil, fmt.Errorf("NATS: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("NATS: make the store directory (ORISUN_NATS_STORE_DIR): %w", err)
	}
	s := &Server{log: cfg.Logger, dir: dir, access: newAccess(cfg.LogIn)}
	if cfg.Cluster != nil {
		s.peers = newPeers(cfg.Logger, func() []string { return routeNames(s.nats) })
	}
	if s.lock, err = lock(dir); err != nil {
		return nil, fmt.Errorf("NATS: lock the store directory %s (ORISUN_NATS_STORE_DIR): %w", dir, err)
	}
	if err := cfg.Cluster.checkStore(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("NATS: %w", err), s.Shutdown())
	}
	if err := s.run(ctx, cfg.options(dir, s.access), cfg.startLimit()); err != nil {
		ports := fmt.Sprintf("ORISUN_NATS_PORT %d", cfg.Port)
		if cfg.Cluster != nil {
			ports += fmt.Sprintf(", ORISUN_NATS_CLUSTER_PORT %d", cfg.Cluster.Port)
		}
		return nil, errors.Join(fmt.Errorf("NATS (%s, ORISUN_NATS_STORE_DIR %s): %w", ports, dir, err), s.Shutdown())
	}
	watching, unwatch := context.WithCancel(context.WithoutCancel(ctx))
	s.unwatch = unwatch
	s.watched.Go(func() { s.access.watch(watching, s.nats) })
	if s.peers != nil {
		s.watched.Go(func() { s.peers.watch(watching) })
	}
	s.log.Info("NATS: start", "address", s.Address().String(), "store", dir)
	return s, nil
}

func (cfg Config) options(dir string, access *access) *server.Options {
	options := &server.Options{
		ServerName: cfg.ServerName,
		Host:       cfg.Host, Port: anyPort(cfg.Port),
		NoSigs:                     true,
		MaxPayload:                 cfg.MaxPayload,
		JetStream:                  true,
		JetStreamMaxStore:          maxStore,
		StoreDir:                   dir,
		DisableJetStreamBanner:     true,
		CustomClientAuthentication: access,
	}
	if cfg.TLS != nil {
		options.TLS, options.TLSConfig = true, cfg.TLS
	}
	if c := cfg.Cluster; c != nil {
		options.Cluster = server.ClusterOpts{
			Name: c.fullName(), Host: c.Host, Port: anyPort(c.Port), Username: c.User, Password: c.Password,
			Advertise: c.Advertise, TLSConfig: c.TLS,
		}
		options.Routes = c.routes()
		// peers receives all lines, and logs few
		options.ConnectErrorReports, options.ReconnectErrorReports = 1, 1
	}
	return options
}

// routes are Routes with the user and password, since NATS sends only those that are part of a route.
func (c *ClusterConfig) routes() []*url.URL {
	routes := make([]*url.URL, len(c.Routes))
	for i, route := range c.Routes {
		full := *route
		if full.User == nil && c.User != "" {
			full.User = url.UserPassword(c.User, c.Password)
		}
		routes[i] = &full
	}
	return routes
}

// startLimit is how long a start may take.
func (cfg Config) startLimit() time.Duration {
	if cfg.Cluster != nil && cfg.Cluster.StartTimeout > 0 {
		return cfg.Cluster.StartTimeout
	}
	return startTimeout
}

// anyPort is how NATS writes a free port: in NATS, 0 is its default port.
func anyPort(port int) int {
	if port == 0 {
		return server.RANDOM_PORT
	}
	return port
}

func (s *Server) run(ctx context.Context, options *server.Options, limit time.Duration) error {
	nats, err := server.NewServer(options)
	if err != nil {
		return err
	}
	s.nats = nats
	log := newLogger(s.log, options.StoreDir)
	log.peers = s.peers
	nats.SetLoggerV2(log, false, false, false)
	nats.Start() // it returns when the listener exists, or after a fatal error

	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not ready within %v", limit))
	defer cancel()
	for !nats.ReadyForConnections(100 * time.Millisecond) {
		if err := log.failure(); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	log.started.Store(true)
	return log.failure()
}

// Address is where clients connect.
func (s *Server) Address() net.Addr { return s.nats.Addr() }

// Connect returns a connection of this process, with all rights. name appears in NATS's monitoring. The connection
// ends with Close or with Shutdown.
func (s *Server) Connect(name string) (*nats.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return nil, fmt.Errorf("NATS: connect %s: %w", name, nats.ErrConnectionClosed)
	}
	session, err := nats.Connect("", nats.InProcessServer(s.nats), nats.Name(name),
		nats.UserInfo(s.access.user, s.access.password),
		nats.MaxReconnects(-1),
		// A message that cannot be sent now is an error now: a message delayed until a reconnection has no use.
		nats.ReconnectBufSize(-1),
		// Each subscription has room for this many messages at once: 64 KiB, where the default of NATS is 512.
		nats.SyncQueueLen(8<<10),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			s.log.Warn("NATS: connection", "name", name, "error", err)
		}))
	if err != nil {
		return nil, fmt.Errorf("NATS: connect %s: %w", name, err)
	}
	s.sessions = append(s.sessions, session)
	return session, nil
}

// Shutdown closes the connections of Connect, stops the server and waits until its files are closed. Later calls
// return the same result.
func (s *Server) Shutdown() error {
	s.stop.Do(func() {
		s.mu.Lock()
		s.stopped = true
		for _, session := range s.sessions {
			session.Close()
		}
		s.mu.Unlock()
		if s.unwatch != nil {
			s.unwatch()
			s.watched.Wait()
		}
		if s.nats != nil {
			s.nats.Shutdown()
			s.nats.WaitForShutdown()
		}
		s.stopErr = unlock(s.lock)
	})
	return s.stopErr
}
