package main

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/oexza/orisun/migrations/pgtest"
	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/publisher"
)

// pgTool runs pg_dump or pg_restore, those of the tests' PostgreSQL.
func pgTool(t *testing.T, config *pgx.ConnConfig, name string, args ...string) {
	t.Helper()
	conn, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	var version int
	if err := conn.QueryRow(t.Context(), "SELECT current_setting('server_version_num')::integer / 10000").
		Scan(&version); err != nil {
		t.Fatal(err)
	}
	if err := conn.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	program := name
	if found, err := filepath.Glob(fmt.Sprintf("/usr/lib/postgresql/%d/bin/%s", version, name)); err == nil &&
		len(found) == 1 {
		program = found[0]
	}
	cmd := exec.CommandContext(t.Context(), program,
		append([]string{"-h", config.Host, "-p", strconv.Itoa(int(config.Port)), "-U", config.User, "-d", config.Database},
			args...)...)
	cmd.Env = []string{"PGPASSWORD=" + config.Password}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

func saveMany(t *testing.T, store orisunpb.EventStoreClient, prefix string, n int) {
	t.Helper()
	for i := range n {
		saveTraced(t.Context(), t, store, fmt.Sprintf("%s-%d", prefix, i))
	}
}

// After a restore, JetStream's copy may be gone, or belong to the database as it was later: neither may make a
// subscriber or a reader of the stream miss an event or see one twice.
func TestADumpRestoredElsewhereIsFollowedFromWhereEverybodyWas(t *testing.T) {
	for _, keepsNATS := range []bool{false, true} {
		t.Run(fmt.Sprintf("with the old NATS directory: %t", keepsNATS), func(t *testing.T) {
			config, data := pgtest.Clone(t), t.TempDir()
			first := launch(t, environment(data, append(outside(config), "ORISUN_ADMIN_PASSWORD=changeit")...))
			saveMany(t, connect(t, first.address), "before", 20)
			var seen *orisunpb.Position
			ctx, leave := context.WithCancel(t.Context())
			subscription := subscribeNamed(ctx, t, first, &orisunpb.Position{TransactionId: -1, GlobalId: -1})
			for range 12 {
				event, err := subscription.Recv()
				if err != nil {
					t.Fatal(err)
				}
				seen = event.GetPosition()
			}
			leave()
			dump := t.TempDir() + "/dump"
			pgTool(t, config, "pg_dump", "-Fc", "-f", dump)
			saveMany(t, connect(t, first.address), "lost", 5) // after the dump: the restored log never had them
			first.stop(t, syscall.SIGTERM)

			restored := pgtest.NewEmpty(t)
			pgTool(t, restored, "pg_restore", "--no-owner", dump)
			if !keepsNATS {
				data = t.TempDir()
			}
			port := freePort(t)
			second := launch(t, environment(data, append(outside(restored), "ORISUN_NATS_PORT="+strconv.Itoa(port))...))
			resumed := subscribeNamed(t.Context(), t, second, seen)
			saveMany(t, connect(t, second.address), "after", 5)
			for want := seen.GetGlobalId() + 1; want < 25; want++ {
				event, err := resumed.Recv()
				if err != nil {
					t.Fatal(err)
				}
				id := fmt.Sprintf("before-%d", want)
				if want >= 20 {
					id = fmt.Sprintf("after-%d", want-20)
				}
				if event.GetPosition().GetGlobalId() != want || event.GetEventId() != id {
					t.Fatalf("the subscriber gets event %d (%s), want %d (%s)",
						event.GetPosition().GetGlobalId(), event.GetEventId(), want, id)
				}
			}
			compareOutbox(t, port, 25)
		})
	}
}

func subscribeNamed(
	ctx context.Context, t *testing.T, server *process, after *orisunpb.Position,
) orisunpb.EventStore_CatchUpSubscribeToEventsClient {
	t.Helper()
	stream, err := connect(t, server.address).CatchUpSubscribeToEvents(ctx, &orisunpb.CatchUpSubscribeToEventStoreRequest{
		Boundary: "orisun_test_1", AfterPosition: after, SubscriberName: "projector",
	})
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

// compareOutbox waits until the stream ends with the last of so many events, and fails unless it is an unbroken end of
// the log.
func compareOutbox(t *testing.T, port int, events int64) {
	t.Helper()
	js := dialStreams(t, port)
	stream := publisher.StreamName("orisun_test_1")
	// Until the publisher has looked, an old stream is as it was.
	waitFor(t, func() bool {
		held, err := js.Stream(t.Context(), stream)
		if err != nil {
			return false
		}
		last, err := held.GetLastMsgForSubject(t.Context(), publisher.Subjects("orisun_test_1"))
		if err != nil {
			return false
		}
		event, _, err := publisher.Decode(last.Header, last.Data)
		return err == nil && event.GetEventId() == "after-4"
	})
	consumer, err := js.OrderedConsumer(t.Context(), stream, jetstream.OrderedConsumerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	messages, err := consumer.Messages()
	if err != nil {
		t.Fatal(err)
	}
	defer messages.Stop()
	for last := int64(-2); last < events-1; {
		message, err := messages.Next(jetstream.NextMaxWait(startTimeout))
		if err != nil {
			t.Fatalf("after event %d: %v", last, err)
		}
		event, previous, err := publisher.Decode(message.Headers(), message.Data())
		if err != nil {
			t.Fatal(err)
		}
		if last >= -1 && (previous != last || event.GetPosition().GetGlobalId() != last+1) {
			t.Fatalf("event %d follows event %d, and says it follows %d", event.GetPosition().GetGlobalId(), last, previous)
		}
		if id := event.GetEventId(); len(id) > 4 && id[:4] == "lost" {
			t.Fatalf("the stream has %s, which is not in the log", id)
		}
		last = event.GetPosition().GetGlobalId()
	}
}
