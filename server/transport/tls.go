package transport

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc/credentials"

	"github.com/oexza/orisun/server/config"
)

// NewCredentials is the server's side of TLS: at least 1.2, with client certificates where the configuration requires
// them. Its error names the variable whose file cannot be used. Refused handshakes are logged.
func NewCredentials(config config.GRPC, log *slog.Logger) (credentials.TransportCredentials, error) {
	certificates, err := NewCertificates(config, log)
	if err != nil {
		return nil, err
	}
	return loggedHandshakes{
		credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: certificates.forClient}),
		NewRefusals(log),
	}, nil
}

// NewCertificates reads the files that the settings of gRPC name.
func NewCertificates(config config.GRPC, log *slog.Logger) (*Certificates, error) {
	files := []certificateFile{
		{"ORISUN_GRPC_TLS_CERT_FILE", config.TLSCertFile},
		{"ORISUN_GRPC_TLS_KEY_FILE", config.TLSKeyFile},
	}
	if config.TLSClientAuthRequired {
		files = append(files, certificateFile{"ORISUN_GRPC_TLS_CA_FILE", config.TLSCAFile})
	}
	certificates := &Certificates{files: files, log: log}
	return certificates, certificates.reload()
}

// NewNATSTLS is TLS for the port of NATS's clients and, in a cluster, for the routes between nodes, where both sides
// present and verify certificates. Without TLS both are nil.
func NewNATSTLS(config config.NATS, log *slog.Logger) (clients, routes *tls.Config, err error) {
	if !config.TLSEnabled {
		return nil, nil, nil
	}
	files := []certificateFile{
		{"ORISUN_NATS_TLS_CERT_FILE", config.TLSCertFile},
		{"ORISUN_NATS_TLS_KEY_FILE", config.TLSKeyFile},
	}
	if config.ClusterEnabled {
		files = append(files, certificateFile{"ORISUN_NATS_TLS_CA_FILE", config.TLSCAFile})
	}
	certificates := &Certificates{files: files, log: log}
	if err := certificates.reload(); err != nil {
		return nil, nil, err
	}
	clients = &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: certificates.forNATSClient}
	if config.ClusterEnabled {
		routes = &tls.Config{
			MinVersion: tls.VersionTLS12,
			// The node as the server of a route.
			GetConfigForClient: certificates.forClient,
			// The node as the client of a route. NATS copies this configuration, so the authorities are those of the
			// start.
			GetClientCertificate: certificates.ofClient,
			RootCAs:              certificates.current.ClientCAs,
		}
	}
	return clients, routes, nil
}

// certificateFile is a file in PEM form and the variable that names it.
type certificateFile struct{ variable, path string }

// Certificates are those that the files hold now: each handshake checks whether the files changed. They are read
// rather than watched, as that costs little beside a handshake. It also works for every way of replacing a file: in
// place, by renaming, or by the symbolic links of Kubernetes. All files count as one: while they do not match each
// other, or cannot be read, the last valid set is used. Existing connections do not change.
type Certificates struct {
	files []certificateFile
	log   *slog.Logger

	mu      sync.Mutex
	looked  [][]byte // the files' content at the last check; nil for one that could not be read
	current *tls.Config
}

