package service

import "time"

// The limits of a request. Limits on bytes ensure that PostgreSQL can handle the index entries and statements (an entry
// of a b-tree is at most 2,704 bytes). Limits on numbers bound the work of one request under a boundary's lock.
const (
	maxBoundaryBytes = 26     // so that the names of its tables fit PostgreSQL's 63 bytes, and are not cut silently
	maxNameBytes     = 256    // event_id, event_type, and a tag's key; the event table checks the first two as well
	maxTagValueBytes = 4096   // a tag's value
	maxTags          = 32     // tags in a criterion
	maxCriteria      = 256    // criteria in a request
	maxRequestTags   = 1024   // tags of all criteria in a request: the cost of a query depends on its tags
	maxEventsPerSave = 10_000 // events in a save
	// maxMetadataBytes limits metadata as PostgreSQL prints it. In a JetStream message it is a header, up to three
	// times as long. All headers together have 64 KiB, of which the other headers need 4 KiB.
	maxMetadataBytes = 20 << 10
	maxCount         = 10_000 // events in a page
	defaultCount     = 1_000  // events in a page if the request has no count

	maxDescriptionBytes = 1024 // what a boundary is for

	maxIdentifierBytes = 63 // PostgreSQL's name of a table or an index
	// maxIndexFields limits the fields of an index. It stores 128 characters of each TEXT field: an entry is at most
	// 2,704 bytes.
	maxIndexFields     = 5
	maxIndexConditions = 8    // conditions of a partial index
	maxConditionBytes  = 256  // bytes of a condition's value
	sampledEvents      = 1000 // latest events that are searched for the keys of a new index
	// maxIndexBytes limits all keys and values of an index: its definition must fit a page, as pg_index has no
	// TOAST table.
	maxIndexBytes = 2048
)

// The limits of users.
const (
	minUsername  = 3   // characters
	minPassword  = 6   // bytes; the most is auth.MaxPassword
	maxRoles     = 256 // of a user
	maxOvertaken = 5   // attempts at a change that others overtake
)

// The limits of durable subscriptions. Their number, that of their consumers and that of their parked events are
// settings: ORISUN_MAX_SUBSCRIPTIONS, ORISUN_MAX_CONSUMERS and ORISUN_MAX_PARKED_EVENTS.
const (
	maxSubscriptionBytes = 200  // name; it is part of the name of a checkpoint, which is a key in PostgreSQL
	maxPartitions        = 256  // of a subscription
	defaultPartitions    = 16   // of a subscription with a partition key
	maxRefusals          = 1000 // before an event is parked
	defaultRefusals      = 5
	defaultAckTimeout    = 30 * time.Second
	minAckTimeout        = time.Second
	maxAckTimeout        = time.Hour
	maxWindow            = 10_000 // events that are delivered and not settled
	defaultWindow        = 100
	maxParkedPage        = 1000 // events of a page of parked ones, and positions in a request about them
	defaultParkedPage    = 100
	maxDelay             = time.Hour
	maxReasonBytes       = 1024 // of a refusal; longer ones are cut, and end with an ellipsis
	maxCheckpointWait    = time.Minute
	defaultWait          = 10 * time.Second // for a checkpoint
)
