package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/server/config"
	"github.com/oexza/orisun/server/version"
)

// defaultServer is the server that a client command calls without other settings: one with the defaults, on this
// machine.
const defaultServer = "localhost:" + config.DefaultGRPCPort

// connectTimeout is how long an attempt to connect takes at most.
const connectTimeout = 20 * time.Second

// connection is where a client command finds the server, or the nodes of a cluster, and the user for it. A flag takes
// precedence over ORISUN_URL, that over ORISUN_ADMIN_USERNAME and ORISUN_ADMIN_PASSWORD, those over the defaults. A
// password is never an argument, which other users of this machine could see.
type connection struct {
	server         string // HOST:PORT, or several with commas between them
	user, password string
	ask            bool // prompt for the password
	tls            bool
	caCert         string
	cert, key      string
	unverified     bool
	timeout        time.Duration
}

// addConnectionFlags adds the flags of a command that calls a server.
func addConnectionFlags(flags *pflag.FlagSet) *connection {
	c := addServerFlags(flags)
	group(flags, groupConnection, func() {
		flags.DurationVar(&c.timeout, "timeout", 0, "give up after this `TIME`, such as 10s; 0 is never")
	})
	return c
}

// addServerFlags adds the flags for the server's address and the user.
func addServerFlags(flags *pflag.FlagSet) *connection {
	c := &connection{}
	group(flags, groupConnection, func() {
		flags.StringVar(&c.server, "server", "",
			"`HOST[:PORT]` of the server, or of the nodes with commas between them "+
				"(default: ORISUN_URL, then "+defaultServer+")")
		flags.StringVar(&c.user, "user", "",
			"`NAME` of the user (default: ORISUN_URL, then ORISUN_ADMIN_USERNAME, then "+config.DefaultAdminUsername+")")
		flags.BoolVar(&c.ask, "ask-password", false,
			"ask for the password, or read it from the first line of standard input where that is no terminal (default: "+
				"ORISUN_URL, then ORISUN_ADMIN_PASSWORD)")
		flags.BoolVar(&c.tls, "tls", false, "use TLS, as grpcs:// in ORISUN_URL does")
		flags.StringVar(&c.caCert, "cacert", "",
			"`FILE` with the authorities, in PEM form, to trust instead of the system's; implies --tls")
		flags.StringVar(&c.cert, "cert", "", "`FILE` with a client certificate in PEM form; implies --tls")
		flags.StringVar(&c.key, "key", "", "`FILE` with the key of --cert in PEM form")
		flags.BoolVar(&c.unverified, "insecure", false, "accept any certificate of the server, for tests; implies --tls")
	})
	return c
}

// withEventStore calls the server's EventStore. It converts errors of calls to errors for people.
func withEventStore(
	ctx context.Context, server *connection, do func(context.Context, orisunpb.EventStoreClient) error,
) error {
	return server.call(ctx, func(ctx context.Context, conn *grpc.ClientConn) error {
		return do(ctx, orisunpb.NewEventStoreClient(conn))
	})
}

// withAdmin calls the server's Admin. It converts errors of calls to errors for people.
func withAdmin(ctx context.Context, server *connection, do func(context.Context, orisunpb.AdminClient) error) error {
	return server.call(ctx, func(ctx context.Context, conn *grpc.ClientConn) error {
		return do(ctx, orisunpb.NewAdminClient(conn))
	})
}

// isPast says whether ctx has a deadline that is over. The server ends a call at the same deadline, and its answer may
// come before the timer of ctx fires: ctx.Err is still nil then.
func isPast(ctx context.Context) bool {
	deadline, ok := ctx.Deadline()
	return ok && !time.Now().Before(deadline)
}

// call runs do with a connection, for --timeout at most.
func (c *connection) call(ctx context.Context, do func(context.Context, *grpc.ClientConn) error) (err error) {
	conn, err := c.dial(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	limited := ctx
	if c.timeout > 0 {
		var cancel context.CancelFunc
		limited, cancel = context.WithTimeout(ctx, c.timeout)
		defer cancel()
	}
	err = do(limited, conn)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil && status.Code(err) == codes.Canceled:
		return errors.New("interrupted before the server answered: a change may have been made")
	case status.Code(err) == codes.DeadlineExceeded && isPast(limited):
		return &callError{
			text: fmt.Sprintf("no answer within --timeout %s from %s: a change may have been made", c.timeout, c.server),
			code: codes.Unavailable,
		}
	}
	return c.forPeople(err)
}

// dial returns a connection that is established with the first call. Its errors are usageErrors.
func (c *connection) dial(ctx context.Context) (*grpc.ClientConn, error) {
	if err := c.prepare(ctx); err != nil {
		return nil, err
	}
	return c.open(grpc.WithPerRPCCredentials(basicAuth{c.user, c.password}))
}

// open is dial for a completed connection, without credentials: more carries those.
func (c *connection) open(more ...grpc.DialOption) (*grpc.ClientConn, error) {
	transport := insecure.NewCredentials()
	if c.tls {
		secured, err := c.tlsConfig()
		if err != nil {
			return nil, usageError{err}
		}
		transport = credentials.NewTLS(secured)
	}
	target, options := resolve(c.server)
	options = append(options,
		grpc.WithTransportCredentials(transport),
		grpc.WithUserAgent("orisun/"+version.Read().Version),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: firstPause, Multiplier: 2, Jitter: 0.2, MaxDelay: maxPause},
			MinConnectTimeout: connectTimeout,
		}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(math.MaxInt32)), // the server limits the size of answers
	)
	return grpc.NewClient(target, append(options, more...)...)
}

