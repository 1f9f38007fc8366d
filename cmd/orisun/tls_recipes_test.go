package main

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/oexza/orisun/migrations/pgtest"
)

// TestTheRecipesForCertificatesWorkAsPrinted runs those of docs/tls.md with the openssl of this machine, serves with
// what they make, and connects.
func TestTheRecipesForCertificatesWorkAsPrinted(t *testing.T) {
	printed := map[string]string{}
	for _, name := range []string{"self-signed", "named", "mutual", "mutual, named"} {
		printed[name] = markedBlock(t, "docs/tls.md", name)
	}
	for _, test := range []struct {
		recipes   []string
		mutual    bool
		authority string // that verifies the server; empty: no client of today can, as the certificate has no names
	}{
		{recipes: []string{"self-signed"}},
		{recipes: []string{"named"}, authority: "server.crt"},
		{recipes: []string{"mutual"}, mutual: true},
		{recipes: []string{"mutual", "mutual, named"}, mutual: true, authority: "ca.crt"},
	} {
		last := test.recipes[len(test.recipes)-1]
		t.Run(last, func(t *testing.T) {
			directory := t.TempDir()
			for _, name := range test.recipes {
				openssl := exec.CommandContext(t.Context(), "sh", "-e", "-c", printed[name])
				openssl.Dir = directory
				if output, err := openssl.CombinedOutput(); err != nil || printed[name] == "" {
					t.Fatalf("%s\n%v (it needs the program openssl)\n%s", printed[name], err, output)
				}
			}
			env := append(outside(pgtest.Clone(t)),
				"ORISUN_GRPC_TLS_ENABLED=true", "ORISUN_GRPC_TLS_CERT_FILE="+directory+"/server.crt",
				"ORISUN_GRPC_TLS_KEY_FILE="+directory+"/server.key")
			client := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: test.authority == ""}
			if test.authority != "" {
				client.RootCAs = readAuthorities(t, filepath.Join(directory, test.authority))
			}
			if test.mutual {
				env = append(env, "ORISUN_GRPC_TLS_CA_FILE="+directory+"/ca.crt", "ORISUN_GRPC_TLS_CLIENT_AUTH_REQUIRED=true")
				pair, err := tls.LoadX509KeyPair(directory+"/client.crt", directory+"/client.key")
				if err != nil {
					t.Fatal(err)
				}
				client.Certificates = []tls.Certificate{pair}
			}
			server := launch(t, environment(t.TempDir(), env...))
			if err := ping(t.Context(), server.address, credentials.NewTLS(client)); err != nil {
				t.Errorf("a client: %v", err)
			}
			if test.mutual {
				client.Certificates = nil
				if err := ping(t.Context(), server.address, credentials.NewTLS(client)); status.Code(err) != codes.Unavailable {
					t.Errorf("a client without a certificate: %v", err)
				}
			}
		})
	}
}

func readAuthorities(t *testing.T, path string) *x509.CertPool {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	authorities := x509.NewCertPool()
	if !authorities.AppendCertsFromPEM(text) {
		t.Fatalf("%s holds no certificate", path)
	}
	return authorities
}
