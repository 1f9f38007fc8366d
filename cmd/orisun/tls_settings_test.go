package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	orisunpb "github.com/oexza/orisun/proto"
)

// authority issues certificates for 127.0.0.1.
type authority struct {
	t           *testing.T
	dir         string
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, dir: t.TempDir()}
	a.issue("ca", &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return a
}

// issue writes name.crt and name.key.
func (a *authority) issue(name string, certificate *x509.Certificate) (certFile, keyFile string) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	certificate.SerialNumber, certificate.Subject = big.NewInt(time.Now().UnixNano()), pkix.Name{CommonName: name}
	certificate.NotBefore, certificate.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	certificate.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	if a.certificate == nil {
		a.certificate, a.key = certificate, key
	}
	der, err := x509.CreateCertificate(rand.Reader, certificate, a.certificate, &key.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(a.dir, name+".crt"), filepath.Join(a.dir, name+".key")
	for file, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
	return certFile, keyFile
}

func TestTLSIsThatOfTheConfiguredFiles(t *testing.T) {
	ca := newAuthority(t)
	cert, key := ca.issue("server", &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	clientCert, clientKey := ca.issue("client", &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	server := launch(t, environment(t.TempDir(), "ORISUN_GRPC_TLS_ENABLED=true", "ORISUN_GRPC_TLS_CERT_FILE="+cert, "ORISUN_GRPC_TLS_KEY_FILE="+key,
		"ORISUN_GRPC_TLS_CA_FILE="+ca.dir+"/ca.crt", "ORISUN_GRPC_TLS_CLIENT_AUTH_REQUIRED=true"))
	roots := x509.NewCertPool()
	authorities, err := os.ReadFile(ca.dir + "/ca.crt")
	if err != nil || !roots.AppendCertsFromPEM(authorities) {
		t.Fatal(err)
	}
	own, err := tls.LoadX509KeyPair(clientCert, clientKey)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		config *tls.Config // nil: none
		code   codes.Code
		http   int // of a call
	}{
		{"with a certificate", &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{own}}, codes.OK, http.StatusOK},
		{"without one", &tls.Config{RootCAs: roots}, codes.Unavailable, http.StatusUnauthorized},
		{"without TLS", nil, codes.Unavailable, http.StatusBadRequest},
	} {
		transport, scheme := insecure.NewCredentials(), "http://"
		if c.config != nil {
			transport, scheme = credentials.NewTLS(c.config), "https://"
		}
		conn, err := grpc.NewClient(server.address, grpc.WithPerRPCCredentials(basic{}), grpc.WithTransportCredentials(transport))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := orisunpb.NewEventStoreClient(conn).Ping(t.Context(), &orisunpb.PingRequest{}); status.Code(err) != c.code {
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
