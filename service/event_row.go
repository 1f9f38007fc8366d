package service

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/encoding/protowire"
)

// The columns of orisun.event, in the order in which its functions return them.
const (
	columnGlobalID = iota
	columnTransactionID
	columnDateCreated
	columnEventID
	columnEventType
	columnData
	columnMetadata
	eventColumns
)

// Field numbers of the wire (proto/eventstore.proto): GetEventsResponse, Event, Position and Timestamp.
const (
	responseEvents = 1

	eventEventID     = 1
	eventEventType   = 2
	eventData        = 3
	eventMetadata    = 4
	eventPosition    = 6
	eventDateCreated = 7

	positionTransactionID = 1
	positionGlobalID      = 2

	timestampSeconds = 1
	timestampNanos   = 2
)

// postgresEpoch is where PostgreSQL's microseconds begin, in seconds of Unix time: 2000-01-01.
const postgresEpoch = 946_684_800

// maxPageGrowth is the number of bytes up to which a page doubles when it is full. append alone would let it grow by a
// quarter, and so copy each byte about four times.
const maxPageGrowth = 4 << 20

// appendEvent appends the current row of orisun.event to the wire form of a GetEventsResponse. It creates no
// intermediate object: for pages of a thousand events that would take longer than the rest of the call.
func appendEvent(page []byte, rows pgx.Rows) ([]byte, error) {
	row := rows.RawValues()
	if len(row) < eventColumns || len(row[columnGlobalID]) != 8 || len(row[columnTransactionID]) != 8 ||
		len(row[columnDateCreated]) != 8 {
		return page, fmt.Errorf("a row of %d columns is none of orisun.event in PostgreSQL's binary format", len(row))
	}
	globalID, transactionID := binary.BigEndian.Uint64(row[columnGlobalID]),
		binary.BigEndian.Uint64(row[columnTransactionID])
	microseconds := int64(binary.BigEndian.Uint64(row[columnDateCreated]))
	created := time.UnixMicro(microseconds)
	seconds, nanos := uint64(created.Unix()+postgresEpoch), uint64(created.Nanosecond())
	// pgx reads jsonb as text, and other columns that are not text in binary.
	data, metadata := row[columnData], row[columnMetadata]

	position := sizeVarint(positionTransactionID, transactionID) + sizeVarint(positionGlobalID, globalID)
	date := sizeVarint(timestampSeconds, seconds) + sizeVarint(timestampNanos, nanos)
	size := sizeBytes(eventEventID, len(row[columnEventID])) + sizeBytes(eventEventType, len(row[columnEventType])) +
		sizeBytes(eventData, len(data)) + sizeBytes(eventMetadata, len(metadata)) +
		sizeBytes(eventPosition, position) + sizeBytes(eventDateCreated, date)

	if needed := sizeBytes(responseEvents, size); cap(page)-len(page) < needed {
		page = slices.Grow(page, max(needed, min(len(page), maxPageGrowth)))
	}
	page = appendLength(page, responseEvents, size)
	page = appendBytes(page, eventEventID, row[columnEventID])
	page = appendBytes(page, eventEventType, row[columnEventType])
	page = appendBytes(page, eventData, data)
	page = appendBytes(page, eventMetadata, metadata)
	page = appendLength(page, eventPosition, position)
	page = appendVarint(page, positionTransactionID, transactionID)
	page = appendVarint(page, positionGlobalID, globalID)
	page = appendLength(page, eventDateCreated, date)
	page = appendVarint(page, timestampSeconds, seconds)
	return appendVarint(page, timestampNanos, nanos), nil
}

// sizeBytes is the number of bytes that appendBytes appends, the content included.
func sizeBytes(field protowire.Number, length int) int {
	return protowire.SizeTag(field) + protowire.SizeBytes(length)
}

func appendBytes(to []byte, field protowire.Number, value []byte) []byte {
	return append(appendLength(to, field, len(value)), value...)
}

// appendLength begins a field of length bytes.
func appendLength(to []byte, field protowire.Number, length int) []byte {
	return protowire.AppendVarint(protowire.AppendTag(to, field, protowire.BytesType), uint64(length))
}

// sizeVarint is the number of bytes that appendVarint appends.
func sizeVarint(field protowire.Number, value uint64) int {
	if value == 0 {
		return 0
	}
	return protowire.SizeTag(field) + protowire.SizeVarint(value)
}

// appendVarint leaves out 0, as proto3 does.
func appendVarint(to []byte, field protowire.Number, value uint64) []byte {
	if value == 0 {
		return to
	}
	return protowire.AppendVarint(protowire.AppendTag(to, field, protowire.VarintType), value)
}
