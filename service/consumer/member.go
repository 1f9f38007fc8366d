package consumer

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	orisunpb "github.com/oexza/orisun/proto"
)

// TooLargeError is the error of an event that fits no response.
type TooLargeError struct{ Position *orisunpb.Position }

func (*TooLargeError) Error() string { return "the event is larger than a response may be" }

// Definition is a subscription as its consumers need it.
type Definition struct {
	Boundary, Name, Generation string
	Criteria                   []*orisunpb.Criterion
	PartitionKey               string
	Partitions                 int
	AckTimeout                 time.Duration
	MaxRefusals                int
	ParkFollowing              bool
}

// Client is what a consumer says of itself.
type Client struct {
	Name, Address, UserID, Username string
	Window                          int
}

// Member is a consumer: one stream, on this node. Its methods are safe for concurrent use.
type Member struct {
	ID     string
	Client Client

	node *Node
	def  Definition
	wake chan struct{} // of room for one
	room chan struct{} // the same, for the reader
	// dirty: there may be checkpoints to save.
	dirty atomic.Bool

	mu         sync.Mutex
	partitions map[int32]*partition
	releasing  map[int32]int64             // epochs of partitions that were given up, and PostgreSQL does not know yet
	released   map[int32]int64             // the last such epoch of each partition: it does not begin again
	frames     []*orisunpb.ConsumeResponse // to send before any deliveries
	buffered   int
	bytes      int
	looked     Position
	caughtUp   bool
	// saidCaughtUp: the client knows it.
	saidCaughtUp bool
	sentAt       time.Time // the last response with events
	awaited      int       // how many more events that arrive are worth a response; 0 for the next one
	moved        bool      // looked, since the last progress
	scannedAt    time.Time // the last look for events to deliver again
	progressAt   time.Time // the last progress
	ended        error
	// lost: acknowledgements of a partition that was revoked are not stored, and the client does not know yet that it
	// was.
	lost       bool
	loggedFull time.Time // that no more events can be parked
	// replayFailing: it was logged that replays cannot be read. Only Run uses it.
	replayFailing bool

	left      bool // no reader begins any more
	endReader context.CancelFunc
	reader    sync.WaitGroup
}

// Boundary is that of the consumer's subscription.
func (m *Member) Boundary() string { return m.def.Boundary }

func (m *Member) group() group { return group{m.def.Boundary, m.def.Name} }

func (m *Member) wakeUp() { signal(m.wake) }

// end ends Run with an error.
func (m *Member) end(err error) {
	m.mu.Lock()
	if m.ended == nil {
		m.ended = err
	}
	m.mu.Unlock()
	m.wakeUp()
}

// ErrReset and ErrDeleted end the consumers of a subscription.
var (
	ErrReset   = errors.New("the subscription was reset")
	ErrDeleted = errors.New("the subscription was deleted")
)
