package publisher

import (
	"errors"
	"fmt"
	"math"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/types/known/timestamppb"

	orisunpb "github.com/oexza/orisun/proto"
)

// The headers of a message: a CloudEvent in binary mode of the NATS protocol binding. The extensions are text, as
// CloudEvents has no integer beyond 32 bits.
const (
	headerSpecVersion      = "ce-specversion"
	headerID               = "ce-id"
	headerType             = "ce-type"
	headerSource           = "ce-source"
	headerTime             = "ce-time"
	headerContentType      = "ce-datacontenttype"
	headerTransactionID    = "ce-transactionid"
	headerGlobalID         = "ce-globalid"
	headerPreviousGlobalID = "ce-previousglobalid"
	headerMetadata         = "ce-metadata"

	// headerTruncated is "true" on a stub: a message without data and metadata, whose event only PostgreSQL has.
	headerTruncated = "orisun-truncated"

	specVersion = "1.0"
	contentType = "application/json"
)

const (
	subjectPrefix = "orisun.events."
	streamPrefix  = "ORISUN_"
)

const (
	// maxHeaderBytes is the most that JetStream takes of headers, whatever the payload limit; 64 KiB less 1.
	maxHeaderBytes = 1<<16 - 1

	// maxStoredBytes is the most that JetStream's file store takes of a message, headers and data: a record has at most
	// 32 MiB, and this leaves room for its subject and frame.
	maxStoredBytes = 32<<20 - 8<<10

	// fenceBytes are the headers that are set only when a message is sent: the sequence expected before it, of at most
	// 20 digits, and the id, which is that of a boundary of at most 26 bytes and a number of at most 20.
	fenceBytes = len(nats.ExpectedLastSeqHdr+": "+"\r\n") + 20 + len(nats.ExpectedLastMsgIdHdr+": "+"\r\n") + 26 + 1 + 20
)

// NoPrevious is the previous global_id of a boundary's first event.
const NoPrevious int64 = -1

// StreamName is the name of the JetStream stream of a boundary. A boundary's name holds nothing that NATS reserves.
func StreamName(boundary string) string { return streamPrefix + boundary }

// Subjects is the wildcard for all subjects of a boundary.
func Subjects(boundary string) string { return subjectPrefix + boundary + ".>" }

// Subject is where an event is published: orisun.events.<boundary>.<event_type>. The type is one token: every byte of
// it but A-Z a-z 0-9 _ - ~ is percent-encoded, so that url.PathUnescape gives it back. As a type has at most 256 bytes,
// a subject has at most 14 + 26 + 1 + 768 and fits in a line of the NATS protocol (4,096).
func Subject(boundary, eventType string) string {
	return subjectPrefix + boundary + "." + percentEncode(eventType, isTokenByte)
}

// messageID is the Nats-Msg-Id of an event.
func messageID(boundary string, globalID int64) string {
	return boundary + ":" + strconv.FormatInt(globalID, 10)
}

// Encode makes the message of an event; previous is the global_id of the event before it in the boundary, or
// NoPrevious. source is the CloudEvents source: a URI reference that names the boundary, the same on all nodes. The
// body is the event's data, untouched.
func Encode(boundary, source string, event *orisunpb.Event, previous int64) *nats.Msg {
	return &nats.Msg{
		Subject: Subject(boundary, event.GetEventType()),
		Header: nats.Header{
			nats.MsgIdHdr:          {messageID(boundary, event.GetPosition().GetGlobalId())},
			headerSpecVersion:      {specVersion},
			headerID:               {percentEncode(event.GetEventId(), isHeaderByte)},
			headerType:             {percentEncode(event.GetEventType(), isHeaderByte)},
			headerSource:           {percentEncode(source, isHeaderByte)},
			headerTime:             {event.GetDateCreated().AsTime().Format(time.RFC3339Nano)},
			headerContentType:      {contentType},
			headerTransactionID:    {strconv.FormatInt(event.GetPosition().GetTransactionId(), 10)},
			headerGlobalID:         {strconv.FormatInt(event.GetPosition().GetGlobalId(), 10)},
			headerPreviousGlobalID: {strconv.FormatInt(previous, 10)},
			headerMetadata:         {percentEncode(event.GetMetadata(), isHeaderByte)},
		},
		Data: []byte(event.GetData()),
	}
}

// Source is the CloudEvents source of a boundary's events: a URI reference that names the store, the same on all of its
// nodes.
func Source(storeID, boundary string) string { return "/orisun/" + storeID + "/" + boundary }

// comesFrom reports whether a message has this source.
func comesFrom(header nats.Header, source string) bool { return header.Get(headerSource) == source }

