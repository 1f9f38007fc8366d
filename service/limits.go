package service

// The limits of what a request may ask for. Those on bytes keep index entries and statements of a size that PostgreSQL
// handles (an entry of a b-tree is at most 2,704 bytes); those on numbers bound what one request does under a
// boundary's lock.
const (
	maxBoundaryBytes = 26       // so that the names of its tables fit PostgreSQL's 63 bytes, and are not cut in silence
	maxNameBytes     = 256      // event_id, event_type, and a tag's key; the event table checks the first two as well
	maxTagValueBytes = 4096     // a tag's value
	maxTags          = 32       // tags in a criterion
	maxCriteria      = 256      // criteria in a request
	maxRequestTags   = 1024     // tags of all criteria in a request: what a query costs is that of its tags
	maxEventsPerSave = 10_000   // events in a save
	maxMetadataBytes = 20 << 10 // metadata as PostgreSQL prints it: in a JetStream message it is a header, threefold at worst, and headers have 64 KiB less 4 for the others
	maxCount         = 10_000   // events in a page
	defaultCount     = 1_000    // events in a page of which nobody said how long

	maxDescriptionBytes = 1024 // what a boundary is for

	maxIdentifierBytes = 63   // PostgreSQL's name of a table or an index
	maxIndexFields     = 5    // fields of an index, of which each TEXT keeps 128 characters: an entry is at most 2,704 bytes
	maxIndexConditions = 8    // conditions of a partial index
	maxConditionBytes  = 256  // the value of one
	sampledEvents      = 1000 // latest events in which the keys of a new index are looked for
	maxIndexBytes      = 2048 // all keys and values of an index: its definition must fit a page, pg_index keeps nothing beside it
)

// The limits of users.
const (
	minUsername  = 3   // characters
	minPassword  = 6   // bytes; the most is auth.MaxPassword
	maxRoles     = 256 // of a user
	maxOvertaken = 5   // attempts at a change that others overtake
)
