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

// session is a run's connections and what it has read from the boundary.
type session struct {
	config      Config
	credentials *credentials
	connections []*grpc.ClientConn
	progress    *progress
	environment Environment

	// rest is called after each point, before the next one. It is nil where there is nothing to do.
	rest func(context.Context) error

	run      string // the prefix of this run's context names
	noise    string // the source of payloads
	contexts []ownedContext
	// pages are where the pages of the seeded part begin. nil is the beginning of the boundary.
	pages []*orisunpb.Position
}

// open connects and logs in.
func open(ctx context.Context, config Config) (*session, error) {
	s := &session{
		config:      config,
		credentials: newCredentials(config.Username, config.Password),
		progress:    newProgress(config.Progress, config.Live),
		run:         fmt.Sprintf("%08x", rand.Uint32()), //nolint:gosec // a name, no secret
	}
	for range config.Connections {
		// Pages are larger than the 4 MiB that gRPC accepts by default.
		connection, err := config.Dial(grpc.WithPerRPCCredentials(s.credentials),
			grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(math.MaxInt32)))
		if err != nil {
			return nil, errors.Join(err, s.close())
		}
		s.connections = append(s.connections, connection)
	}
	if err := s.logIn(ctx); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *session) close() error {
	var problems []error
	for _, connection := range s.connections {
		problems = append(problems, connection.Close())
	}
	return errors.Join(problems...)
}

// store is the connection of the client with a number.
func (s *session) store(client int) orisunpb.EventStoreClient {
	return orisunpb.NewEventStoreClient(s.connections[client%len(s.connections)])
}

// random is the client's own source of choices.
func (s *session) random(client int) *rand.Rand {
	return rand.New(rand.NewPCG(s.config.Seed, uint64(client))) //nolint:gosec // choices are to be repeatable
}

// logIn sends the password, and uses the token of the answer in its place unless every call is to carry the password.
func (s *session) logIn(ctx context.Context) error {
	s.credentials.usePassword()
	var header metadata.MD
	if _, err := s.store(0).Ping(ctx, &orisunpb.PingRequest{}, grpc.Header(&header)); err != nil {
		return fmt.Errorf("log in as %s at %s: %w", s.config.Username, s.connections[0].Target(), err)
	}
	if s.config.Auth == AuthBasic {
		return nil
	}
	tokens := header.Get(tokenHeader)
	if len(tokens) == 0 {
		return fmt.Errorf("%s answers without a header %s: log in with --auth %s", s.connections[0].Target(), tokenHeader, AuthBasic)
	}
	s.credentials.useToken(tokens[0])
	return nil
}

const tokenHeader = "x-auth-token"

// credentials are what each call carries: gRPC reads them for every call.
type credentials struct {
	password map[string]string
	current  atomic.Pointer[map[string]string]
}

func newCredentials(username, password string) *credentials {
	c := &credentials{password: map[string]string{
		"authorization": "Basic " + base64.StdEncoding.EncodeToString([]byte(username+":"+password)),
	}}
	c.usePassword()
	return c
}

func (c *credentials) usePassword() { c.current.Store(&c.password) }

func (c *credentials) useToken(token string) { c.current.Store(&map[string]string{tokenHeader: token}) }

// GetRequestMetadata returns what the next call carries.
func (c *credentials) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return *c.current.Load(), nil
}

// RequireTransportSecurity is false: the operator of the server decides on TLS.
func (c *credentials) RequireTransportSecurity() bool { return false }

// createIndexes creates indexes for criteria on the contexts' key and on the keys of the workloads, where the server
// supports it.
func (s *session) createIndexes(ctx context.Context) error {
	if err := s.createIndex(ctx, "orisun_bench", contextKey); err != nil {
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

func (s *session) createIndex(ctx context.Context, name, key string) error {
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
