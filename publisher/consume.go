package publisher

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
)

// What may wait for the ring. It drains at once: all there is to do with a message is to put it there. What comes
// beyond is lost to the ring, which begins again then.
const (
	waitingMessages = 8192
	waitingBytes    = 4 << 20
)

var errForeignEvent = errors.New("an event is published that PostgreSQL does not have")

// consume listens to what is published of the boundary until ctx ends.
func (b *followed) consume(ctx context.Context) {
	isLogged := false
	for ctx.Err() == nil {
		err := b.listen(ctx, func() {
			if isLogged {
				b.log.InfoContext(ctx, "events come by NATS again")
			}
			isLogged = false
		})
		b.setStreaming(false)
		if !isLogged && ctx.Err() == nil && !IsDisconnected(err) {
			b.log.WarnContext(ctx, "no events by NATS; subscribers read from PostgreSQL", "error", err)
			isLogged = true
		}
		sleep(ctx, b.config.PollInterval)
	}
}

// listen begins the ring where PostgreSQL ends and puts all that is published from then on into it. It calls ready when
// it has begun. Any error ends it: the ring proves by itself whether what the next call brings connects.
func (b *followed) listen(ctx context.Context, ready func()) (err error) {
	messages, err := b.config.NATS.SubscribeSync(Subjects(b.name))
	if err != nil {
		return err
	}
	defer func() {
		if ended := messages.Unsubscribe(); !errors.Is(ended, nats.ErrConnectionClosed) {
			err = errors.Join(err, ended)
		}
	}()
	if err := messages.SetPendingLimits(waitingMessages, waitingBytes); err != nil {
		return err
	}
	// Once NATS has the subscription, no event after the last position is missed.
	subscribed, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	if err := b.config.NATS.FlushWithContext(subscribed); err != nil {
		return err
	}
	last, err := b.lastPosition(ctx)
	if err != nil {
		return err
	}
	b.begin(last)
	ready()
	for {
		message, err := messages.NextMsgWithContext(ctx)
		if errors.Is(err, nats.ErrSlowConsumer) {
			continue // it reported what is missing, which the next message does, too
		}
		if err != nil {
			return err
		}
		if err := b.take(ctx, message); err != nil {
			return err
		}
	}
}

// take puts a message's event into the ring, when the message is of this store and PostgreSQL has the event's position.
func (b *followed) take(ctx context.Context, message *nats.Msg) error {
	if !comesFrom(message.Header, b.source) {
		b.warnOfForeign(ctx, message)
		return nil
	}
	event, previous, err := Decode(message.Header, message.Data)
	if err != nil {
		return fmt.Errorf("message on %s: %w", message.Subject, err)
	}
	e := newEntry(event)
	e.published = publishedIn(message.Header)
	committed, err := b.isCommitted(ctx, e.at)
	if err != nil {
		return err
	}
	if !committed {
		return errForeignEvent
	}
	b.add(e, previous)
	return nil
}

// warnOfForeign logs the first message that is not of this store.
func (b *followed) warnOfForeign(ctx context.Context, message *nats.Msg) {
	if b.foreign {
		return
	}
	b.foreign = true
	b.log.WarnContext(ctx, "a message that this store did not publish is left out, as are those to come",
		"subject", message.Subject, "source", message.Header.Get(headerSource), "expected", b.source)
}
