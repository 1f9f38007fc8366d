package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/publisher"
)

// catchUpLimit is how long a healed cluster may take until its stream, or a subscriber, has all of the log.
const catchUpLimit = 60 * time.Second

// readLog reads the boundary's table, without the server's code.
func readLog(ctx context.Context, c *cluster) ([]*orisunpb.Event, error) {
	rows, err := c.admin.Query(ctx,
		`SELECT event_id, event_type, data::text, metadata::text, transaction_id, global_id, date_created
		   FROM public.`+boundary+`_orisun_es_event ORDER BY global_id`)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (*orisunpb.Event, error) {
		event := &orisunpb.Event{Position: &orisunpb.Position{}}
		var created time.Time
		err := row.Scan(&event.EventId, &event.EventType, &event.Data, &event.Metadata, &event.Position.TransactionId,
			&event.Position.GlobalId, &created)
		event.DateCreated = timestamppb.New(created)
		return event, err
	})
}

// checkLog checks the log alone: positions count from 0 without gaps, a save's events share its last position, and
// each event is there once.
func checkLog(log []*orisunpb.Event) (anomalies []string) {
	seen := map[string]int64{}
	for i, event := range log {
		at := event.GetPosition()
		if at.GetGlobalId() != int64(i) {
			return append(anomalies, fmt.Sprintf("log: the event at place %d has position %v", i, at))
		}
		if before, twice := seen[event.GetEventId()]; twice {
			anomalies = append(anomalies, fmt.Sprintf("log: event %s stands at %d and at %d", event.GetEventId(), before, i))
		}
		seen[event.GetEventId()] = int64(i)
		last := at.GetTransactionId() - 1
		if last < int64(i) || last >= int64(len(log)) || log[last].GetPosition().GetTransactionId() != at.GetTransactionId() {
			anomalies = append(anomalies,
				fmt.Sprintf("log: event %d is of a save that ends at %d, where the log does not have its end", i, last))
		}
	}
	return anomalies
}

// datedBack counts the events that are dated before the one at the previous position. That is no anomaly: positions
// define the order, and date_created is the time of PostgreSQL's clock.
func datedBack(log []*orisunpb.Event) (n int) {
	for i := 1; i < len(log); i++ {
		if log[i].GetDateCreated().AsTime().Before(log[i-1].GetDateCreated().AsTime()) {
			n++
		}
	}
	return n
}

// checkStream waits until the boundary's stream ends where the log does, and compares: from its first message on it
// is the log, message for message. It may begin later than the log. Where JetStream itself lost messages inside the
// stream, the publisher notices within seconds and lets the stream begin behind them. checkStream waits for that,
// too.
func checkStream(ctx context.Context, c *cluster, log []*orisunpb.Event) (anomalies []string) {
	ctx, cancel := context.WithTimeout(ctx, catchUpLimit)
	defer cancel()
	if len(log) == 0 {
		return nil
	}
	var last error
	for ctx.Err() == nil {
		messages, err := readStream(ctx, c.nodes[0])
		var wrong wrongStreamError
		switch {
		case err == nil:
			if last = compareStream(messages, log); last == nil {
				return nil
			}
			if errors.As(last, &wrong) {
				return []string{"stream: " + last.Error()}
			}
		case ctx.Err() == nil || last == nil:
			last = err
		}
		rest(ctx, 100*time.Millisecond)
	}
	return []string{fmt.Sprintf("stream: after %s: %v", catchUpLimit, last)}
}

// wrongStreamError is a difference that does not disappear by waiting.
type wrongStreamError string

func (w wrongStreamError) Error() string { return string(w) }

// compareStream reports how a stream differs from the log.
func compareStream(messages []*nats.Msg, log []*orisunpb.Event) error {
	next := int64(-1)
	for i, message := range messages {
		got, previous, err := publisher.Decode(message.Header, message.Data)
		if err != nil {
			return wrongStreamError(fmt.Sprintf("message %d: %v", i, err))
		}
		at := got.GetPosition().GetGlobalId()
		switch {
		case next >= 0 && at > next:
			return fmt.Errorf("message %d is event %d, after event %d", i, at, next-1)
		case next >= 0 && at != next:
			return wrongStreamError(fmt.Sprintf("message %d is event %d, after event %d", i, at, next-1))
		case at >= int64(len(log)) || previous != at-1 || !proto.Equal(got, log[at]):
			return wrongStreamError(fmt.Sprintf("message %d is %v after %d, the log has something else there", i, got, previous))
		}
		next = at + 1
	}
	end := log[len(log)-1].GetPosition().GetGlobalId()
	if len(messages) == 0 {
		return fmt.Errorf("it is empty, the log ends with event %d", end)
	}
	if next != end+1 {
		return fmt.Errorf("it ends with event %d, the log with event %d", next-1, end)
	}
	return nil
}

// readStream reads the boundary's stream in the same way as any NATS client.
func readStream(ctx context.Context, n *node) (messages []*nats.Msg, err error) {
	conn, err := nats.Connect("nats://127.0.0.1:"+strconv.Itoa(n.natsPort), nats.UserInfo("admin", "changeit"),
		nats.RootCAs(n.tlsDir()+"/ca.crt"))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	consumer, err := js.OrderedConsumer(ctx, publisher.StreamName(boundary), jetstream.OrderedConsumerConfig{})
	if err != nil {
		return nil, err
	}
	info, err := consumer.Info(ctx)
	if err != nil || info.NumPending == 0 {
		return nil, err
	}
	iterator, err := consumer.Messages()
	if err != nil {
		return nil, err
	}
	defer iterator.Stop()
	for {
		message, err := iterator.Next(jetstream.NextContext(ctx))
		if err != nil {
			return nil, err
		}
		messages = append(messages, &nats.Msg{Header: message.Headers(), Data: message.Data()})
		metadata, err := message.Metadata()
		if err != nil || metadata.NumPending == 0 {
			return messages, err
		}
	}
}

// rest waits.
func rest(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
