package auth_test

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"

	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/service/auth"
)

// eventStore returns its caller: in the trailer, as its answers have no room for it.
type eventStore struct {
	orisunpb.UnimplementedEventStoreServer
}

func (eventStore) Ping(ctx context.Context, _ *orisunpb.PingRequest) (*orisunpb.PingResponse, error) {
	return &orisunpb.PingResponse{}, grpc.SetTrailer(ctx, caller(ctx))
}

func (eventStore) SaveEvents(context.Context, *orisunpb.SaveEventsRequest) (*orisunpb.WriteResult, error) {
	return nil, status.Error(codes.AlreadyExists, "the context changed")
}

func (eventStore) CatchUpSubscribeToEvents(
	_ *orisunpb.CatchUpSubscribeToEventStoreRequest, stream grpc.ServerStreamingServer[orisunpb.Event],
) error {
	stream.SetTrailer(caller(stream.Context()))
	return stream.Send(&orisunpb.Event{EventId: "e1"})
}

func caller(ctx context.Context) metadata.MD {
	identity, ok := auth.FromContext(ctx)
	if !ok {
		return nil
	}
	return metadata.Pairs("caller-bin", identity.Username, "roles-bin", strings.Join(identity.Roles, ","))
}

type client struct {
	orisunpb.EventStoreClient
	conn *grpc.ClientConn
}

// serve starts a gRPC server behind the authenticator and connects to it.
func serve(t *testing.T, authenticator *auth.Authenticator) *client {
	t.Helper()
	server := grpc.NewServer(grpc.UnaryInterceptor(authenticator.UnaryInterceptor),
		grpc.StreamInterceptor(authenticator.StreamInterceptor))
	orisunpb.RegisterEventStoreServer(server, eventStore{})
	grpc_health_v1.RegisterHealthServer(server, health.NewServer())
	reflection.Register(server)

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		err := conn.Close()
		server.Stop()
		if err := errors.Join(err, <-ended); err != nil {
			t.Error(err)
		}
	})
	return &client{orisunpb.NewEventStoreClient(conn), conn}
}

// wantLetIn makes a call and opens a stream, checks whom the handlers saw, and returns the token of the last answer.
func (c *client) wantLetIn(t *testing.T, username string, sent ...string) (token string) {
	t.Helper()
	var header, trailer metadata.MD
	if _, err := c.Ping(outgoing(t, sent...), &orisunpb.PingRequest{}, grpc.Header(&header),
		grpc.Trailer(&trailer)); err != nil {
		t.Fatal(err)
	}
	only(t, header)
	wantCaller(t, trailer, username)

	stream, err := c.CatchUpSubscribeToEvents(outgoing(t, sent...), &orisunpb.CatchUpSubscribeToEventStoreRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if header, err = stream.Header(); err != nil {
		t.Fatal(err)
	}
	token = only(t, header)
	if event, err := stream.Recv(); err != nil || event.GetEventId() != "e1" {
		t.Errorf("stream: %v, %v", event, err)
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("end of the stream: %v", err)
	}
	wantCaller(t, stream.Trailer(), username)
	return token
}

func wantCaller(t *testing.T, trailer metadata.MD, username string) {
	t.Helper()
	if !slices.Equal(trailer.Get("caller-bin"), []string{username}) ||
		!slices.Equal(trailer.Get("roles-bin"), []string{auth.RoleAdmin}) {
		t.Errorf("the handler saw %q with roles %q, wanted %q", trailer.Get("caller-bin"), trailer.Get("roles-bin"), username)
	}
}

// only returns the one token of an answer.
func only(t *testing.T, header metadata.MD) string {
	t.Helper()
	tokens := header.Get("x-auth-token")
	if len(tokens) != 1 || tokens[0] == "" {
		t.Fatalf("tokens %q in the header, wanted one", tokens)
	}
	return tokens[0]
}

func (c *client) wantRefused(t *testing.T, sent ...string) {
	t.Helper()
	const message = "credentials are missing, wrong or expired: send metadata 'authorization: Basic " +
		"base64(username:password)', or the 'x-auth-token' of an earlier answer"
	var header, trailer metadata.MD
	_, err := c.Ping(outgoing(t, sent...), &orisunpb.PingRequest{}, grpc.Header(&header), grpc.Trailer(&trailer))
	if !isUnauthenticated(err) || status.Convert(err).Message() != message {
		t.Errorf("call: %v", err)
	}
	if tokens := slices.Concat(header.Get("x-auth-token"), trailer.Get("x-auth-token")); len(tokens) > 0 {
		t.Errorf("call: refused with tokens %q", tokens)
	}

	stream, err := c.CatchUpSubscribeToEvents(outgoing(t, sent...), &orisunpb.CatchUpSubscribeToEventStoreRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); !isUnauthenticated(err) || status.Convert(err).Message() != message {
		t.Errorf("stream: %v", err)
	}
	if tokens := stream.Trailer().Get("x-auth-token"); len(tokens) > 0 {
		t.Errorf("stream: refused with tokens %q", tokens)
	}
}
