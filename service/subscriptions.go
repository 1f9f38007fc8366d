package service

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/oexza/orisun/db"
	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/service/auth"
	"github.com/oexza/orisun/service/consumer"
)

// SubscriptionsConfig is what Subscriptions need beside the store.
type SubscriptionsConfig struct {
	// AdminBoundary has the events that record creation, deletion and reset.
	AdminBoundary string
	// Limit is how many subscriptions a boundary may have.
	Limit int
	// Consumers are those of this node.
	Consumers *consumer.Node
	// Lag has the history of the subscriptions' lag.
	Lag *SubscriptionLag
}

// Subscriptions serves orisun.Subscriptions. Its methods are safe for concurrent use.
type Subscriptions struct {
	orisunpb.UnimplementedSubscriptionsServer

	store  *EventStore
	config SubscriptionsConfig
}

// NewSubscriptions returns a server of the subscriptions of store's boundaries.
func NewSubscriptions(store *EventStore, config SubscriptionsConfig) *Subscriptions {
	return &Subscriptions{store: store, config: config}
}

// named checks the names of a boundary and of a subscription.
func (v *violations) named(boundary, field, name string) {
	v.boundary(boundary)
	v.text(field, name, 1, maxSubscriptionBytes)
}

func actorOf(ctx context.Context) string {
	caller, _ := auth.FromContext(ctx)
	return caller.Username
}

// changed logs a change that saved an event in the admin boundary.
func (s *Subscriptions) changed(ctx context.Context, change, boundary, name string) {
	if saved := s.store.config.Saved; saved != nil {
		saved(s.config.AdminBoundary)
	}
	s.store.logChange(ctx, change, "boundary", boundary, "subscription", name)
}

// startPosition is the position after which a subscription begins.
func (s *Subscriptions) startPosition(
	ctx context.Context, boundary string, start *orisunpb.SubscriptionStart,
) (*orisunpb.Position, error) {
	switch at := start.GetStart().(type) {
	case *orisunpb.SubscriptionStart_Now:
		last, err := s.store.lastPosition(ctx, boundary)
		return &orisunpb.Position{TransactionId: last.TransactionID, GlobalId: last.GlobalID}, err
	case *orisunpb.SubscriptionStart_Time:
		found, err := s.store.queries.PositionAt(ctx, s.store.config.Read, db.PositionAtParams{
			Boundary: boundary, Time: at.Time.AsTime(),
		})
		return &orisunpb.Position{TransactionId: found.TransactionID, GlobalId: found.GlobalID}, toStatus(ctx, err)
	case *orisunpb.SubscriptionStart_AfterPosition:
		last, err := s.store.lastPosition(ctx, boundary)
		if err != nil {
			return nil, err
		}
		var v violations
		if after := at.AfterPosition.GetGlobalId(); after > last.GlobalID {
			v.add("start.after_position", "has the global_id %d, and the last event of the boundary has %d", after,
				last.GlobalID)
		}
		return at.AfterPosition, v.err()
	default:
		return &orisunpb.Position{TransactionId: -1, GlobalId: -1}, nil
	}
}

func (v *violations) start(start *orisunpb.SubscriptionStart) {
	switch at := start.GetStart().(type) {
	case *orisunpb.SubscriptionStart_Time:
		if err := at.Time.CheckValid(); err != nil {
			v.add("start.time", "is no time: %v", err)
		}
	case *orisunpb.SubscriptionStart_AfterPosition:
		if at.AfterPosition == nil {
			v.add("start.after_position", "is required")
		}
	}
}

// duration checks a duration, and returns the default where it is absent.
func (v *violations) duration(
	field string, given *durationpb.Duration, absent, least, most time.Duration,
) time.Duration {
	if given == nil {
		return absent
	}
	d := given.AsDuration()
	if given.CheckValid() != nil || d < least || d > most {
		v.add(field, "is %s, from %s to %s are allowed", d, least, most)
	}
	return d
}

// bounded checks a number, and returns the default where it is 0.
func (v *violations) bounded(field string, given uint32, absent, most int) int {
	switch {
	case given == 0:
		return absent
	case int64(given) > int64(most):
		v.add(field, "is %d, at most %d are allowed", given, most)
	}
	return int(given)
}

// storedTag and storedCriterion are criteria as orisun.subscription stores them.
type (
	storedTag struct {
		Key   string `json:"key"`
		Value string `json:"value"`
	}
	storedCriterion struct {
		Tags []storedTag `json:"tags"`
	}
)

func storeCriteria(criteria []*orisunpb.Criterion) (string, error) {
	stored := make([]storedCriterion, len(criteria))
	for i, criterion := range criteria {
		stored[i].Tags = make([]storedTag, len(criterion.GetTags()))
		for j, tag := range criterion.GetTags() {
			stored[i].Tags[j] = storedTag{tag.GetKey(), tag.GetValue()}
		}
	}
	text, err := json.Marshal(stored)
	return string(text), err
}

