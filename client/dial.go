package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	_ "google.golang.org/grpc/health" // a node that reports NOT_SERVING gets no calls
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
)

// DefaultRetryTime bounds the retries of a call whose context has no deadline.
const DefaultRetryTime = 30 * time.Second

const (
	firstReconnect = 100 * time.Millisecond
	maxReconnect   = 2 * time.Second
	connectTimeout = 5 * time.Second
	// A connection that does not answer a ping is closed, so that its calls and subscriptions go to another node.
	pingInterval = 10 * time.Second
	pingTimeout  = 5 * time.Second
)

// balancing sends calls round robin to all healthy nodes. A server without gRPC health counts as healthy.
const balancing = `{"loadBalancingConfig": [{"round_robin": {}}],
	"healthCheckConfig": {"serviceName": "orisun.EventStore"}}`

// Client calls an Orisun server, or the nodes of a cluster. It is safe for concurrent use; a program needs one.
type Client struct {
	conn      *grpc.ClientConn
	session   *session
	retryTime time.Duration
	trace     func(context.Context) (traceparent, tracestate string)
	log       *slog.Logger
}

// Option changes what [Dial] does.
type Option func(*options)

type options struct {
	user, password    string
	caFile            string
	certFile, keyFile string
	tls               *tls.Config
	retryTime         time.Duration
	trace             func(context.Context) (traceparent, tracestate string)
	log               *slog.Logger
	grpc              []grpc.DialOption
}

// WithCredentials sets the user and the password, instead of those in the URL.
func WithCredentials(user, password string) Option {
	return func(o *options) { o.user, o.password = user, password }
}

// WithCAFile trusts the authorities in a PEM file instead of those of the system. It needs a grpcs:// URL.
func WithCAFile(path string) Option { return func(o *options) { o.caFile = path } }

// WithClientCertificate shows a certificate (PEM files) to the server. The files are read for each connection, so a
// renewed certificate needs no restart. It needs a grpcs:// URL.
func WithClientCertificate(certFile, keyFile string) Option {
	return func(o *options) { o.certFile, o.keyFile = certFile, keyFile }
}

// WithTLSConfig is for what the other options cannot express. It needs a grpcs:// URL.
func WithTLSConfig(config *tls.Config) Option { return func(o *options) { o.tls = config } }

// WithRetryTime bounds the retries of a call whose context has no deadline; [DefaultRetryTime] otherwise.
func WithRetryTime(limit time.Duration) Option { return func(o *options) { o.retryTime = limit } }

// WithLogger logs retries and reconnections at level INFO. Without it the client logs nothing.
func WithLogger(log *slog.Logger) Option { return func(o *options) { o.log = log } }

// WithTraceContext sends the W3C trace context that extract returns for a call's context; "" sends none. See
// [ContextWithTrace] for a way without this option. With OpenTelemetry, extract is a few lines around
// propagation.TraceContext{}.Inject.
func WithTraceContext(extract func(context.Context) (traceparent, tracestate string)) Option {
	return func(o *options) { o.trace = extract }
}

// WithDialOptions adds options of gRPC, such as a stats handler or an interceptor.
func WithDialOptions(more ...grpc.DialOption) Option {
	return func(o *options) { o.grpc = append(o.grpc, more...) }
}

// Dial returns a client of the server at a URL, which has the form of ORISUN_URL with one or more hosts:
//
//	[grpc://|grpcs://][user:password@]host[:port][,host[:port]...]
//
// grpcs means TLS; the port is 5005 unless the URL says otherwise. Calls go round robin to all hosts that are up and
// report that they serve. A single host may have several addresses in DNS. Dial does not connect: the first call does.
// [Client.Ping] finds out whether the server answers and accepts the credentials.
func Dial(url string, opts ...Option) (*Client, error) {
	at, err := parseURL(url)
	if err != nil {
		return nil, err
	}
	o := options{user: at.user, password: at.password, retryTime: DefaultRetryTime, log: slog.New(slog.DiscardHandler)}
	for _, option := range opts {
		option(&o)
	}
	if o.retryTime <= 0 {
		return nil, fmt.Errorf("WithRetryTime(%s): the time must be positive", o.retryTime)
	}
	transport, err := o.transport(at.tls)
	if err != nil {
		return nil, err
	}
	target, dialOptions := resolve(at.hosts)
	dialOptions = append(dialOptions,
		grpc.WithTransportCredentials(transport),
		grpc.WithDefaultServiceConfig(balancing),
		grpc.WithDisableServiceConfig(), // of DNS
		grpc.WithUserAgent("orisun-client-go"),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: pingInterval, Timeout: pingTimeout}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: firstReconnect, Multiplier: 1.6, Jitter: 0.2, MaxDelay: maxReconnect},
			MinConnectTimeout: connectTimeout,
		}),
		grpc.WithDefaultCallOptions(
			grpc.WaitForReady(true),                // a node that is away is waited for, within the deadline
			grpc.MaxCallRecvMsgSize(math.MaxInt32), // the server limits its answers
		))
	conn, err := grpc.NewClient(target, append(dialOptions, o.grpc...)...)
	if err != nil {
		return nil, err
	}
	return &Client{
		conn: conn, session: newSession(o.user, o.password), retryTime: o.retryTime, trace: o.trace, log: o.log,
	}, nil
}

// MustDial is Dial for a URL and options that are constants of the program: it panics if Dial returns an error.
func MustDial(url string, opts ...Option) *Client {
	c, err := Dial(url, opts...)
	if err != nil {
		panic(fmt.Errorf("orisun: %w", err))
	}
	return c
}

// Close closes the connections; calls and subscriptions that are under way end with an error.
func (c *Client) Close() error { return c.conn.Close() }

// resolve leaves one host to DNS, which may know several addresses of it; several hosts are addresses as they stand.
func resolve(hosts []string) (target string, _ []grpc.DialOption) {
	if len(hosts) == 1 {
		return "dns:///" + hosts[0], nil
	}
	var state resolver.State
	for _, host := range hosts {
		node := resolver.Address{Addr: host, ServerName: hostname(host)}
		state.Endpoints = append(state.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{node}})
	}
	static := manual.NewBuilderWithScheme("orisun")
	static.InitialState(state)
	return "orisun:///" + hosts[0], []grpc.DialOption{grpc.WithResolvers(static)}
}

func (o *options) transport(secured bool) (credentials.TransportCredentials, error) {
	if !secured {
		if o.caFile != "" || o.certFile != "" || o.keyFile != "" || o.tls != nil {
			return nil, errors.New("options of TLS need a grpcs:// URL")
		}
		return insecure.NewCredentials(), nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if o.tls != nil {
		config = o.tls.Clone()
	}
	if o.caFile != "" {
		authorities, err := os.ReadFile(o.caFile)
		if err != nil {
			return nil, fmt.Errorf("WithCAFile: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(authorities) {
			return nil, fmt.Errorf("WithCAFile: %s holds no certificate in PEM form", o.caFile)
		}
	}
	if o.certFile != "" || o.keyFile != "" {
		load := func() (*tls.Certificate, error) {
			certificate, err := tls.LoadX509KeyPair(o.certFile, o.keyFile)
			if err != nil {
				return nil, fmt.Errorf("WithClientCertificate: %w", err)
			}
			return &certificate, nil
		}
		if _, err := load(); err != nil {
			return nil, err
		}
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return load() }
	}
	return credentials.NewTLS(config), nil
}
