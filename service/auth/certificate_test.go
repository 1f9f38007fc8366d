package auth_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"net/url"
	"testing"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/oexza/orisun/service/auth"
)

func TestACertificateNamesOneUserOrNone(t *testing.T) {
	uri, err := url.Parse("spiffe://example.org/billing")
	if err != nil {
		t.Fatal(err)
	}
	alice := pkix.Name{CommonName: "alice"}
	for name, test := range map[string]struct {
		mapping     auth.CertificateMapping
		certificate *x509.Certificate
		unverified  bool
		want        string
	}{
		"common name": {
			mapping: auth.CertificateCN, certificate: &x509.Certificate{Subject: alice},
			want: "alice",
		},
		"no common name": {mapping: auth.CertificateCN, certificate: &x509.Certificate{DNSNames: []string{"alice"}}},
		"e-mail address": {
			mapping:     auth.CertificateSAN,
			certificate: &x509.Certificate{Subject: alice, EmailAddresses: []string{"bob@example.org"}},
			want:        "bob@example.org",
		},
		"DNS name": {
			mapping:     auth.CertificateSAN,
			certificate: &x509.Certificate{DNSNames: []string{"billing"}}, want: "billing",
		},
		"URI": {
			mapping: auth.CertificateSAN, certificate: &x509.Certificate{URIs: []*url.URL{uri}},
			want: "spiffe://example.org/billing",
		},
		"two names": {
			mapping:     auth.CertificateSAN,
			certificate: &x509.Certificate{DNSNames: []string{"billing"}, EmailAddresses: []string{"admin"}},
		},
		"no alternative name": {mapping: auth.CertificateSAN, certificate: &x509.Certificate{Subject: alice}},
		"switched off":        {mapping: auth.CertificateOff, certificate: &x509.Certificate{Subject: alice}},
		"shown and not verified": {
			mapping: auth.CertificateCN, certificate: &x509.Certificate{Subject: alice},
			unverified: true,
		},
		"none": {mapping: auth.CertificateCN},
	} {
		info := credentials.TLSInfo{State: tls.ConnectionState{}}
		if test.certificate != nil {
			info.State.PeerCertificates = []*x509.Certificate{test.certificate}
			if !test.unverified {
				info.State.VerifiedChains = [][]*x509.Certificate{{test.certificate}}
			}
		}
		got, err := auth.CertificateUser(peer.NewContext(t.Context(), &peer.Peer{AuthInfo: info}), test.mapping)
		if got != test.want || (test.want == "") != errors.Is(err, auth.ErrNoCertificateUser) {
			t.Errorf("%s: %q, %v; want %q", name, got, err, test.want)
		}
	}
	for name, ctx := range map[string]context.Context{
		"no peer": t.Context(), "plaintext": peer.NewContext(t.Context(), &peer.Peer{}),
	} {
		if got, err := auth.CertificateUser(ctx, auth.CertificateCN); got != "" ||
			!errors.Is(err, auth.ErrNoCertificateUser) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}