func loadCriteria(text string) ([]*orisunpb.Criterion, error) {
	var stored []storedCriterion
	if err := json.Unmarshal([]byte(text), &stored); err != nil {
		return nil, fmt.Errorf("criteria of a subscription: %w", err)
	}
	criteria := make([]*orisunpb.Criterion, len(stored))
	for i, criterion := range stored {
		criteria[i] = &orisunpb.Criterion{}
		for _, tag := range criterion.Tags {
			criteria[i].Tags = append(criteria[i].Tags, &orisunpb.Tag{Key: tag.Key, Value: tag.Value})
		}
	}
	return criteria, nil
}

// read returns the subscriptions of a boundary, or the one of a name, with their state.
func (s *Subscriptions) read(ctx context.Context, boundary, name string) ([]*orisunpb.Subscription, error) {
	tx, queries := s.store.config.Read, s.store.queries
	leave, err := s.store.reads.Enter(ctx, boundary)
	if err != nil {
		return nil, err
	}
	defer leave()
	rows, err := queries.ListSubscriptions(ctx, tx, db.ListSubscriptionsParams{Boundary: boundary, Name: name})
	if err != nil {
		return nil, toStatus(ctx, err)
	}
	partitions, err := queries.ListSubscriptionPartitions(ctx, tx,
		db.ListSubscriptionPartitionsParams{Boundary: boundary, Name: name})
	if err != nil {
		return nil, toStatus(ctx, err)
	}
	members, err := queries.ListSubscriptionMembers(ctx, tx,
		db.ListSubscriptionMembersParams{Boundary: boundary, Name: name})
	if err != nil {
		return nil, toStatus(ctx, err)
	}
	parked, err := queries.CountParked(ctx, tx, db.CountParkedParams{Boundary: boundary, Name: name})
	if err != nil {
		return nil, toStatus(ctx, err)
	}
	all, byName, byID := make([]*orisunpb.Subscription, len(rows)), map[string]*orisunpb.Subscription{},
		map[string]*orisunpb.SubscriptionConsumer{}
	for i, row := range rows {
		criteria, err := loadCriteria(row.Criteria)
		if err != nil {
			return nil, toStatus(ctx, err)
		}
		all[i] = &orisunpb.Subscription{
			Boundary: row.Boundary, Name: row.Name, Query: &orisunpb.Query{Criteria: criteria}, PartitionKey: row.PartitionKey,
			Partitions: uint32(row.Partitions), AckTimeout: durationpb.New(time.Duration(row.AckTimeoutMs) * time.Millisecond),
			MaxRefusals: uint32(row.MaxRefusals), ParkFollowing: row.ParkFollowing, CreatedAt: timestamppb.New(row.CreatedAt),
			Lag: &orisunpb.SubscriptionLag{},
		}
		byName[row.Name] = all[i]
	}
	for _, row := range members {
		consumer := &orisunpb.SubscriptionConsumer{
			ConsumerId: row.Member, Name: row.Name, Node: row.Node, Address: row.Address, Username: row.Username,
			ConnectedAt: timestamppb.New(row.ConnectedAt),
		}
		if in := byName[row.Subscription]; in != nil {
			in.Consumers = append(in.Consumers, consumer)
			byID[row.Member] = consumer
		}
	}
	for _, row := range partitions {
		if in := byName[row.Subscription]; in != nil {
			addPartition(in, byID[row.Member], row)
		}
	}
	for _, row := range parked {
		if in := byName[row.Subscription]; in != nil {
			in.Parked = row.Parked
		}
	}
	return all, nil
}

func addPartition(
	in *orisunpb.Subscription, consumer *orisunpb.SubscriptionConsumer, row db.ListSubscriptionPartitionsRow,
) {
	partition := &orisunpb.SubscriptionPartition{
		Partition:  uint32(row.Partition),
		Checkpoint: &orisunpb.Position{TransactionId: row.TransactionID, GlobalId: row.GlobalID},
		Lag:        &orisunpb.SubscriptionLag{Events: row.LagEvents, Seconds: row.LagSeconds}, ConsumerId: row.Member,
		Epoch: row.Epoch,
	}
	if row.OldestGlobalID >= 0 {
		partition.OldestUnacknowledged = &orisunpb.Position{
			TransactionId: row.OldestTransactionID, GlobalId: row.OldestGlobalID,
		}
	}
	in.PartitionStates = append(in.PartitionStates, partition)
	if in.GetCheckpoint() == nil || row.GlobalID < in.GetCheckpoint().GetGlobalId() {
		in.Checkpoint = partition.GetCheckpoint()
	}
	in.Lag.Events = max(in.GetLag().GetEvents(), row.LagEvents)
	in.Lag.Seconds = max(in.GetLag().GetSeconds(), row.LagSeconds)
	if consumer != nil {
		consumer.Partitions = append(consumer.Partitions, uint32(row.Partition))
	}
}

// readOne returns one subscription with its state.
func (s *Subscriptions) readOne(ctx context.Context, boundary, name string) (*orisunpb.Subscription, error) {
	found, err := s.read(ctx, boundary, name)
	if err != nil {
		return nil, err
	}
	return found[0], nil
}
