package client_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/oexza/orisun/client"
)

// authority signs certificates, and writes PEM files.
type authority struct {
	dir         string
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{dir: t.TempDir()}
	a.certificate, a.key = a.sign(t, "ca", "An authority")
	return a
}

func (a *authority) file(name string) string { return filepath.Join(a.dir, name) }

// sign writes name.crt and name.key. The first certificate is the authority's own.
func (a *authority) sign(t *testing.T, name, commonName string) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: commonName},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{{127, 0, 0, 1}},
	}
	parent, signer := a.certificate, a.key
	if parent == nil {
		template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	for path, block := range map[string]*pem.Block{
		a.file(name + ".crt"): {Type: "CERTIFICATE", Bytes: der},
		a.file(name + ".key"): {Type: "PRIVATE KEY", Bytes: encoded},
	} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certificate, key
}

func TestAClientCertificateStandsForAUser(t *testing.T) {
	a := newAuthority(t)
	a.sign(t, "server", "A server")
	a.sign(t, "client", "admin")
	server, err := start(
		"ORISUN_GRPC_TLS_ENABLED=true", "ORISUN_GRPC_TLS_CERT_FILE="+a.file("server.crt"),
		"ORISUN_GRPC_TLS_KEY_FILE="+a.file("server.key"), "ORISUN_GRPC_TLS_CA_FILE="+a.file("ca.crt"),
		"ORISUN_GRPC_TLS_CLIENT_AUTH_REQUIRED=true", "ORISUN_GRPC_TLS_CLIENT_IDENTITY=cn")
	if err != nil {
		t.Fatal(err)
	}
	url, trusted := "grpcs://"+server.Address, client.WithCAFile(a.file("ca.crt"))
	shown := client.WithClientCertificate(a.file("client.crt"), a.file("client.key"))
	admin, later := dial(t, url, trusted, shown), dial(t, url, trusted, shown)
	if _, err := admin.Users(t.Context()); err != nil {
		t.Error(err)
	}
	// The files are read for each connection.
	a.sign(t, "client", "a stranger")
	if _, err := later.Users(t.Context()); !errors.Is(err, client.ErrUnauthenticated) {
		t.Error(err)
	}
	none := dial(t, "grpcs://admin:changeit@"+server.Address, trusted, client.WithRetryTime(time.Second))
	if err := none.Ping(t.Context()); !errors.Is(err, client.ErrUnavailable) && !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("without a certificate: %v", err)
	}
}
