package service

// The limits of what a request may ask for. Those on bytes keep index entries and statements of a size that PostgreSQL
// handles (an entry of a b-tree is at most 2,704 bytes); those on numbers bound what one request does under a
// boundary's lock.
const (
	maxBoundaryBytes = 26     // so that the names of its tables fit PostgreSQL's 63 bytes, and are not cut in silence
	maxNameBytes     = 256    // event_id, event_type, and a tag's key; the event table checks the first two as well
	maxTagValueBytes = 4096   // a tag's value
	maxTags          = 32     // tags in a criterion
	maxCriteria      = 256    // criteria in a request
	maxEventsPerSave = 10_000 // events in a save
	maxCount         = 10_000 // events in a page
	defaultCount     = 1_000  // events in a page of which nobody said how long
)