func (c *Certificates) forClient(*tls.ClientHelloInfo) (*tls.Config, error) {
	if err := c.reload(); err != nil {
		c.log.Error("the new certificates cannot be used; the old ones stay in use", "error", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.current, nil
}

// ForHTTP is forClient for the admin HTTP, whose probes have no certificates. Calls require them.
func (c *Certificates) ForHTTP(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	config, err := c.forClient(hello)
	if err != nil {
		return nil, err
	}
	config = config.Clone()
	config.NextProtos = []string{"h2", "http/1.1"}
	if config.ClientAuth == tls.RequireAndVerifyClientCert {
		config.ClientAuth = tls.VerifyClientCertIfGiven
	}
	return config, nil
}

// forNATSClient is forClient for clients that present a password in place of a certificate.
func (c *Certificates) forNATSClient(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	config, err := c.forClient(hello)
	if err != nil {
		return nil, err
	}
	config = config.Clone()
	config.ClientAuth, config.ClientCAs = tls.NoClientCert, nil
	return config, nil
}

// ofClient is the certificate that a node presents to another node.
func (c *Certificates) ofClient(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	config, err := c.forClient(nil)
	if err != nil {
		return nil, err
	}
	return &config.Certificates[0], nil
}

// reload loads changed files. It logs once that they cannot be used, and again only after they change.
func (c *Certificates) reload() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	contents := make([][]byte, len(c.files))
	var unreadable []error
	for i, file := range c.files {
		var err error
		if contents[i], err = os.ReadFile(file.path); err != nil {
			unreadable = append(unreadable, fmt.Errorf("%s: %w", file.variable, err))
		}
	}
	if slices.EqualFunc(contents, c.looked, bytes.Equal) {
		return nil
	}
	c.looked = contents
	if err := errors.Join(unreadable...); err != nil {
		return err
	}
	config, err := c.parse(contents)
	if err != nil {
		return err
	}
	c.current = config
	leaf := config.Certificates[0].Leaf
	c.log.Info("TLS certificate", "subject", leaf.Subject.String(), "serial", leaf.SerialNumber.String(),
		"expires", leaf.NotAfter)
	if time.Now().After(leaf.NotAfter) {
		c.log.Warn("the server's TLS certificate has expired: clients refuse it", "file", c.files[0].path,
			"expired", leaf.NotAfter)
	}
	return nil
}

func (c *Certificates) parse(contents [][]byte) (*tls.Config, error) {
	certificate, err := tls.X509KeyPair(contents[0], contents[1])
	if err != nil {
		return nil, fmt.Errorf("%s (%s), %s (%s): %w",
			c.files[0].variable, c.files[0].path, c.files[1].variable, c.files[1].path, err)
	}
	config := &tls.Config{
		MinVersion:   tls.VersionTLS12,
		Certificates: []tls.Certificate{certificate},
		// Session tickets from before an authority was removed must not be valid. gRPC's connections last, so tickets
		// would save little.
		SessionTicketsDisabled: true,
	}
	if len(contents) > 2 {
		config.ClientCAs = x509.NewCertPool()
		if !config.ClientCAs.AppendCertsFromPEM(contents[2]) {
			return nil, fmt.Errorf("%s: %s holds no certificate in PEM form", c.files[2].variable, c.files[2].path)
		}
		config.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return config, nil
}

// loggedHandshakes logs why a client is refused: the client itself often sees only the refusal.
type loggedHandshakes struct {
	credentials.TransportCredentials
	refusals *Refusals
}

// ServerHandshake is that of the credentials within.
func (h loggedHandshakes) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	secured, info, err := h.TransportCredentials.ServerHandshake(conn)
	if err != nil {
		h.refused(conn, err)
	}
	return secured, info, err
}

// Clone implements credentials.TransportCredentials.
func (h loggedHandshakes) Clone() credentials.TransportCredentials {
	return loggedHandshakes{h.TransportCredentials.Clone(), h.refusals}
}

func (h loggedHandshakes) refused(conn net.Conn, err error) {
	attributes := []any{"peer", conn.RemoteAddr().String(), "error", err.Error()}
	var plaintext tls.RecordHeaderError
	var unverified *tls.CertificateVerificationError
	switch {
	case errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET): // a load balancer that probes the port
		h.refusals.log.Debug("a connection ended before its TLS handshake", attributes...)
		return
	case errors.As(err, &plaintext):
		attributes = append(attributes, "reason", "the client speaks plaintext; ORISUN_GRPC_TLS_ENABLED asks for TLS")
	case errors.As(err, &unverified) && len(unverified.UnverifiedCertificates) > 0:
		attributes = append(attributes, "client", unverified.UnverifiedCertificates[0].Subject.String())
	}
	h.refusals.Tell("TLS handshake refused", attributes...)
}
