package client_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/oexza/orisun/client"
)

// fake is a server that answers every call with an empty message, or as answer says.
type fake struct {
	url, address string
	health       *health.Server

	mu     sync.Mutex
	calls  []call
	answer func(call) (header metadata.MD, err error)
}

type call struct {
	number int // from 1
	method string
	header metadata.MD
}

func (c call) get(key string) string { return strings.Join(c.header.Get(key), ",") }

func startFake(t *testing.T, answer func(call) (metadata.MD, error), options ...grpc.ServerOption) *fake {
	t.Helper()
	f := &fake{health: health.NewServer(), answer: answer}
	f.health.SetServingStatus("orisun.EventStore", healthpb.HealthCheckResponse_SERVING)
	f.address = serve(t, f.health, append(options, grpc.UnknownServiceHandler(f.handle))...)
	f.url = "grpc://user:p%40ss@" + f.address
	return f
}

// serve serves gRPC until the test ends.
func serve(t *testing.T, health healthpb.HealthServer, options ...grpc.ServerOption) (address string) {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(options...)
	healthpb.RegisterHealthServer(server, health)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return listener.Addr().String()
}

func (f *fake) handle(_ any, stream grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(stream)
	header, _ := metadata.FromIncomingContext(stream.Context())
	if err := stream.RecvMsg(&emptypb.Empty{}); err != nil {
		return err
	}
	f.mu.Lock()
	c := call{len(f.calls) + 1, method[strings.LastIndexByte(method, '/')+1:], header}
	f.calls = append(f.calls, c)
	f.mu.Unlock()
	answered, err := f.answer(c)
	if err := stream.SetHeader(answered); err != nil {
		return err
	}
	if err != nil {
		return err
	}
	return stream.SendMsg(&emptypb.Empty{})
}

// seen are the methods that were called, each with its credentials.
func (f *fake) seen() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []string
	for _, c := range f.calls {
		all = append(all, strings.Join(strings.Fields(c.method+" "+c.get("authorization")+" "+c.get("x-auth-token")), " "))
	}
	return strings.Join(all, ", ")
}

const basic = "Basic dXNlcjpwQHNz" // user:p@ss

