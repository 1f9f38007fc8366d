package bench

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	orisunpb "github.com/oexza/orisun/proto"
)

// Session is a run's connections and what it has read from the boundary.
type Session struct {
	config      Config
	credentials *Credentials
	connections []*grpc.ClientConn
	progress    *progress
	environment Environment

	run      string // the prefix of this run's context names
	noise    string // the source of payloads
	contexts []ownedContext
	// pages are where the pages of the seeded part begin. nil is the beginning of the boundary.
	pages []*orisunpb.Position
}

// Open connects, logs in, creates the indexes and seeds the boundary.
func Open(ctx context.Context, config Config) (*Session, error) {
	s, err := connect(ctx, config)
	if err != nil {
		return nil, err
	}
	if err := s.prepare(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Report holds the environment and the settings of a session, without results.
func (s *Session) Report() Report {
	return Report{Environment: s.environment, Settings: s.config.settings()}
}

// connect connects and logs in.
func connect(ctx context.Context, config Config) (*Session, error) {
	s := &Session{
		config:      config,
		credentials: NewCredentials(config.Username, config.Password),
		progress:    newProgress(config.Progress, config.Live),
		run:         fmt.Sprintf("%08x", rand.Uint32()), //nolint:gosec // a name, no secret
	}
	for range config.Connections {
		// Pages are larger than the 4 MiB that gRPC accepts by default.
		connection, err := config.Dial(grpc.WithPerRPCCredentials(s.credentials),
			grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(math.MaxInt32)))
		if err != nil {
			return nil, errors.Join(err, s.Close())
		}
		s.connections = append(s.connections, connection)
	}
	if err := s.logIn(ctx, config.Auth); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Close closes the connections.
func (s *Session) Close() error {
	var problems []error
	for _, connection := range s.connections {
		problems = append(problems, connection.Close())
	}
	return errors.Join(problems...)
}

// store is the connection of the client with a number.
func (s *Session) store(client int) orisunpb.EventStoreClient {
	return orisunpb.NewEventStoreClient(s.connections[client%len(s.connections)])
}

// random is the client's own source of choices.
func (s *Session) random(client int) *rand.Rand {
	return rand.New(rand.NewPCG(s.config.Seed, uint64(client))) //nolint:gosec // choices are to be repeatable
}

// logIn sends the password, and uses the token of the answer in its place unless auth is AuthBasic.
func (s *Session) logIn(ctx context.Context, auth string) error {
	s.credentials.usePassword()
	var header metadata.MD
	if _, err := s.store(0).Ping(ctx, &orisunpb.PingRequest{}, grpc.Header(&header)); err != nil {
		return fmt.Errorf("log in as %s at %s: %w", s.config.Username, s.connections[0].Target(), err)
	}
	if auth == AuthBasic {
		return nil
	}
	tokens := header.Get(tokenHeader)
	if len(tokens) == 0 {
		return fmt.Errorf("%s answers without a header %s: log in with --auth %s",
			s.connections[0].Target(), tokenHeader, AuthBasic)
	}
	s.credentials.useToken(tokens[0])
	return nil
}

const tokenHeader = "x-auth-token"

// Credentials are what each call carries: gRPC reads them for every call.
type Credentials struct {
	password map[string]string
	current  atomic.Pointer[map[string]string]
}

// NewCredentials send a password with every call.
func NewCredentials(username, password string) *Credentials {
	c := &Credentials{password: map[string]string{
		"authorization": "Basic " + base64.StdEncoding.EncodeToString([]byte(username+":"+password)),
	}}
	c.usePassword()
	return c
}

func (c *Credentials) usePassword() { c.current.Store(&c.password) }

func (c *Credentials) useToken(token string) { c.current.Store(&map[string]string{tokenHeader: token}) }

// GetRequestMetadata returns what the next call carries.
func (c *Credentials) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return *c.current.Load(), nil
}

// RequireTransportSecurity is false: the operator of the server decides on TLS.
func (c *Credentials) RequireTransportSecurity() bool { return false }

// createIndexes creates indexes for criteria on the contexts' key and on the keys of the workloads, where the server
// supports it.
func (s *Session) createIndexes(ctx context.Context) error {
	if err := s.createIndex(ctx, "orisun_bench", ContextKey); err != nil {
		return err
	}
	for _, name := range s.config.Workloads {
		w, err := findWorkload(name)
		if err != nil {
			return err
		}
		for _, key := range w.keys {
			if err := s.createIndex(ctx, "orisun_"+key, key); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Session) createIndex(ctx context.Context, name, key string) error {
	_, err := s.store(0).CreateIndex(ctx, &orisunpb.CreateIndexRequest{
		Boundary: s.config.Boundary, Name: name,
		Fields: []*orisunpb.IndexField{{JsonKey: key, ValueType: orisunpb.ValueType_TEXT}},
	})
	switch status.Code(err) {
	case codes.OK, codes.AlreadyExists:
		return nil
	case codes.Unimplemented:
		s.progress.say("the server cannot create indexes: without one on %s, conditional saves and reads scan", key)
		return nil
	}
	return fmt.Errorf("create an index on %s in %s: %w", key, s.config.Boundary, err)
}
