package publisher_test

import (
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/publisher"
)

// name draws what PostgreSQL stores as an event_id or event_type: 1 to 256 bytes of UTF-8 without NUL, with a liking
// for what could break a subject or a header.
func name() *rapid.Generator[string] {
	nasty := rapid.SampledFrom([]rune(".*> \t\r\n%:\"\\\u007f\u00e4\u2028\U0001f600aZ09-_~$\x01"))
	return rapid.Custom(func(t *rapid.T) string {
		runes := rapid.SliceOfN(rapid.OneOf(nasty, rapid.Rune()), 1, 64).Draw(t, "runes")
		text := strings.Map(func(r rune) rune {
			if r == 0 || !utf8.ValidRune(r) {
				return 'x'
			}
			return r
		}, string(runes))
		for len(text) > 256 {
			_, last := utf8.DecodeLastRuneInString(text)
			text = text[:len(text)-last]
		}
		return text
	})
}

func document() *rapid.Generator[string] {
	return rapid.Map(name(), func(text string) string {
		quoted := strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\r", `\r`, "\t", `\t`, "\x01", `\u0001`).
			Replace(text)
		return `{"text": "` + quoted + `", "n": 12345678901234567890}`
	})
}

func anEvent() *rapid.Generator[*orisunpb.Event] {
	return rapid.Custom(func(t *rapid.T) *orisunpb.Event {
		return &orisunpb.Event{
			EventId:   name().Draw(t, "event_id"),
			EventType: name().Draw(t, "event_type"),
			Data:      document().Draw(t, "data"),
			Metadata:  document().Draw(t, "metadata"),
			Position: &orisunpb.Position{
				TransactionId: rapid.Int64Min(0).Draw(t, "transaction_id"),
				GlobalId:      rapid.Int64Min(0).Draw(t, "global_id"),
			},
			DateCreated: timestamppb.New(time.UnixMicro(rapid.Int64Range(-62135596800000000, 253402300799999999).
				Draw(t, "created"))),
		}
	})
}

// The message goes over a connection, as NATS has its own ideas of what a header and a subject may hold.
func TestNoEventIsChangedByItsWayThroughNATS(t *testing.T) {
	conn := connect(t, startNATS(t, t.TempDir()))
	received, err := conn.SubscribeSync(publisher.Subjects("some-Boundary_1"))
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		event := anEvent().Draw(t, "event")
		previous := rapid.Int64Min(-1).Draw(t, "previous")
		source := "/" + name().Draw(t, "source")
		message := publisher.Encode("some-Boundary_1", source, event, previous)
		if err := conn.PublishMsg(message); err != nil {
			t.Fatal(err)
		}
		arrived, err := received.NextMsg(testTimeout)
		if err != nil {
			t.Fatalf("subject %q: %v", message.Subject, err)
		}
		got, before, err := publisher.Decode(arrived.Header, arrived.Data)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(event, got, protocmp.Transform()); diff != "" || before != previous {
			t.Fatalf("previous %d, want %d; event (-sent +received):\n%s", before, previous, diff)
		}
		if most, size := publisher.MessageSize("some-Boundary_1", source, event.GetEventId(), event.GetEventType(),
			len(event.GetData()), len(event.GetMetadata())), arrived.Size()-len(arrived.Subject); size > most {
			t.Fatalf("the message has %d bytes, MessageSize says at most %d", size, most)
		}
	})
}

func TestASubjectIsOneTokenForEachTypeAndNamesTheType(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		eventType := name().Draw(t, "event_type")
		subject := publisher.Subject("orders", eventType)
		tokens := strings.Split(subject, ".")
		if len(tokens) != 4 || strings.ContainsAny(subject, "*> \t\r\n") ||
			len(subject) > len("orisun.events.orders.")+3*256 {
			t.Fatalf("subject %q", subject)
		}
		if back, err := url.PathUnescape(tokens[3]); err != nil || back != eventType {
			t.Fatalf("type %q comes back as %q (%v)", eventType, back, err)
		}
	})
}

// These are for other people's programs: they do not change.
func TestAMessageIsACloudEventInBinaryMode(t *testing.T) {
	event := &orisunpb.Event{
		EventId: "user-001", EventType: "User Registered 100%", Data: `{"email": "a@example.com"}`, Metadata: `{"by": "ä"}`,
		Position:    &orisunpb.Position{TransactionId: 8, GlobalId: 7},
		DateCreated: timestamppb.New(time.Date(2026, 1, 2, 3, 4, 5, 678900000, time.UTC)),
	}
	message := publisher.Encode("users", "/orisun/users", event, 6)
	want := nats.Header{
		"Nats-Msg-Id":         {"users:7"},
		"ce-specversion":      {"1.0"},
		"ce-id":               {"user-001"},
		"ce-type":             {"User%20Registered%20100%25"},
		"ce-source":           {"/orisun/users"},
		"ce-time":             {"2026-01-02T03:04:05.6789Z"},
		"ce-datacontenttype":  {"application/json"},
		"ce-transactionid":    {"8"},
		"ce-globalid":         {"7"},
		"ce-previousglobalid": {"6"},
		"ce-metadata":         {"{%22by%22:%20%22%C3%A4%22}"},
	}
	if diff := cmp.Diff(want, message.Header); diff != "" {
		t.Errorf("headers (-want +got):\n%s", diff)
	}
	if message.Subject != "orisun.events.users.User%20Registered%20100%25" || string(message.Data) != event.GetData() {
		t.Errorf("subject %q, body %q", message.Subject, message.Data)
	}

	publisher.Truncate(message)
	stub, previous, err := publisher.Decode(message.Header, message.Data)
	if err != nil {
		t.Fatal(err)
	}
	event.Data, event.Metadata = "", ""
	if diff := cmp.Diff(event, stub, protocmp.Transform()); diff != "" || previous != 6 ||
		message.Header.Get("orisun-truncated") != "true" {
		t.Errorf("stub: previous %d, headers %v, event (-want +got):\n%s", previous, message.Header, diff)
	}
}

func TestAForeignMessageIsNotTakenForAnEvent(t *testing.T) {
	whole := func() *nats.Msg {
		return publisher.Encode("users", "/orisun/users", &orisunpb.Event{
			EventId: "1", EventType: "T", Data: "{}", Metadata: "{}", Position: &orisunpb.Position{TransactionId: 1},
			DateCreated: timestamppb.Now(),
		}, publisher.NoPrevious)
	}
	for _, header := range []string{
		"ce-id", "ce-type", "ce-time", "ce-transactionid", "ce-globalid", "ce-previousglobalid", "ce-metadata",
	} {
		message := whole()
		message.Header.Del(header)
		if _, _, err := publisher.Decode(message.Header, message.Data); err == nil || !strings.Contains(err.Error(), header) {
			t.Errorf("without %s: %v", header, err)
		}
	}
	message := whole()
	if _, _, err := publisher.Decode(message.Header, nil); err == nil {
		t.Error("an event without data is accepted")
	}
	if _, _, err := publisher.Decode(nil, []byte("hello")); err == nil {
		t.Error("a message without headers is accepted")
	}
}