func TestThePasswordIsSentOnceAndTheTokenAfter(t *testing.T) {
	var calling sync.WaitGroup // calls come while the first one is under way
	calling.Add(16)
	server := startFake(t, func(call) (metadata.MD, error) {
		calling.Wait()
		return metadata.Pairs("x-auth-token", "one"), nil
	})
	c := dial(t, server.url)
	var running sync.WaitGroup
	for range 16 {
		running.Go(func() {
			calling.Done()
			if _, err := c.Boundaries(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	running.Wait()
	if got, want := server.seen(), "Ping "+basic+strings.Repeat(", ListBoundaries one", 16); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}

func TestATokenIsRenewedAndReplacedWhenItIsRefused(t *testing.T) {
	server := startFake(t, func(c call) (metadata.MD, error) {
		switch {
		case c.number == 2:
			return metadata.Pairs("x-auth-token", "renewed"), nil
		case c.number == 4:
			return nil, status.Error(codes.Unauthenticated, "the token has expired")
		case c.number > 6:
			return nil, status.Error(codes.Unauthenticated, "the user is gone")
		}
		return metadata.Pairs("x-auth-token", fmt.Sprint("token", c.number)), nil
	})
	c := dial(t, server.url)
	for range 3 {
		if _, err := c.UserCount(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	want := "Ping " + basic + ", GetUserCount token1, GetUserCount renewed, GetUserCount token3, Ping " + basic +
		", GetUserCount token5"
	if got := server.seen(); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	if _, err := c.UserCount(t.Context()); !errors.Is(err, client.ErrUnauthenticated) {
		t.Error(err)
	}
	if got := server.seen(); got != want+", GetUserCount token6, Ping "+basic {
		t.Error(got)
	}
}

func TestAServerWithoutTokensGetsThePasswordWithEachCall(t *testing.T) {
	server := startFake(t, func(call) (metadata.MD, error) { return nil, nil })
	c := dial(t, server.url)
	for range 2 {
		if _, err := c.UserCount(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got := server.seen(); got != "Ping "+basic+", GetUserCount "+basic+", GetUserCount "+basic {
		t.Error(got)
	}
}

func retryLater(code codes.Code, delay time.Duration) error {
	s, err := status.New(code, "later").WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(delay)})
	if err != nil {
		return err
	}
	return s.Err()
}

func TestRetries(t *testing.T) {
	failing := func(errs ...error) func(call) (metadata.MD, error) {
		return func(c call) (metadata.MD, error) {
			if c.number <= len(errs) {
				return nil, errs[c.number-1]
			}
			return nil, nil
		}
	}
	saves := func(ctx context.Context, c *client.Client) error {
		_, err := c.Save(ctx, "b", client.Always, client.NewEvent{Type: "T"})
		return err
	}
	reads := func(ctx context.Context, c *client.Client) error {
		_, err := c.Latest(ctx, "b", nil)
		return err
	}
	creates := func(ctx context.Context, c *client.Client) error {
		_, _, err := c.CreateUser(ctx, client.User{}, "")
		return err
	}
	away, late := status.Error(codes.Unavailable, "away"), status.Error(codes.DeadlineExceeded, "statement")
	full := retryLater(codes.ResourceExhausted, time.Millisecond)
	tooLarge, broken := status.Error(codes.ResourceExhausted, "too large"), status.Error(codes.Internal, "broken")
	for name, test := range map[string]struct {
		errs  []error
		do    func(context.Context, *client.Client) error
		calls int
		want  error
	}{
		"unavailable":                         {[]error{away, away}, saves, 3, nil},
		"exhausted, with a time":              {[]error{full}, reads, 2, nil},
		"exhausted for good":                  {[]error{tooLarge}, reads, 1, client.ErrExhausted},
		"a save of which the outcome is open": {[]error{late}, saves, 2, nil},
		"a read that takes too long":          {[]error{late}, reads, 1, context.DeadlineExceeded},
		"what is not idempotent":              {[]error{away}, creates, 1, client.ErrUnavailable},
		"an error that does not heal":         {[]error{broken}, saves, 1, client.ErrInternal},
	} {
		t.Run(name, func(t *testing.T) {
			server := startFake(t, failing(test.errs...))
			err := test.do(t.Context(), dial(t, "grpc://"+server.address))
			if !errors.Is(err, test.want) {
				t.Error(err)
			}
			if len(server.calls) != test.calls {
				t.Errorf("%d calls, want %d", len(server.calls), test.calls)
			}
		})
	}
}

// A subscription ends with its context only, also before it has begun: the time of retries is one of calls.
func TestASubscriptionWaitsForAServerLongerThanACall(t *testing.T) {
	for name, begin := range map[string]client.FollowOption{
		"from the beginning": client.Since(client.Position{}), "from now on": client.SinceNow(),
	} {
		server := startFake(t, func(c call) (metadata.MD, error) {
			if c.number < 5 {
				return nil, status.Error(codes.Unavailable, "away")
			}
			return nil, nil
		})
		c := dial(t, "grpc://"+server.address, client.WithRetryTime(time.Millisecond))
		for _, err := range c.Follow(t.Context(), "b", nil, begin) {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			break
		}
	}
}

func TestARetryWaitsAsLongAsTheServerSaysAndEndsWithTheDeadline(t *testing.T) {
	var at []time.Time
	server := startFake(t, func(c call) (metadata.MD, error) {
		at = append(at, time.Now())
		if c.number == 1 {
			return nil, retryLater(codes.Unavailable, 50*time.Millisecond)
		}
		return nil, retryLater(codes.Unavailable, time.Hour)
	})
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	err := dial(t, "grpc://"+server.address).Ping(ctx)
	if !errors.Is(err, client.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if len(at) != 2 || at[1].Sub(at[0]) < 50*time.Millisecond {
		t.Errorf("calls at %v", at)
	}
}

func TestTraceContext(t *testing.T) {
	server := startFake(t, func(call) (metadata.MD, error) { return nil, nil })
	type key struct{}
	c := dial(t, "grpc://"+server.address, client.WithTraceContext(func(ctx context.Context) (string, string) {
		parent, _ := ctx.Value(key{}).(string)
		return parent, ""
	}))
	for _, ctx := range []context.Context{
		t.Context(),
		context.WithValue(t.Context(), key{}, "00-extracted"),
		client.ContextWithTrace(context.WithValue(t.Context(), key{}, "00-extracted"), "00-given", "a=b"),
	} {
		if err := c.Ping(ctx); err != nil {
			t.Fatal(err)
		}
	}
	for i, want := range []string{"|", "00-extracted|", "00-given|a=b"} {
		if got := server.calls[i].get("traceparent") + "|" + server.calls[i].get("tracestate"); got != want {
			t.Errorf("call %d: %s, want %s", i, got, want)
		}
	}
}

func TestCallsGoToHealthyNodesInTurns(t *testing.T) {
	ok := func(call) (metadata.MD, error) { return nil, nil }
	one, two, three := startFake(t, ok), startFake(t, ok), startFake(t, ok)
	three.health.SetServingStatus("orisun.EventStore", healthpb.HealthCheckResponse_NOT_SERVING)
	c := dial(t, "grpc://"+one.address+","+two.address+","+three.address+",127.0.0.1:1")
	count := func(f *fake) int {
		f.mu.Lock()
		defer f.mu.Unlock()
		return len(f.calls)
	}
	for count(one) < 5 || count(two) < 5 {
		if err := c.Ping(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if count(three) != 0 {
		t.Error("a node that does not serve got calls")
	}
	one.health.SetServingStatus("orisun.EventStore", healthpb.HealthCheckResponse_NOT_SERVING)
	two.health.SetServingStatus("orisun.EventStore", healthpb.HealthCheckResponse_NOT_SERVING)
	three.health.SetServingStatus("orisun.EventStore", healthpb.HealthCheckResponse_SERVING)
	for count(three) < 5 {
		if err := c.Ping(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTLS(t *testing.T) {
	web := httptest.NewTLSServer(nil) // for its certificate, which is for 127.0.0.1 and example.com
	web.Close()
	certificate := web.TLS.Certificates[0]
	folder := t.TempDir()
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	key, err := x509.MarshalPKCS8PrivateKey(certificate.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile := write("cert.pem", "CERTIFICATE", certificate.Certificate[0]), write("key.pem", "PRIVATE KEY", key)
	// The client shows the server's own certificate; who signed it is another test's matter.
	server := startFake(t, func(call) (metadata.MD, error) { return nil, nil }, grpc.Creds(credentials.NewTLS(&tls.Config{
		Certificates: []tls.Certificate{certificate}, ClientAuth: tls.RequireAnyClientCert, MinVersion: tls.VersionTLS12,
	})))
	two := "," + server.address
	for _, url := range []string{"grpcs://" + server.address, "grpcs://" + server.address + two} {
		c := dial(t, url, client.WithCAFile(certFile), client.WithClientCertificate(certFile, keyFile))
		if err := c.Ping(t.Context()); err != nil {
			t.Errorf("%s: %v", url, err)
		}
	}
	roots := x509.NewCertPool()
	roots.AddCert(web.Certificate())
	c := dial(t, "grpcs://"+server.address, client.WithTLSConfig(&tls.Config{
		RootCAs: roots, Certificates: web.TLS.Certificates, MinVersion: tls.VersionTLS12,
	}))
	if err := c.Ping(t.Context()); err != nil {
		t.Error(err)
	}
	stranger := dial(t, "grpcs://"+server.address, client.WithRetryTime(time.Second))
	if err := stranger.Ping(t.Context()); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Error(err)
	}
	for name, options := range map[string][]client.Option{
		"no such authority": {client.WithCAFile(filepath.Join(folder, "none"))},
		"no authority":      {client.WithCAFile(keyFile)},
		"no key":            {client.WithClientCertificate(certFile, "")},
		"no time":           {client.WithRetryTime(0)},
	} {
		if _, err := client.Dial("grpcs://localhost", options...); err == nil {
			t.Error(name)
		}
	}
	if _, err := client.Dial("grpc://localhost", client.WithCAFile(certFile)); err == nil {
		t.Error("an authority without TLS")
	}
}
