package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/oexza/orisun/migrations/pgtest"
	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/server/transport"
)

// secured is the environment of a server with TLS, whose files are in a directory.
func secured(t *testing.T, directory string, more ...string) []string {
	t.Helper()
	return environment(t.TempDir(), slices.Concat(outside(pgtest.Clone(t)), []string{
		"ORISUN_GRPC_TLS_ENABLED=true", "ORISUN_GRPC_TLS_CERT_FILE=" + directory + "/tls.crt",
		"ORISUN_GRPC_TLS_KEY_FILE=" + directory + "/tls.key",
		"ORISUN_GRPC_TLS_CA_FILE=" + directory + "/ca.crt",
	}, more)...)
}

// ping makes one call on a connection of its own.
func ping(ctx context.Context, address string, transport credentials.TransportCredentials) (err error) {
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(transport), grpc.WithPerRPCCredentials(basic{}))
	if err != nil {
		return err
	}
	_, err = orisunpb.NewEventStoreClient(conn).Ping(ctx, &orisunpb.PingRequest{})
	if closed := conn.Close(); err == nil {
		err = closed
	}
	return err
}

// mount puts files where the server looks for them as Kubernetes does: links to a link that is replaced.
func mount(t *testing.T, directory, version string, files map[string][]byte) {
	t.Helper()
	for name, content := range files {
		writeFile(t, filepath.Join(directory, "."+version, name), content)
		if err := os.Symlink(filepath.Join("..data", name), filepath.Join(directory, name)); err != nil && !os.IsExist(err) {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("."+version, filepath.Join(directory, "..new")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(directory, "..new"), filepath.Join(directory, "..data")); err != nil {
		t.Fatal(err)
	}
}

// presented is the serial number of the certificate that a new connection sees.
func presented(t *testing.T, address string, config *tls.Config) string {
	t.Helper()
	config = config.Clone()
	config.NextProtos = []string{"h2"}
	conn, err := tls.Dial("tcp", address, config)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	}()
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
}

func TestCertificatesRotateUnderLoadWithoutAFailedCall(t *testing.T) {
	old, next := newAuthority(t, "old"), newAuthority(t, "new")
	directory := t.TempDir()
	files := func(certificate, key []byte, authorities ...*authority) map[string][]byte {
		var all []byte
		for _, a := range authorities {
			all = append(all, a.pem...)
		}
		return map[string][]byte{"tls.crt": certificate, "tls.key": key, "ca.crt": all}
	}
	certificate, key := old.issue("server", nil)
	mount(t, directory, "1", files(certificate, key, old))
	server := launch(t, secured(t, directory, "ORISUN_GRPC_TLS_CLIENT_AUTH_REQUIRED=true"))

	oldClient := old.client("client", nil, old, next)
	ctx, end := context.WithCancel(t.Context())
	var load sync.WaitGroup
	var kept, fresh atomic.Int64
	conn, err := grpc.NewClient(server.address, grpc.WithPerRPCCredentials(basic{}),
		grpc.WithTransportCredentials(credentials.NewTLS(oldClient)), grpc.WithContextDialer(once(server.address)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	})
	until := func(call func() error, count *atomic.Int64) {
		for ctx.Err() == nil {
			if err := call(); err != nil && ctx.Err() == nil {
				t.Errorf("a call failed: %v", err)
				return
			}
			count.Add(1)
		}
	}
	for range 4 {
		load.Go(func() {
			until(func() error {
				_, err := orisunpb.NewEventStoreClient(conn).Ping(context.Background(), &orisunpb.PingRequest{})
				return err
			}, &kept)
		})
		load.Go(func() {
			until(func() error { return ping(context.Background(), server.address, credentials.NewTLS(oldClient)) }, &fresh)
		})
	}
	more := func() { // both kinds of calls go on
		k, f := kept.Load(), fresh.Load()
		waitFor(t, func() bool { return kept.Load() > k+100 && fresh.Load() > f+10 || t.Failed() })
	}
	more()
	first := presented(t, server.address, oldClient)

	// Another certificate of the other authority; the old one's clients are welcome still.
	certificate, key = next.issue("server", nil)
	mount(t, directory, "2", files(certificate, key, old, next))
	second := presented(t, server.address, oldClient)
	if second == first {
		t.Error("a new connection sees the old certificate")
	}
	more()

	// Broken files: the key of another certificate, half a file, none at all.
	_, foreign := next.issue("server", nil)
	for version, broken := range map[string]map[string][]byte{
		"3": files(certificate, foreign, old, next), "4": files(certificate[:len(certificate)/2], key, old, next),
		"5": files(certificate, key),
	} {
		mount(t, directory, version, broken)
		more()
		if now := presented(t, server.address, oldClient); now != second {
			t.Errorf("with broken files, version %s, a new connection sees certificate %s, want %s", version, now, second)
		}
	}
	if got := strings.Count(server.logged(), "the new certificates cannot be used"); got != 3 {
		t.Errorf("three broken versions are logged %d times", got)
	}

	// The old authority goes: its clients stay connected, and cannot connect again.
	mount(t, directory, "6", files(certificate, key, next))
	end()
	load.Wait()
	if _, err := orisunpb.NewEventStoreClient(conn).Ping(t.Context(), &orisunpb.PingRequest{}); err != nil {
		t.Errorf("a connection of before: %v", err)
	}
	if err := ping(t.Context(), server.address, credentials.NewTLS(oldClient)); status.Code(err) != codes.Unavailable {
		t.Errorf("a client of the removed authority: %v", err)
	}
	if err := ping(t.Context(), server.address, credentials.NewTLS(next.client("client", nil, next))); err != nil {
		t.Errorf("a client of the new authority: %v", err)
	}
}

// once dials an address, and never again: who uses it shows that the connection lasted.
func once(address string) func(context.Context, string) (net.Conn, error) {
	var dialled atomic.Bool
	return func(ctx context.Context, _ string) (net.Conn, error) {
		if dialled.Swap(true) {
			return nil, fmt.Errorf("the connection to %s was dropped", address)
		}
		return new(net.Dialer).DialContext(ctx, "tcp", address)
	}
}

func TestARefusedClientGetsAnErrorAndTheLogSaysWhy(t *testing.T) {
	ours, foreign := newAuthority(t, "ours"), newAuthority(t, "foreign")
	directory := t.TempDir()
	certificate, key := ours.issue("server", nil)
	for name, content := range map[string][]byte{"tls.crt": certificate, "tls.key": key, "ca.crt": ours.pem} {
		writeFile(t, filepath.Join(directory, name), content)
	}
	server := launch(t, secured(t, directory, "ORISUN_GRPC_TLS_CLIENT_AUTH_REQUIRED=true"))
	expired := func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }
	tooOld := ours.client("ours", nil, ours)
	tooOld.MinVersion, tooOld.MaxVersion = tls.VersionTLS11, tls.VersionTLS11
	for name, test := range map[string]struct {
		transport credentials.TransportCredentials
		want      string // in the log; empty: let in
	}{
		"a good client": {credentials.NewTLS(ours.client("ours", nil, ours)), ""},
		"plaintext":     {insecure.NewCredentials(), "the client speaks plaintext"},
		"no client certificate": {
			credentials.NewTLS(&tls.Config{RootCAs: trust(ours)}),
			"client didn't provide a certificate",
		},
		"another authority's": {
			credentials.NewTLS(foreign.client("mallory", nil, ours)),
			"certificate signed by unknown authority\",\"client\":\"CN=mallory",
		},
		"an expired one": {
			credentials.NewTLS(ours.client("late", expired, ours)),
			"certificate has expired or is not yet valid",
		},
		"TLS 1.1": {credentials.NewTLS(tooOld), "client offered only unsupported versions"},
		"a client that trusts another authority": {
			credentials.NewTLS(ours.client("careful", nil, foreign)),
			"remote error: tls: bad certificate",
		},
	} {
		t.Run(name, func(t *testing.T) {
			err := ping(t.Context(), server.address, test.transport)
			if test.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if status.Code(err) != codes.Unavailable {
				t.Errorf("the client gets %v, want UNAVAILABLE", err)
			}
			waitFor(t, func() bool { return strings.Contains(server.logged(), test.want) })
		})
	}
	// Calls by HTTP are refused for the same reasons; probes need no certificate.
	for name, test := range map[string]struct {
		config *tls.Config
		want   string
	}{
		"no client certificate": {
			&tls.Config{MinVersion: tls.VersionTLS12, RootCAs: trust(ours)},
			"the client has no certificate",
		},
		"another authority's": {
			foreign.client("mallory", nil, ours),
			"tls: failed to verify certificate: x509: certificate signed by unknown authority",
		},
		"an expired one": {
			ours.client("late", expired, ours),
			"tls: failed to verify certificate: x509: certificate has expired",
		},
		"plaintext": {nil, "client sent an HTTP request to an HTTPS server"},
	} {
		before := strings.Count(server.logged(), test.want)
		scheme := "https://"
		if test.config == nil {
			scheme = "http://"
		}
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: test.config}}
		asked, err := http.NewRequestWithContext(t.Context(), http.MethodPost, scheme+server.http+"/orisun.EventStore/Ping",
			strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		if response, err := client.Do(asked); err == nil {
			if response.StatusCode == http.StatusOK {
				t.Errorf("%s by HTTP is let in", name)
			}
			if err := response.Body.Close(); err != nil {
				t.Error(err)
			}
		}
		waitFor(t, func() bool { return strings.Count(server.logged(), test.want) > before })
		client.CloseIdleConnections()
	}
	// A port check is nothing to warn of.
	warned := strings.Count(server.logged(), "TLS handshake refused")
	conn, err := net.Dial("tcp", server.address)
	if err == nil {
		err = conn.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := ping(t.Context(), server.address, credentials.NewTLS(ours.client("ours", nil, ours))); err != nil {
		t.Error(err)
	}
	if now := strings.Count(server.logged(), "TLS handshake refused"); now != warned {
		t.Errorf("a connection that sends nothing is logged as a refusal")
	}
}

