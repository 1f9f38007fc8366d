package publisher

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	// The consumer's prefetch. It drains at once: all there is to do with a message is to put it into the ring.
	prefetchMessages = 256
	prefetchBytes    = 4 << 20

	// forgottenAfter is when JetStream removes a consumer that nobody asks for messages: one that a killed node left.
	forgottenAfter = 30 * time.Second

	// requestTimeout is how long JetStream may take to make or remove a consumer. The last subscriber to leave waits for it.
	requestTimeout = 2 * time.Second
)

var errForeignStream = errors.New("the stream ends with an event that PostgreSQL does not have: it is not a copy of this database")

// consume keeps a consumer on the boundary's stream until ctx ends.
func (b *followed) consume(ctx context.Context) {
	told := false
	for ctx.Err() == nil {
		current, renew := context.WithCancel(ctx)
		err := b.stream(current, func() {
			if told {
				b.log.InfoContext(ctx, "the stream is there again")
			}
			told = false
			b.setRenew(renew)
		})
		b.setRenew(nil)
		renewed := current.Err() != nil
		renew()
		if !told && !renewed {
			b.log.WarnContext(ctx, "no stream; subscribers read from PostgreSQL", "error", err)
			told = true
		}
		rest(ctx, b.config.PollInterval)
	}
}

func (b *followed) setRenew(renew context.CancelFunc) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.renew = renew
}

// stream puts the stream's last message and all that follow into the ring. It calls ready when the consumer is there. Any error ends it:
// a new consumer costs little, and the ring proves by itself whether what it brings connects.
func (b *followed) stream(ctx context.Context, ready func()) (err error) {
	consumer, err := b.createConsumer(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.removeConsumer(consumer)) }()

	// A pull that one message alone exceeds would never get it.
	bytes := max(prefetchBytes, 2*int(b.config.JetStream.Conn().MaxPayload()))
	messages, err := consumer.Messages(jetstream.PullMaxMessagesWithBytesLimit(prefetchMessages, bytes))
	if err != nil {
		return err
	}
	defer messages.Stop()
	ready()
	for checked := false; ; checked = true {
		message, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return err
		}
		event, previous, err := Decode(message.Headers(), message.Data())
		if err != nil {
			return fmt.Errorf("message on %s: %w", message.Subject(), err)
		}
		e := newEntry(event)
		e.published = publishedIn(message.Headers())
		if !checked {
			last, err := b.lastPosition(ctx)
			if err != nil {
				return err
			}
			if last.before(e.at) {
				return errForeignStream
			}
		}
		b.add(e, previous)
	}
}

func (b *followed) createConsumer(ctx context.Context) (jetstream.Consumer, error) {
	// A request whose answer nobody waits for would leave a consumer behind: this one is not cancelled.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestTimeout)
	defer cancel()
	return b.config.JetStream.CreateConsumer(ctx, StreamName(b.name), jetstream.ConsumerConfig{
		DeliverPolicy:     jetstream.DeliverLastPolicy,
		AckPolicy:         jetstream.AckNonePolicy,
		MemoryStorage:     true,
		Replicas:          1,
		InactiveThreshold: forgottenAfter,
	})
}

// removeConsumer leaves it to forgottenAfter where JetStream is away.
func (b *followed) removeConsumer(consumer jetstream.Consumer) error {
	if !b.config.JetStream.Conn().IsConnected() {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
	defer cancel()
	info := consumer.CachedInfo()
	err := b.config.JetStream.DeleteConsumer(ctx, info.Stream, info.Name)
	if errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	return err
}
