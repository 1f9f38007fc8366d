// Package service answers the RPCs: it checks what comes from the wire, calls one SQL function, and puts the answer on the wire.
// One RPC has one file, named after it. The rules of the store live in the SQL functions, not here.
//
// Failure modes: a field that breaks a rule is INVALID_ARGUMENT with every violation's path (violations.go); what
// PostgreSQL answers becomes a status in one table (errors.go); anything unforeseen is INTERNAL with a generic text, and
// its cause is what the returned error says to the log (Cause).
package service

import (
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/oexza/orisun/db"
	orisunpb "github.com/oexza/orisun/proto"
)

// Config is what an EventStore needs.
type Config struct {
	// Write is where saves run, Read where questions do.
	Write, Read *pgxpool.Pool
	// MaxEventBytes is the most that an event may take in a message of the outbox: the NATS payload limit.
	MaxEventBytes int
	// MaxPageBytes is the most that an answer may take on the wire: the gRPC send limit.
	MaxPageBytes int
	// Info is what GetServerInfo answers.
	Info *orisunpb.GetServerInfoResponse
}

// EventStore serves orisun.EventStore. Its methods are safe for concurrent use.
type EventStore struct {
	orisunpb.UnimplementedEventStoreServer

	config  Config
	queries *db.Queries
}

// NewEventStore returns a server over the pools of config, which stay the caller's to close.
func NewEventStore(config Config) *EventStore {
	return &EventStore{config: config, queries: db.New()}
}