func TestTheCommandsSpeakTLS(t *testing.T) {
	ours := newAuthority(t, "ours")
	directory := t.TempDir()
	for prefix, name := range map[string]string{"tls": "server", "client": "client"} {
		certificate, key := ours.issue(name, nil)
		writeFile(t, filepath.Join(directory, prefix+".crt"), certificate)
		writeFile(t, filepath.Join(directory, prefix+".key"), key)
	}
	writeFile(t, filepath.Join(directory, "ca.crt"), ours.pem)
	open := launch(t, secured(t, directory))
	closed := launch(t, secured(t, directory, "ORISUN_GRPC_TLS_CLIENT_AUTH_REQUIRED=true"))
	certificate := []string{"--cert", directory + "/client.crt", "--key", directory + "/client.key"}
	for _, test := range []struct {
		server *process
		flags  []string
		want   string // in the error
	}{
		{open, []string{"--cacert", directory + "/ca.crt"}, ""},
		{open, []string{"--insecure"}, ""},
		{open, []string{"--tls"}, "UNAVAILABLE"},
		{open, nil, "UNAVAILABLE"},
		{open, []string{"--insecure", "--cacert", directory + "/ca.crt"}, "choose one of them"},
		{closed, append([]string{"--cacert", directory + "/ca.crt"}, certificate...), ""},
		{closed, append([]string{"--insecure"}, certificate...), ""},
		{closed, []string{"--cacert", directory + "/ca.crt"}, "UNAVAILABLE"},
	} {
		args := append([]string{"boundary", "list", "--server", test.server.address}, test.flags...)
		err := runClient(t.Context(), &output{}, args...)
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("orisun %s: %v, want %q", strings.Join(args, " "), err, test.want)
		}
	}
}

