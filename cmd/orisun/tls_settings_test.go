package main

import (
	"crypto/tls"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	orisunpb "github.com/oexza/orisun/proto"
)

func TestTLSIsThatOfTheConfiguredFiles(t *testing.T) {
	ca, dir := newAuthority(t, "ca"), t.TempDir()
	cert, key := ca.issue("server", nil)
	for name, text := range map[string][]byte{"server.crt": cert, "server.key": key, "ca.crt": ca.pem} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	server := launchWith(t, "ORISUN_GRPC_TLS_ENABLED=true",
		"ORISUN_GRPC_TLS_CERT_FILE="+dir+"/server.crt", "ORISUN_GRPC_TLS_KEY_FILE="+dir+"/server.key",
		"ORISUN_GRPC_TLS_CA_FILE="+dir+"/ca.crt", "ORISUN_GRPC_TLS_CLIENT_AUTH_REQUIRED=true")
	for _, c := range []struct {
		name   string
		config *tls.Config // nil: none
		code   codes.Code
		http   int // of a call
	}{
		{"with a certificate", ca.client("client", nil, ca), codes.OK, http.StatusOK},
		{
			"without one", &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: trust(ca)}, codes.Unavailable,
			http.StatusUnauthorized,
		},
		{"without TLS", nil, codes.Unavailable, http.StatusBadRequest},
	} {
		transport, scheme := insecure.NewCredentials(), "http://"
		if c.config != nil {
			transport, scheme = credentials.NewTLS(c.config), "https://"
		}
		conn, err := grpc.NewClient(server.address, grpc.WithPerRPCCredentials(basic{}),
			grpc.WithTransportCredentials(transport))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := orisunpb.NewEventStoreClient(conn).Ping(t.Context(),
			&orisunpb.PingRequest{}); status.Code(err) != c.code {
			t.Errorf("gRPC %s: %v", c.name, err)
		}
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: c.config}}
		request := func(method, path, body string) int {
			asked, err := http.NewRequestWithContext(t.Context(), method, scheme+server.http+path, strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			asked.SetBasicAuth("admin", "changeit")
			asked.Header.Set("Content-Type", "application/json")
			response, err := client.Do(asked)
			if err != nil {
				t.Fatal(err)
			}
			if err := response.Body.Close(); err != nil {
				t.Error(err)
			}
			return response.StatusCode
		}
		if got := request(http.MethodPost, "/orisun.EventStore/Ping", "{}"); got != c.http {
			t.Errorf("HTTP %s: %d, want %d", c.name, got, c.http)
		}
		if c.config != nil { // a probe has no certificate
			if got := request(http.MethodGet, "/readyz", ""); got != http.StatusOK {
				t.Errorf("readyz %s: %d", c.name, got)
			}
		}
		client.CloseIdleConnections()
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	}
}
