package client

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/oexza/orisun/client/internal/wire"
)

// Subscription is a durable subscription: the server stores what its consumers have acknowledged. [Client.Consume]
// processes its events.
type Subscription struct {
	// Name is unique in the boundary.
	Name string
	// Criteria say which events. Nil criteria match every event.
	Criteria Criteria
	// PartitionKey is a field of the events' data. Events with the same value keep their order, and consumers share the
	// others. Without it one consumer gets all events, and the others are standbys.
	PartitionKey string
	// Partitions is how many parts the consumers share, fixed at creation. 0 means 16 with a PartitionKey, else 1.
	Partitions int
	// AckTimeout is after how long an event that is not settled is delivered again. 0 means 30 s.
	AckTimeout time.Duration
	// MaxRefusals is how many refusals park an event. 0 means 5.
	MaxRefusals int
	// ParkFollowing parks later events of a parked event's key behind it, so that their order survives.
	ParkFollowing bool
}

// Start is where a subscription begins. The zero value is the first event of the boundary.
type Start struct{ wire *wire.SubscriptionStart }

// StartNow begins with what is saved from now on.
func StartNow() Start {
	return Start{&wire.SubscriptionStart{Start: &wire.SubscriptionStart_Now{Now: true}}}
}

// StartAfter begins after a position.
func StartAfter(p Position) Start {
	return Start{&wire.SubscriptionStart{Start: &wire.SubscriptionStart_AfterPosition{AfterPosition: p.wire()}}}
}

// StartAt begins with the first event that was saved at a time or later. Events that were saved at the same moment as
// others may come a few milliseconds before or after.
func StartAt(t time.Time) Start {
	return Start{&wire.SubscriptionStart{Start: &wire.SubscriptionStart_Time{Time: timestamppb.New(t)}}}
}

func (s Start) orBeginning() *wire.SubscriptionStart {
	if s.wire != nil {
		return s.wire
	}
	return &wire.SubscriptionStart{Start: &wire.SubscriptionStart_Beginning{Beginning: true}}
}

// SubscriptionState is a subscription as the server has it.
type SubscriptionState struct {
	Subscription
	CreatedAt time.Time
	// Checkpoint is the lowest of all partitions: every matching event up to it is acknowledged or parked.
	Checkpoint Position
	// Lag is that of the partition that is furthest behind.
	Lag Lag
	// States are those of partitions with a consumer or a lag; [Client.GetSubscription] returns all of them.
	States []PartitionState
	// Consumers are those on all nodes.
	Consumers []ConsumerState
	// Parked is how many events are parked.
	Parked int64
}

// Lag is how far a subscription is behind.
type Lag struct {
	// Events counts those after the checkpoint, whether they match or not: an upper bound.
	Events int64
	// Age is that of the first event after the checkpoint; 0 if there is none.
	Age time.Duration
}

// PartitionState is the state of one partition.
type PartitionState struct {
	Partition  int
	Checkpoint Position
	Lag        Lag
	// Consumer is the ID of the one that holds it; "" if there is none.
	Consumer string
	// Epoch grows whenever the partition gets another consumer.
	Epoch int64
	// OldestUnacknowledged is the first event that was delivered and is not acknowledged; zero if there is none.
	OldestUnacknowledged Position
}

// ConsumerState is a consumer: one call of [Client.Consume], while it is connected.
type ConsumerState struct {
	// ID is the server's, and Name what the consumer calls itself ([ConsumerName]).
	ID, Name string
	// Node has the consumer's connection, Address is the client's.
	Node, Address string
	Username      string
	ConnectedAt   time.Time
	// Partitions that it holds; none: it is a standby.
	Partitions []int
}

// CreateSubscription creates a durable subscription. The same definition again is a success and moves nothing, so a
// program may call it at each start.
//
// Errors: [ErrAlreadyExists] if the name has another definition; [ErrInvalid], [ErrNotFound], [ErrExhausted].
func (c *Client) CreateSubscription(
	ctx context.Context, boundary string, subscription Subscription, start Start,
) (SubscriptionState, error) {
	if subscription.Partitions < 0 || subscription.MaxRefusals < 0 {
		return SubscriptionState{}, fmt.Errorf("%w: Partitions (%d) and MaxRefusals (%d) must not be negative",
			ErrInvalid, subscription.Partitions, subscription.MaxRefusals)
	}
	query, err := subscription.Criteria.wire()
	if err != nil {
		return SubscriptionState{}, err
	}
	in := &wire.CreateSubscriptionRequest{
		Boundary: boundary, Name: subscription.Name, Query: query, Start: start.wire,
		PartitionKey: subscription.PartitionKey, Partitions: uint32(subscription.Partitions),
		MaxRefusals: uint32(subscription.MaxRefusals), ParkFollowing: subscription.ParkFollowing,
	}
	if subscription.AckTimeout != 0 {
		in.AckTimeout = durationpb.New(subscription.AckTimeout)
	}
	var out wire.CreateSubscriptionResponse
	err = c.call(ctx, subscriptions+"CreateSubscription", repeat, in, &out)
	return subscriptionFrom(out.GetSubscription()), err
}