func TestAServerWithoutItsCertificatesDoesNotStart(t *testing.T) {
	directory := t.TempDir()
	ours := newAuthority(t, "ours")
	certificate, key := ours.issue("server", nil)
	for _, test := range []struct {
		file    string
		content []byte
		want    string
	}{
		{"nothing", nil, "ORISUN_GRPC_TLS_KEY_FILE: open " + directory + "/tls.key"},
		{"tls.crt", certificate, "ORISUN_GRPC_TLS_KEY_FILE"},
		{"tls.key", key, "ORISUN_GRPC_TLS_CA_FILE"},
		{"ca.crt", []byte("no PEM"), "holds no certificate in PEM form"},
	} {
		writeFile(t, filepath.Join(directory, test.file), test.content)
		config := mustLoad(t, secured(t, directory, "ORISUN_GRPC_TLS_CLIENT_AUTH_REQUIRED=true")...)
		if _, err := transport.NewCredentials(config.GRPC, slog.New(slog.DiscardHandler)); err == nil ||
			!strings.Contains(err.Error(), test.want) {
			t.Errorf("with %s: %v, want %q", test.file, err, test.want)
		}
	}
	writeFile(t, filepath.Join(directory, "ca.crt"), ours.pem)
	config := mustLoad(t, secured(t, directory)...)
	if _, err := transport.NewCredentials(config.GRPC, slog.New(slog.DiscardHandler)); err != nil {
		t.Error(err)
	}
}