// prepare completes the connection from the environment and, once, with the password from the prompt.
func (c *connection) prepare(ctx context.Context) (err error) {
	if err := c.complete(os.LookupEnv); err != nil || !c.ask {
		return err
	}
	c.password, err = readPassword(ctx, os.Stdin, os.Stderr, c.user)
	c.ask = err != nil
	return err
}

// complete fills in from the environment what flags did not set.
func (c *connection) complete(environment func(string) (string, bool)) (err error) {
	if text, found := environment("ORISUN_URL"); found && text != "" {
		at, hosts, err := parseURL(text)
		if err != nil {
			return usageError{err}
		}
		password, _ := at.User.Password()
		// A password belongs to its user: it is not sent for another user.
		if c.user == "" || c.user == at.User.Username() {
			c.user, c.password = cmp.Or(c.user, at.User.Username()), cmp.Or(c.password, password)
		}
		if c.server == "" {
			c.server, c.tls = hosts, c.tls || at.Scheme == "grpcs"
		}
	}
	variable := func(name string) string { value, _ := environment(name); return value }
	c.user = cmp.Or(c.user, variable("ORISUN_ADMIN_USERNAME"), config.DefaultAdminUsername)
	c.password = cmp.Or(c.password, variable("ORISUN_ADMIN_PASSWORD"), config.DefaultAdminPassword)
	if c.server, err = withPorts(cmp.Or(c.server, defaultServer)); err != nil {
		return err
	}
	c.tls = c.tls || c.caCert != "" || c.cert != "" || c.unverified
	if (c.cert == "") != (c.key == "") {
		return usageError{errors.New("--cert and --key need each other")}
	}
	if c.unverified && c.caCert != "" {
		return usageError{
			errors.New("--insecure believes any certificate, --cacert those of one authority: choose one of them"),
		}
	}
	return nil
}

func (c *connection) tlsConfig() (*tls.Config, error) {
	secured := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: c.unverified} //nolint:gosec // --insecure
	if c.caCert != "" {
		authorities, err := os.ReadFile(c.caCert)
		if err != nil {
			return nil, fmt.Errorf("--cacert: %w", err)
		}
		secured.RootCAs = x509.NewCertPool()
		if !secured.RootCAs.AppendCertsFromPEM(authorities) {
			return nil, fmt.Errorf("--cacert: %s holds no certificate in PEM form", c.caCert)
		}
	}
	if c.cert != "" {
		certificate, err := tls.LoadX509KeyPair(c.cert, c.key)
		if err != nil {
			return nil, fmt.Errorf("--cert, --key: %w", err)
		}
		secured.Certificates = []tls.Certificate{certificate}
	}
	return secured, nil
}

// basicAuth sends a username and password with every call.
type basicAuth struct{ user, password string }

func (b basicAuth) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Basic " +
		base64.StdEncoding.EncodeToString([]byte(b.user+":"+b.password))}, nil
}

// RequireTransportSecurity is false: whether TLS is used is the caller's choice, as it is with the server.
func (basicAuth) RequireTransportSecurity() bool { return false }

// callError is the error of a call, for people. code and reason decide on the exit code.
type callError struct {
	text   string
	code   codes.Code
	reason string
}

func (e *callError) Error() string { return e.text }

// exitCode distinguishes errors that scripts can act on.
func (e *callError) exitCode() int {
	switch {
	case e.reason == "CONTEXT_CHANGED":
		return exitContextChanged
	case e.code == codes.Unavailable:
		return exitUnavailable
	default:
		return exitFailed
	}
}

// forPeople converts the error of a call into one for people: what is wrong, with the code, the reason and each
// invalid field.
func (c *connection) forPeople(err error) error {
	s, ok := status.FromError(err)
	if !ok {
		return err
	}
	failed := &callError{code: s.Code()}
	name := code.Code(s.Code()).String()
	var fields []string
	for _, detail := range s.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			failed.reason = detail.GetReason()
			name += " (" + failed.reason + ")"
		case *errdetails.BadRequest:
			for _, violation := range detail.GetFieldViolations() {
				fields = append(fields, violation.GetField()+": "+violation.GetDescription())
			}
		}
	}
	switch {
	case s.Code() == codes.Unauthenticated:
		failed.text = fmt.Sprintf("%s: wrong password, or no such user: %s does not let %s in. Give the password with "+
			"--ask-password, or in ORISUN_URL or ORISUN_ADMIN_PASSWORD", name, c.server, oneLine(c.user))
	case isUnreachable(s):
		failed.text = fmt.Sprintf("%s: no server answers at %s (%s). Name another one with --server or ORISUN_URL",
			name, c.server, s.Message())
	case len(fields) > 0:
		failed.text = name + "\n  " + strings.Join(fields, "\n  ")
	default:
		failed.text = name + ": " + s.Message()
	}
	return failed
}

// isUnreachable distinguishes an UNAVAILABLE of this side from one that a server answered, by gRPC's text.
func isUnreachable(s *status.Status) bool {
	return s.Code() == codes.Unavailable && (strings.HasPrefix(s.Message(), "connection error:") ||
		strings.HasPrefix(s.Message(), "name resolver error:") || strings.Contains(s.Message(), "health check failed"))
}
