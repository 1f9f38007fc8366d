// Package testserver starts the real server for tests of the client's modules: the binary that `go build` makes in the
// repository's root, as a process of its own, so that no module needs the server's dependencies.
package testserver

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// startTimeout is how long a start may take on a busy machine, initdb included.
const startTimeout = 90 * time.Second

// Credentials are those of the first admin.
const Credentials = "admin:changeit"

// Run runs the tests of a package: main gets a function that starts servers, and all of them end with it. Its result is
// the exit code.
func Run(main func(start func(environment ...string) (*Server, error)) int) (code int) {
	dir, err := os.MkdirTemp("", "orisun-client-")
	if err != nil {
		return failed(err)
	}
	defer func() {
		if err := os.RemoveAll(dir); err != nil {
			code = failed(err)
		}
	}()
	binary := filepath.Join(dir, "orisun")
	if err := build(binary); err != nil {
		return failed(err)
	}
	var started []*Server
	defer func() {
		for _, server := range started {
			if err := server.Stop(); err != nil {
				code = failed(err)
			}
		}
	}()
	return main(func(environment ...string) (*Server, error) {
		data, err := os.MkdirTemp(dir, "data-")
		if err != nil {
			return nil, err
		}
		server, err := start(binary, data, environment)
		if err == nil {
			started = append(started, server)
		}
		return server, err
	})
}

func failed(err error) int {
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// Root is the folder of the repository.
func Root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "..", "..", "..")
}

func build(binary string) error {
	command := exec.CommandContext(context.Background(), "go", "build", "-buildvcs=false", "-o", binary, "./cmd/orisun")
	command.Dir = Root()
	command.Env = append(os.Environ(), "GOWORK=off")
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("build the server under test: %w\n%s", err, output)
	}
	return nil
}

// Server is a running server.
type Server struct {
	// Address is where it serves gRPC, URL the same for the first admin, and HTTP where it serves HTTP.
	Address, URL, HTTP string

	command *exec.Cmd
	exited  chan struct{}
	err     error // of the process, once exited is closed
	mu      sync.Mutex
	log     bytes.Buffer
}

// start starts a server with data, ports and a PostgreSQL of its own; environment overrides that.
func start(binary, data string, environment []string) (*Server, error) {
	s := &Server{command: exec.CommandContext(context.Background(), binary), exited: make(chan struct{})}
	s.command.Dir = data
	s.command.Env = append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "ORISUN_PG_BIN_DIR=" + os.Getenv("ORISUN_PG_BIN_DIR"),
		"ORISUN_GRPC_HOST=127.0.0.1", "ORISUN_GRPC_PORT=0", "ORISUN_ADMIN_HOST=127.0.0.1", "ORISUN_ADMIN_PORT=0",
		"ORISUN_PG_PORT=0", "ORISUN_NATS_PORT=0", "ORISUN_OTEL_ENABLED=false",
		"ORISUN_PG_DATA_DIR=" + data + "/pg", "ORISUN_NATS_STORE_DIR=" + data + "/nats",
	}, environment...)
	stderr, err := s.command.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := s.command.Start(); err != nil {
		return nil, err
	}
	serving := make(chan struct{})
	go s.read(bufio.NewScanner(stderr), serving)
	timeout := time.NewTimer(startTimeout)
	defer timeout.Stop()
	select {
	case <-serving:
		s.URL = "grpc://" + Credentials + "@" + s.Address
		return s, nil
	case <-s.exited:
		return nil, fmt.Errorf("the server ended before it served: %w\n%s", s.err, s.Log())
	case <-timeout.C:
		return nil, errors.Join(fmt.Errorf("the server does not serve after %s\n%s", startTimeout, s.Log()), s.Kill())
	}
}

func (s *Server) read(lines *bufio.Scanner, serving chan<- struct{}) {
	for lines.Scan() {
		s.mu.Lock()
		s.log.WriteString(lines.Text() + "\n")
		s.mu.Unlock()
		var line struct{ Msg, GRPC, HTTP string }
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "serving" {
			s.Address, s.HTTP = line.GRPC, line.HTTP
			close(serving)
		}
	}
	s.err = s.command.Wait()
	close(s.exited)
}

// Log is what the server has logged so far.
func (s *Server) Log() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.String()
}

// Kill ends the server as a crash does.
func (s *Server) Kill() error { return s.end(syscall.SIGKILL) }

// Stop ends the server, if it runs, and returns what went wrong.
func (s *Server) Stop() error {
	select {
	case <-s.exited:
		return nil
	default:
	}
	if err := s.end(syscall.SIGTERM); err != nil {
		return err
	}
	if s.err != nil {
		return fmt.Errorf("the server did not end well: %w\n%s", s.err, s.Log())
	}
	return nil
}

func (s *Server) end(signal syscall.Signal) error {
	if err := s.command.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	timeout := time.NewTimer(startTimeout)
	defer timeout.Stop()
	select {
	case <-s.exited:
		return nil
	case <-timeout.C:
		return errors.Join(fmt.Errorf("the server does not end after %v\n%s", signal, s.Log()), s.command.Process.Kill())
	}
}
