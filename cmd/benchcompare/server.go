package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/oexza/orisun/cmd/orisun/bench"
	orisunpb "github.com/oexza/orisun/proto"
)

const (
	// startTime is what a start may take, initdb on a slow disk included. stopTime is what a drain and stop may take.
	startTime = 90 * time.Second
	stopTime  = 60 * time.Second
)

// server is the real program with a PostgreSQL of its own. Its data are removed after the comparison.
type server struct {
	command *exec.Cmd
	logFile string
	exited  chan struct{} // closed when the process has ended
	err     error         // why it ended; read after exited
	address string        // of gRPC

	pgPort             int
	username, password string
	pgUser, pgPassword string
	pgDatabase         string
}

// launch starts program in dir, with its data and a boundary there, and returns when it answers. Settings in environ
// apply, except ports, credentials and places of data.
func launch(ctx context.Context, program, dir, boundary string, environ []string) (_ *server, err error) {
	ports, err := freePorts(ctx, 2)
	if err != nil {
		return nil, err
	}
	s := &server{
		exited: make(chan struct{}), logFile: filepath.Join(dir, "server.log"),
		address: net.JoinHostPort("127.0.0.1", strconv.Itoa(ports[0])), pgPort: ports[1],
		username: "admin", password: "changeit", pgUser: "postgres", pgPassword: "postgres", pgDatabase: "orisun",
	}
	log, err := os.Create(s.logFile)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, log.Close()) }()

	s.command = exec.CommandContext(context.WithoutCancel(ctx), program) // stop ends it, and it drains
	apart(s.command)
	s.command.Dir = dir
	s.command.Stdout, s.command.Stderr = log, log
	s.command.Env = append(slices.Clone(environ),
		"ORISUN_GRPC_HOST=127.0.0.1", "ORISUN_GRPC_PORT="+strconv.Itoa(ports[0]), "ORISUN_GRPC_TLS_ENABLED=false",
		"ORISUN_ADMIN_USERNAME="+s.username, "ORISUN_ADMIN_PASSWORD="+s.password, "ORISUN_ADMIN_HOST=127.0.0.1",
		"ORISUN_ADMIN_PORT=0",
		"ORISUN_PG_HOST=", "ORISUN_PG_PORT="+strconv.Itoa(s.pgPort), "ORISUN_PG_DATA_DIR="+filepath.Join(dir, "pg"),
		"ORISUN_PG_USER="+s.pgUser, "ORISUN_PG_PASSWORD="+s.pgPassword, "ORISUN_PG_NAME="+s.pgDatabase,
		"ORISUN_PG_SCHEMAS="+boundary+":public,orisun_admin:admin",
		"ORISUN_BOUNDARIES="+`[{"name":"`+boundary+`","description":""},{"name":"orisun_admin","description":""}]`,
		"ORISUN_NATS_PORT=0", "ORISUN_NATS_STORE_DIR="+filepath.Join(dir, "nats"), "ORISUN_OTEL_ENABLED=false",
	)
	if err := s.command.Start(); err != nil {
		return nil, fmt.Errorf("start the server: %w", err)
	}
	go func() {
		s.err = s.command.Wait()
		close(s.exited)
	}()
	if err := s.ready(ctx); err != nil {
		err = fmt.Errorf("%w; the end of its log:\n%s", err, s.logged())
		select {
		case <-s.exited:
			return nil, err
		default:
			return nil, errors.Join(err, s.stop())
		}
	}
	return s, nil
}

// dial is a Config.Dial.
func (s *server) dial(options ...grpc.DialOption) (*grpc.ClientConn, error) {
	return grpc.NewClient(s.address, append(options, grpc.WithTransportCredentials(insecure.NewCredentials()))...)
}

// database is the connection string of the server's PostgreSQL.
func (s *server) database() string {
	dsn := url.URL{
		Scheme: "postgres", User: url.UserPassword(s.pgUser, s.pgPassword),
		Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(s.pgPort)),
		Path: s.pgDatabase, RawQuery: "sslmode=disable",
	}
	return dsn.String()
}

// ready waits for the first answer.
func (s *server) ready(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, startTime, fmt.Errorf("the server does not answer after %s", startTime))
	defer cancel()
	connection, err := s.dial(grpc.WithPerRPCCredentials(bench.NewCredentials(s.username, s.password)))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, connection.Close()) }()
	answered := make(chan error, 1)
	go func() {
		_, err := orisunpb.NewEventStoreClient(connection).Ping(ctx, &orisunpb.PingRequest{}, grpc.WaitForReady(true))
		answered <- err
	}()
	select {
	case err := <-answered:
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return err
	case <-s.exited:
		return fmt.Errorf("the server ended before it answered: %w", s.err)
	}
}

// stop requests the process to end, and waits for its end.
func (s *server) stop() error {
	if err := s.command.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop the server: %w", err)
	}
	select {
	case <-s.exited:
		if s.err != nil {
			return fmt.Errorf("the server ended with %w; the end of its log:\n%s", s.err, s.logged())
		}
		return nil
	case <-time.After(stopTime):
		return errors.Join(fmt.Errorf("the server does not end after %s: it is killed", stopTime), s.command.Process.Kill())
	}
}

// logged is the end of the server's log.
func (s *server) logged() string {
	const tail = 4096
	content, err := os.ReadFile(s.logFile)
	if err != nil {
		return err.Error()
	}
	return string(bytes.TrimSpace(content[max(0, len(content)-tail):]))
}

// peakMemory is the most memory that a process had resident so far, in bytes. It is 0 where the system does not
// report it (not Linux).
func peakMemory(pid int) int64 {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(content)) {
		var kilobytes int64
		if _, err := fmt.Sscanf(line, "VmHWM: %d kB", &kilobytes); err == nil {
			return kilobytes << 10
		}
	}
	return 0
}

// freePorts finds ports that are free now.
func freePorts(ctx context.Context, n int) (ports []int, err error) {
	var listeners []net.Listener
	defer func() {
		for _, listener := range listeners {
			err = errors.Join(err, listener.Close())
		}
	}()
	for range n {
		listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		listeners = append(listeners, listener)
		ports = append(ports, listener.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}
