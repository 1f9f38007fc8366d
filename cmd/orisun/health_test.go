package main

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/oexza/orisun/server/postgres"
)

func TestHealthIsThatOfTheServerOfTheSameSettings(t *testing.T) {
	database, err := postgres.Start(t.Context(), postgres.Config{
		DataDir: t.TempDir() + "/pg", User: "postgres", Password: "postgres", Database: "orisun",
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := database.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	env := environment(t.TempDir(), "ORISUN_PG_HOST="+database.Host(), "ORISUN_PG_PORT="+strconv.Itoa(database.Port()),
		"ORISUN_ADMIN_PORT="+strconv.Itoa(freePort(t)))

	if code, output := runToEnd(t, env, "health"); code != 1 || !strings.Contains(output, "refused") {
		t.Errorf("no server runs: exit code %d, %s", code, output)
	}
	server := launch(t, env)
	if code, output := runToEnd(t, env, "health"); code != 0 || output != "ready\n" {
		t.Errorf("the server is ready: exit code %d, %s", code, output)
	}
	if err := database.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool {
		code, output := runToEnd(t, env, "health")
		return code == 1 && strings.Contains(output, "not ready: ") && strings.Contains(output, "503")
	})
	server.stop(t, syscall.SIGTERM)
	if code, output := runToEnd(t, env, "health"); code != 1 || !strings.Contains(output, "refused") {
		t.Errorf("the server has ended: exit code %d, %s", code, output)
	}
}

func TestHealthUsesTLSWhereTheServerDoes(t *testing.T) {
	ca, directory := newAuthority(t, "ca"), t.TempDir()
	cert, key := ca.issue("server", nil)
	for name, text := range map[string][]byte{"tls.crt": cert, "tls.key": key, "ca.crt": ca.pem} {
		if err := os.WriteFile(filepath.Join(directory, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	env := secured(t, directory, "ORISUN_GRPC_TLS_CLIENT_AUTH_REQUIRED=true",
		"ORISUN_ADMIN_PORT="+strconv.Itoa(freePort(t)))
	launch(t, env)
	if code, output := runToEnd(t, env, "health"); code != 0 || output != "ready\n" {
		t.Errorf("exit code %d, %s", code, output)
	}
}

func TestHealthSaysWhatItCannotAsk(t *testing.T) {
	stranger := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(stranger.Close)
	_, port, err := net.SplitHostPort(stranger.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		port string
		code int
		text string
	}{
		{"0", exitMisconfigured, "ORISUN_ADMIN_PORT is 0"},
		{"many", exitMisconfigured, "ORISUN_ADMIN_PORT"},
		{port, 1, "no answer of an Orisun server"},
	} {
		if code, output := runToEnd(t, environment(t.TempDir(), "ORISUN_ADMIN_PORT="+c.port), "health"); code != c.code ||
			!strings.Contains(output, c.text) {
			t.Errorf("port %s: exit code %d, %s", c.port, code, output)
		}
	}
	if code, output := runToEnd(t, environment(t.TempDir()), "health", "now"); code != exitMisconfigured {
		t.Errorf("an argument: exit code %d, %s", code, output)
	}
}