// ListSubscriptions returns the durable subscriptions of a boundary by name, with their lag and their consumers.
func (c *Client) ListSubscriptions(ctx context.Context, boundary string) ([]SubscriptionState, error) {
	var out wire.ListSubscriptionsResponse
	in := &wire.ListSubscriptionsRequest{Boundary: boundary}
	if err := c.call(ctx, subscriptions+"ListSubscriptions", repeat, in, &out); err != nil {
		return nil, err
	}
	states := make([]SubscriptionState, len(out.GetSubscriptions()))
	for i, s := range out.GetSubscriptions() {
		states[i] = subscriptionFrom(s)
	}
	return states, nil
}

// GetSubscription returns one durable subscription, with its lag and its consumers.
func (c *Client) GetSubscription(ctx context.Context, boundary, name string) (SubscriptionState, error) {
	var out wire.GetSubscriptionResponse
	in := &wire.GetSubscriptionRequest{Boundary: boundary, Name: name}
	err := c.call(ctx, subscriptions+"GetSubscription", repeat, in, &out)
	return subscriptionFrom(out.GetSubscription()), err
}

// DeleteSubscription deletes a durable subscription with its checkpoints and its parked events. Its consumers end with
// [ErrNotFound].
func (c *Client) DeleteSubscription(ctx context.Context, boundary, name string) error {
	in := &wire.DeleteSubscriptionRequest{Boundary: boundary, Name: name}
	return c.call(ctx, subscriptions+"DeleteSubscription", once, in, &wire.DeleteSubscriptionResponse{})
}

// ResetSubscription moves all checkpoints of a durable subscription: back for a replay, or forward. Its consumers go on
// there. Events that are parked after that position are no longer parked: they are delivered again.
func (c *Client) ResetSubscription(ctx context.Context, boundary, name string, start Start) (SubscriptionState, error) {
	var out wire.ResetSubscriptionResponse
	in := &wire.ResetSubscriptionRequest{Boundary: boundary, Name: name, Start: start.orBeginning()}
	err := c.call(ctx, subscriptions+"ResetSubscription", once, in, &out)
	return subscriptionFrom(out.GetSubscription()), err
}

// maxCheckpointWait is the longest that the server lets one call wait.
const maxCheckpointWait = time.Minute

// WaitForCheckpoint returns when the consumers of a durable subscription have acknowledged (or parked) every event up
// to a position, such as that of a save: what they have written can then be read. That is exact, because positions are
// in the order of commits. It waits until the context's deadline or, without one, for [DefaultRetryTime], and returns
// the checkpoint.
//
// Errors: context.DeadlineExceeded, whose message says how far the subscription is; [ErrNotFound], [ErrUnavailable].
func (c *Client) WaitForCheckpoint(
	ctx context.Context, boundary, subscription string, position Position,
) (Position, error) {
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	deadline, _ := ctx.Deadline()
	for {
		// The server's answer, which says how far the subscription is, comes before the end of the context.
		left := time.Until(deadline)
		in := &wire.WaitForCheckpointRequest{
			Boundary: boundary, Subscription: subscription, Position: position.wire(),
			Timeout: durationpb.New(min(left-left/10, maxCheckpointWait)),
		}
		var out wire.WaitForCheckpointResponse
		err := c.call(ctx, subscriptions+"WaitForCheckpoint", repeat, in, &out)
		var failed *Error
		if left > maxCheckpointWait && ctx.Err() == nil && errors.As(err, &failed) && failed.Code == codes.DeadlineExceeded {
			continue
		}
		return positionFrom(out.GetCheckpoint()), err
	}
}

// ParkedEvent is an event that its subscription has set aside after too many refusals.
type ParkedEvent struct {
	Event
	Partition int
	// Key is the value of the partition key.
	Key string
	// Reason is that of the last refusal; empty for an event that was parked behind another one of its key.
	Reason string
	// Refusals is how often it was refused; 0 if it is parked behind another event of its key.
	Refusals int
	ParkedAt time.Time
	// Replaying: it is to be delivered again.
	Replaying bool
}

