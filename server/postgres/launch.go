//go:build unix

package postgres

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

const (
	readyPoll    = 10 * time.Millisecond
	portAttempts = 3
)

// launch starts PostgreSQL and returns when it accepts connections. Another process may take the free port that was
// picked before PostgreSQL listens on it. Then launch picks another port.
func (s *Server) launch(ctx context.Context) ([]any, error) {
	var err error
	if s.sockets, err = makeSockets(s.dir, s.account); err != nil {
		return nil, err
	}
	for attempt := 1; ; attempt++ {
		if s.port = s.cfg.Port; s.port == 0 {
			if s.port, err = s.anyPort(); err != nil {
				return nil, err
			}
		}
		err := s.launchOnce(ctx)
		if err == nil {
			return []any{
				"pid", s.PID(), "address", net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)), "socket", s.sockets, "log",
				s.logFile,
			}, nil
		}
		taken := s.ended() && portTaken(s.port)
		if taken && s.cfg.Port != 0 {
			return nil, fmt.Errorf("another process listens on 127.0.0.1:%d: stop it, or set ORISUN_PG_PORT to another port: %w",
				s.port, err)
		}
		if !taken || attempt == portAttempts {
			return nil, err
		}
	}
}

func (s *Server) launchOnce(ctx context.Context) error {
	log, err := s.openLog()
	if err != nil {
		return err
	}
	args := []string{"-D", s.cluster()}
	settings := s.cfg.fixedSettings()
	settings["port"] = strconv.Itoa(s.port)
	settings["unix_socket_directories"] = quoteListItem(s.sockets)
	for _, group := range []map[string]string{settings, s.cfg.Settings} {
		for name, value := range group {
			args = append(args, "-c", name+"="+value)
		}
	}
	// Not ctx: it ends with the start, and its end would kill PostgreSQL.
	cmd := s.account.command(context.WithoutCancel(ctx), filepath.Join(s.bin.dir, "postgres"), args...)
	cmd.Env = append(cmd.Env, s.cfg.Env...)
	cmd.Stdout, cmd.Stderr = log, log
	s.process, err = spawn(cmd)
	if err = errors.Join(err, log.Close()); err != nil {
		return err
	}
	return s.waitReady(ctx)
}

// waitReady waits for the status that PostgreSQL reports, as pg_ctl does: it may refuse connections while it
// recovers.
func (s *Server) waitReady(ctx context.Context) error {
	poll := time.NewTicker(readyPoll)
	defer poll.Stop()
	for {
		file, err := readPIDFile(s.cluster())
		if err != nil {
			return err
		}
		if file.pid == s.PID() && file.status == "ready" {
			return nil
		}
		select {
		case <-poll.C:
		case <-s.Done():
			return fmt.Errorf("PostgreSQL did not start: %w", s.whyEnded())
		case <-ctx.Done():
			return fmt.Errorf("PostgreSQL was not ready in time (its log is %s): %w", s.logFile, context.Cause(ctx))
		}
	}
}

// ended reports whether PostgreSQL was started and has ended.
func (s *Server) ended() bool {
	if s.process == nil {
		return false
	}
	select {
	case <-s.process.done:
		return true
	default:
		return false
	}
}

var loopback = net.IPv4(127, 0, 0, 1)

// freePort gets a free port from the kernel.
func freePort() (int, error) {
	listener, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: loopback})
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	return listener.Addr().(*net.TCPAddr).Port, listener.Close()
}

// portTaken reports whether another process listens on the port.
func portTaken(port int) bool {
	listener, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: loopback, Port: port})
	if err != nil {
		return errors.Is(err, syscall.EADDRINUSE)
	}
	return listener.Close() != nil
}
