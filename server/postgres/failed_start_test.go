//go:build unix

package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAFailedStartSaysTheWayOutAndLeavesTheClusterToTheNext(t *testing.T) {
	t.Parallel()
	right := config(t, stoppedCluster(t))
	cluster := filepath.Join(right.DataDir, "cluster")
	version, err := os.ReadFile(filepath.Join(cluster, "PG_VERSION"))
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer closeListener(t, listener)
	taken := listener.Addr().(*net.TCPAddr).Port

	for name, failure := range map[string]struct {
		change func(*Config, context.CancelFunc)
		want   []string
	}{
		"port in use": {
			func(cfg *Config, _ context.CancelFunc) { cfg.Port = taken },
			[]string{fmt.Sprintf("127.0.0.1:%d", taken), "ORISUN_PG_PORT"},
		},
		"setting refused by PostgreSQL": {
			func(cfg *Config, _ context.CancelFunc) { cfg.Settings = map[string]string{"max_connections": "lots"} },
			[]string{`invalid value for parameter "max_connections": "lots"`, filepath.Join(right.DataDir, "postgres.log")},
		},
		"another role than the database's owner": {
			func(cfg *Config, _ context.CancelFunc) { cfg.User = "stranger" },
			[]string{`belongs to the role "postgres"`, "ORISUN_PG_USER"},
		},
		"another major version than the cluster's": {
			func(cfg *Config, _ context.CancelFunc) { cfg.BinDir = fakeServer(t, "99.1") },
			[]string{"install PostgreSQL " + strings.TrimSpace(string(version)), "99.1", "ORISUN_PG_BIN_DIR", cluster},
		},
		"cut short before PostgreSQL is up": {
			func(cfg *Config, cancel context.CancelFunc) {
				cfg.Logger = slog.New(onMessage{text: "PostgreSQL: recover", do: cancel})
			},
			nil,
		},
		"cut short after PostgreSQL is up": {
			func(cfg *Config, cancel context.CancelFunc) {
				cfg.Logger = slog.New(onMessage{text: "PostgreSQL: start", do: cancel})
			},
			nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
			defer cancel()
			cfg := right
			failure.change(&cfg, cancel)
			_, err := Start(ctx, cfg)
			if err == nil {
				t.Fatal("it started")
			}
			if ctx.Err() != nil && !errors.Is(err, context.Canceled) {
				t.Errorf("got %v, want context.Canceled", err)
			}
			for _, want := range failure.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error does not say %q:\n%v", want, err)
				}
			}
			if pids, err := serversIn(cluster); err != nil || len(pids) > 0 {
				t.Errorf("left running: %v (%v)", pids, err)
			}
		})
	}
	start(t, right)
}

func TestAFreePortThatAnotherProcessTakesFirstIsGivenUpForAnother(t *testing.T) {
	t.Parallel()
	cfg := config(t, stoppedCluster(t))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer closeListener(t, listener)
	taken := listener.Addr().(*net.TCPAddr).Port
	picks := 0
	s := &Server{cfg: cfg, log: cfg.Logger, anyPort: func() (int, error) {
		if picks++; picks == 1 {
			return taken, nil
		}
		return freePort()
	}}
	if err := s.claimDataDir(); err != nil {
		t.Fatal(err)
	}
	if err := s.run(t.Context()); err != nil {
		t.Fatal(errors.Join(err, s.abandon(t.Context())))
	}
	defer stop(t, s)
	if s.Port() == taken || picks != 2 {
		t.Errorf("it listens on %d, picked %d times; %d was taken", s.Port(), picks, taken)
	}
	if err := logIn(t, s, cfg.Password); err != nil {
		t.Error(err)
	}
}

func closeListener(t *testing.T, listener net.Listener) {
	t.Helper()
	if err := listener.Close(); err != nil {
		t.Error(err)
	}
}