func TestAClientCertificateStandsForItsUserWhereNoOtherCredentialsDo(t *testing.T) {
	ours := newAuthority(t, "ours")
	directory := t.TempDir()
	certificate, key := ours.issue("server", nil)
	for name, content := range map[string][]byte{"tls.crt": certificate, "tls.key": key, "ca.crt": ours.pem} {
		writeFile(t, filepath.Join(directory, name), content)
	}
	server := launch(t, secured(t, directory, "ORISUN_GRPC_TLS_CLIENT_AUTH_REQUIRED=true",
		"ORISUN_GRPC_TLS_CLIENT_IDENTITY=cn"))
	off := launch(t, secured(t, directory, "ORISUN_GRPC_TLS_CLIENT_AUTH_REQUIRED=true"))
	for _, test := range []struct {
		server   *process
		user     string
		password string // none when empty
		want     codes.Code
	}{
		{server, "admin", "", codes.OK},
		{server, "stranger", "", codes.Unauthenticated},
		{server, "admin", "wrong", codes.Unauthenticated},
		{server, "stranger", "changeit", codes.OK},
		{off, "admin", "", codes.Unauthenticated},
	} {
		options := []grpc.DialOption{grpc.WithTransportCredentials(credentials.NewTLS(ours.client(test.user, nil, ours)))}
		if test.password != "" {
			options = append(options, grpc.WithPerRPCCredentials(basicAuth{"admin", test.password}))
		}
		conn, err := grpc.NewClient(test.server.address, options...)
		if err != nil {
			t.Fatal(err)
		}
		_, err = orisunpb.NewEventStoreClient(conn).Ping(t.Context(), &orisunpb.PingRequest{})
		if closed := conn.Close(); closed != nil {
			t.Error(closed)
		}
		if status.Code(err) != test.want {
			t.Errorf("certificate of %s, password %q: %v, want %v", test.user, test.password, err, test.want)
		}
	}
	if !strings.Contains(server.logged(), `no user is called \"stranger\", whom the client certificate names`) {
		t.Error("the log does not name the user of a certificate")
	}
}
