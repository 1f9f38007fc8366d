// Command embed runs the Orisun server inside another program, and saves an event in it.
//
//	ORISUN_PG_HOST=localhost go run ./server/examples/embed
//
// Without ORISUN_PG_HOST the server starts a PostgreSQL of its own in ./data.
package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/server"
	"github.com/oexza/orisun/server/config"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Environ(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "embed:", err)
		os.Exit(1) //nolint:gocritic // nothing is left to stop
	}
}

// run starts a server, saves an event and stops the server.
func run(ctx context.Context, environ []string, out io.Writer) (err error) {
	settings, warnings, err := config.Load(nil, environ)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: settings.Logging.Level}))
	for _, warning := range warnings {
		log.Warn(warning)
	}

	store := server.New(server.Config{Settings: settings, Log: log})
	serving, end := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- store.Run(serving) }()
	defer func() {
		end()
		err = errors.Join(err, <-ended)
	}()
	select {
	case <-store.Ready():
	case err := <-ended:
		ended <- nil
		return fmt.Errorf("start the server: %w", err)
	}

	position, err := save(ctx, store.Address().String(), settings.Admin)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "saved an event at %d/%d\n", position.GetTransactionId(), position.GetGlobalId())
	return err
}

func save(ctx context.Context, address string, admin config.Admin) (position *orisunpb.Position, err error) {
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithPerRPCCredentials(login(admin)))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	saved, err := orisunpb.NewEventStoreClient(conn).SaveEvents(ctx, &orisunpb.SaveEventsRequest{
		Boundary: "orisun_test_1",
		Events:   []*orisunpb.EventToSave{{EventId: "embedded-1", EventType: "AccountOpened", Data: `{"account_id":"a-1"}`}},
	})
	return saved.GetLogPosition(), err
}

// login sends the first admin's password with each call, without TLS: the server runs in this process.
type login config.Admin

func (l login) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{
		"authorization": "Basic " + base64.StdEncoding.EncodeToString([]byte(l.Username+":"+l.Password)),
	}, nil
}

func (login) RequireTransportSecurity() bool { return false }
