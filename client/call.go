package client

import (
	"context"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/oexza/orisun/client/internal/wire"
)

const (
	eventStore    = "/orisun.EventStore/"
	admin         = "/orisun.Admin/"
	subscriptions = "/orisun.Subscriptions/"
)

const (
	firstPause = 20 * time.Millisecond
	maxPause   = time.Second
)

// repeatable says whether a call can be retried when its outcome is unknown.
type repeatable bool

const (
	once   repeatable = false
	repeat repeatable = true
)

// call makes one call, and again where it is repeatable and the error heals, until the context ends.
func (c *Client) call(ctx context.Context, method string, again repeatable, in, out proto.Message) error {
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	for attempt := 0; ; attempt++ {
		err := c.attempt(ctx, method, in, out)
		if err == nil {
			return nil
		}
		failed := callError(method, in, err)
		if again == once || !failed.heals() {
			return failed.known()
		}
		c.log.InfoContext(ctx, "orisun: call failed, retrying", "method", method, "attempt", attempt+1, "error", err)
		if err := pause(ctx, failed.pause(attempt)); err != nil {
			failed.ended = err
			return failed
		}
	}
}

// bounded gives a context without a deadline one.
func (c *Client) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, limited := ctx.Deadline(); limited {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, c.retryTime)
}

func (c *Client) attempt(ctx context.Context, method string, in, out proto.Message) error {
	return c.authenticated(ctx, func(ctx context.Context) (began bool, _ error) {
		return false, c.invoke(ctx, method, in, out)
	})
}

// authenticated runs do, which makes one call or stream, with credentials and trace context. If the server refuses the
// token, and do has not begun to process what it receives, do runs a second time with the password.
func (c *Client) authenticated(ctx context.Context, do func(context.Context) (began bool, _ error)) error {
	ctx = c.traced(ctx)
	logIn := func(password credential) error {
		return c.invoke(password.attach(ctx), eventStore+"Ping", &wire.PingRequest{}, &wire.PingResponse{})
	}
	for second := false; ; second = true {
		credential, err := c.session.credential(ctx, logIn)
		if err != nil {
			return err
		}
		began, err := do(credential.attach(ctx))
		if status.Code(err) != codes.Unauthenticated || began || second || !c.session.forget(credential) {
			return err
		}
	}
}

func (c *Client) invoke(ctx context.Context, method string, in, out proto.Message) error {
	var header metadata.MD
	err := c.conn.Invoke(ctx, method, in, out, grpc.Header(&header))
	c.session.renew(header)
	return err
}

type traceKey struct{}

type traceContext struct{ parent, state string }

// ContextWithTrace returns a context whose calls carry this W3C trace context.
func ContextWithTrace(ctx context.Context, traceparent, tracestate string) context.Context {
	return context.WithValue(ctx, traceKey{}, traceContext{traceparent, tracestate})
}

func (c *Client) traced(ctx context.Context) context.Context {
	trace, _ := ctx.Value(traceKey{}).(traceContext)
	if trace.parent == "" && c.trace != nil {
		trace.parent, trace.state = c.trace(ctx)
	}
	if trace.parent != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "traceparent", trace.parent)
	}
	if trace.state != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "tracestate", trace.state)
	}
	return ctx
}

// jittered is a time between half of and all of first·2^attempt, at most limit.
func jittered(attempt int, first, limit time.Duration) time.Duration {
	longest := limit
	if attempt < 30 {
		longest = min(limit, first<<attempt)
	}
	return longest/2 + rand.N(longest/2+1) //nolint:gosec // jitter is no secret
}

// pause waits, and returns the context's error where that ends first.
func pause(ctx context.Context, wait time.Duration) error {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
