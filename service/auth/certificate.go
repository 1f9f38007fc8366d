package auth

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
)

// CertificateMapping says which part of a client certificate is a username.
type CertificateMapping string

// The mappings. Only a certificate that the server verified against its authorities is used, whatever the mapping.
const (
	// CertificateOff: a certificate lets a client connect, but does not identify the caller.
	CertificateOff CertificateMapping = "off"
	// CertificateCN: the common name of its subject.
	CertificateCN CertificateMapping = "cn"
	// CertificateSAN: its subject alternative name, an e-mail address, URI or DNS name, of which it has exactly one.
	CertificateSAN CertificateMapping = "san"
)

// ErrNoCertificateUser says that a call's connection has no client certificate that names exactly one user.
var ErrNoCertificateUser = errors.New("the client certificate names no user")

// CertificateUser is the username in the client certificate of a call's connection. The error, for the log, is the
// reason why there is none (ErrNoCertificateUser). A certificate with several names is refused.
func CertificateUser(ctx context.Context, mapping CertificateMapping) (string, error) {
	caller, _ := peer.FromContext(ctx)
	if caller == nil {
		return "", fmt.Errorf("%w: the call has no peer", ErrNoCertificateUser)
	}
	secured, ok := caller.AuthInfo.(credentials.TLSInfo)
	if !ok || len(secured.State.VerifiedChains) == 0 {
		return "", fmt.Errorf("%w: the connection has no verified one", ErrNoCertificateUser)
	}
	leaf := secured.State.VerifiedChains[0][0]
	var names []string
	switch mapping {
	case CertificateCN:
		if leaf.Subject.CommonName != "" {
			names = []string{leaf.Subject.CommonName}
		}
	case CertificateSAN:
		names = append(append(names, leaf.EmailAddresses...), leaf.DNSNames...)
		for _, uri := range leaf.URIs {
			names = append(names, uri.String())
		}
	case CertificateOff:
	}
	if len(names) != 1 {
		return "", fmt.Errorf("%w: by the mapping %q its subject %s has %d names, not one",
			ErrNoCertificateUser, mapping, leaf.Subject, len(names))
	}
	return names[0], nil
}