// Decode reads what Encode made. The event's data is empty exactly when the message is a stub (see Truncate): then its
// metadata is missing as well, and PostgreSQL has both. An error says which header is missing or malformed: the message
// is not one of ours.
func Decode(header nats.Header, data []byte) (event *orisunpb.Event, previous int64, err error) {
	d := decoder{header: header}
	event = &orisunpb.Event{
		EventId:   d.text(headerID),
		EventType: d.text(headerType),
		Data:      string(data),
		Position: &orisunpb.Position{
			TransactionId: d.integer(headerTransactionID),
			GlobalId:      d.integer(headerGlobalID),
		},
		DateCreated: d.time(headerTime),
	}
	previous = d.integer(headerPreviousGlobalID)
	if header.Get(headerTruncated) == "" {
		event.Metadata = d.text(headerMetadata)
		if len(data) == 0 {
			d.fail("the body", "is empty")
		}
	}
	if err := errors.Join(d.errs...); err != nil {
		return nil, 0, fmt.Errorf("not a message of Orisun: %w", err)
	}
	return event, previous, nil
}

// Truncate makes a stub of a message that is too large for the stream: its event has its place in the stream, and a
// reader fetches its data and metadata from PostgreSQL. A stub's headers take less than 4 KiB.
func Truncate(message *nats.Msg) {
	message.Data = nil
	message.Header.Del(headerMetadata)
	message.Header.Set(headerTruncated, "true")
}

// MessageSize is the most bytes, headers and data, that the message of an event can take: to compare with the payload
// limit of NATS, and with MaxMessageSize. data and metadata are the lengths of the documents as PostgreSQL prints them.
// Metadata counts threefold, as each of its bytes may have to be percent-encoded.
func MessageSize(boundary, source, eventID, eventType string, data, metadata int) int {
	return emptyMessage + len(boundary) + encodedLen(source, isHeaderByte) +
		encodedLen(eventID, isHeaderByte) + encodedLen(eventType, isHeaderByte) + data + 3*metadata
}

// traceBytes are those of the header that a sampled event has.
const traceBytes = len(headerTraceParent+": "+"\r\n") + len("00-00000000000000000000000000000000-0000000000000000-00")

// emptyMessage is the size of a message of which every text is empty, and every number and the time as long as it can
// be.
var emptyMessage = traceBytes + sizeOf(Encode("", "", &orisunpb.Event{
	Position: &orisunpb.Position{TransactionId: math.MinInt64, GlobalId: math.MinInt64},
	// Microseconds, as PostgreSQL has them; a year has four digits.
	DateCreated: timestamppb.New(time.Date(2000, 1, 1, 0, 0, 0, 999_999_000, time.UTC)),
}, math.MinInt64))

// MaxMessageSize is the most that a message can have where the payload limit of NATS is maxPayload: what is larger is
// published as a stub.
func MaxMessageSize(maxPayload int) int { return min(maxPayload, maxStoredBytes) }

// messageLimit is MaxMessageSize in a stream that keeps at most maxBytes, 0 for no limit.
func messageLimit(maxPayload, maxBytes int64) int {
	limit := MaxMessageSize(int(maxPayload))
	if maxBytes > 0 {
		limit = min(limit, int(maxBytes/2))
	}
	return limit
}

// sizeOf is what NATS compares with its payload limit, once the message is sent.
func sizeOf(message *nats.Msg) int { return message.Size() - len(message.Subject) + fenceBytes }

type decoder struct {
	header nats.Header
	errs   []error
}

func (d *decoder) fail(what, format string, args ...any) {
	d.errs = append(d.errs, fmt.Errorf("%s %s", what, fmt.Sprintf(format, args...)))
}

func (d *decoder) text(name string) string {
	value := d.header.Get(name)
	text, err := url.PathUnescape(value)
	if value == "" || err != nil {
		d.fail(name, "is %q, not percent-encoded text", value)
	}
	return text
}

func (d *decoder) integer(name string) int64 {
	number, err := strconv.ParseInt(d.header.Get(name), 10, 64)
	if err != nil {
		d.fail(name, "is %q, not an integer of 64 bits", d.header.Get(name))
	}
	return number
}

func (d *decoder) time(name string) *timestamppb.Timestamp {
	at, err := time.Parse(time.RFC3339Nano, d.header.Get(name))
	if err != nil {
		d.fail(name, "is %q, not a time of RFC 3339", d.header.Get(name))
	}
	return timestamppb.New(at)
}

// isTokenByte reports whether a byte stands for itself in a token of a subject: no dot, no wildcard, no space.
func isTokenByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-' || c == '~'
}

// isHeaderByte reports whether a byte stands for itself in a header: CloudEvents takes printable ASCII but for space,
// quote and percent.
func isHeaderByte(c byte) bool { return c > ' ' && c <= '~' && c != '"' && c != '%' }

// encodedLen is the length of what percentEncode makes of text.
func encodedLen(text string, plain func(byte) bool) int {
	length := len(text)
	for i := range len(text) {
		if !plain(text[i]) {
			length += 2
		}
	}
	return length
}

func percentEncode(text string, plain func(byte) bool) string {
	length := encodedLen(text, plain)
	if length == len(text) {
		return text
	}
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	b.Grow(length)
	for i := range len(text) {
		if c := text[i]; plain(c) {
			b.WriteByte(c)
		} else {
			b.WriteByte('%')
			b.WriteByte(digits[c>>4])
			b.WriteByte(digits[c&15])
		}
	}
	return b.String()
}