// ListParked returns the parked events of a durable subscription in the order of their positions, page by page. An
// error is the last element.
func (c *Client) ListParked(ctx context.Context, boundary, subscription string) iter.Seq2[ParkedEvent, error] {
	return func(yield func(ParkedEvent, error) bool) {
		in := &wire.ListParkedRequest{Boundary: boundary, Subscription: subscription, Count: DefaultPageSize}
		for {
			var out wire.ListParkedResponse
			if err := c.call(ctx, subscriptions+"ListParked", repeat, in, &out); err != nil {
				yield(ParkedEvent{}, err)
				return
			}
			for _, parked := range out.GetEvents() {
				if !yield(parkedFrom(parked), nil) {
					return
				}
				in.AfterPosition = parked.GetEvent().GetPosition()
			}
			if len(out.GetEvents()) < DefaultPageSize {
				return
			}
		}
	}
}

// ReplayParked delivers parked events again, in order, and returns how many: those at the positions or, without any,
// all of them. They are no longer parked once they are acknowledged.
func (c *Client) ReplayParked(
	ctx context.Context, boundary, subscription string, positions ...Position,
) (events int64, err error) {
	var out wire.ReplayParkedResponse
	in := &wire.ReplayParkedRequest{Boundary: boundary, Subscription: subscription, Positions: wirePositions(positions)}
	err = c.call(ctx, subscriptions+"ReplayParked", repeat, in, &out)
	return out.GetEvents(), err
}

// SkipParked removes the parked events at the positions, and returns how many. They are never delivered again.
func (c *Client) SkipParked(
	ctx context.Context, boundary, subscription string, positions ...Position,
) (events int64, err error) {
	in := &wire.SkipParkedRequest{Boundary: boundary, Subscription: subscription, Positions: wirePositions(positions)}
	return c.skip(ctx, in)
}

// SkipAllParked removes all parked events of a durable subscription, and returns how many they were.
func (c *Client) SkipAllParked(ctx context.Context, boundary, subscription string) (events int64, err error) {
	return c.skip(ctx, &wire.SkipParkedRequest{Boundary: boundary, Subscription: subscription, All: true})
}

func (c *Client) skip(ctx context.Context, in *wire.SkipParkedRequest) (int64, error) {
	var out wire.SkipParkedResponse
	err := c.call(ctx, subscriptions+"SkipParked", once, in, &out)
	return out.GetEvents(), err
}

func wirePositions(positions []Position) []*wire.Position {
	all := make([]*wire.Position, len(positions))
	for i, p := range positions {
		all[i] = p.wire()
	}
	return all
}

func parkedFrom(p *wire.ParkedEvent) ParkedEvent {
	return ParkedEvent{
		Event: eventFrom(p.GetEvent()), Partition: int(p.GetPartition()), Key: p.GetKey(), Reason: p.GetReason(),
		Refusals: int(p.GetRefusals()), ParkedAt: p.GetParkedAt().AsTime(), Replaying: p.GetReplaying(),
	}
}

func subscriptionFrom(s *wire.Subscription) SubscriptionState {
	state := SubscriptionState{
		Subscription: Subscription{
			Name: s.GetName(), Criteria: criteriaFrom(s.GetQuery()), PartitionKey: s.GetPartitionKey(),
			Partitions: int(s.GetPartitions()), AckTimeout: s.GetAckTimeout().AsDuration(),
			MaxRefusals: int(s.GetMaxRefusals()), ParkFollowing: s.GetParkFollowing(),
		},
		CreatedAt: s.GetCreatedAt().AsTime(), Checkpoint: positionFrom(s.GetCheckpoint()), Lag: lagFrom(s.GetLag()),
		Parked: s.GetParked(),
	}
	for _, p := range s.GetPartitionStates() {
		state.States = append(state.States, PartitionState{
			Partition: int(p.GetPartition()), Checkpoint: positionFrom(p.GetCheckpoint()), Lag: lagFrom(p.GetLag()),
			Consumer: p.GetConsumerId(), Epoch: p.GetEpoch(),
			OldestUnacknowledged: positionFrom(p.GetOldestUnacknowledged()),
		})
	}
	for _, consumer := range s.GetConsumers() {
		held := make([]int, len(consumer.GetPartitions()))
		for i, partition := range consumer.GetPartitions() {
			held[i] = int(partition)
		}
		state.Consumers = append(state.Consumers, ConsumerState{
			ID: consumer.GetConsumerId(), Name: consumer.GetName(), Node: consumer.GetNode(),
			Address: consumer.GetAddress(), Username: consumer.GetUsername(),
			ConnectedAt: consumer.GetConnectedAt().AsTime(), Partitions: held,
		})
	}
	return state
}

func lagFrom(l *wire.SubscriptionLag) Lag {
	return Lag{l.GetEvents(), time.Duration(l.GetSeconds() * float64(time.Second))}
}

func criteriaFrom(query *wire.Query) Criteria {
	var criteria Criteria
	for _, criterion := range query.GetCriteria() {
		var tags Criterion
		for _, tag := range criterion.GetTags() {
			tags = append(tags, Tag{tag.GetKey(), tag.GetValue()})
		}
		criteria = append(criteria, tags)
	}
	return criteria
}
