package inflight

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const mebibyte = 1 << 20

func enter(t *testing.T, b *Budget, caller string) *Call {
	t.Helper()
	call, err := b.Enter(t.Context(), caller, 1)
	if err != nil {
		t.Fatal(err)
	}
	return call
}

// fill grows a call's answer by mebibytes until it is refused, and returns how many it has.
func fill(t *testing.T, call *Call) (mebibytes int) {
	t.Helper()
	for {
		switch err := call.Grow(mebibyte); status.Code(err) {
		case codes.OK:
			mebibytes++
		case codes.ResourceExhausted:
			return mebibytes
		default:
			t.Fatal(err)
		}
	}
}

func TestThereIsAlwaysRoomForOneMoreCaller(t *testing.T) {
	b := NewBudget(192*mebibyte, "LIMIT")
	var calls []*Call
	for k := range 8 {
		call := enter(t, b, fmt.Sprint("greedy ", k))
		calls = append(calls, call)
		if got := fill(t, call); k == 0 && got != 95 {
			t.Errorf("one caller alone gets %d MiB of 192, less than half", got)
		}
	}
	started := enter(t, b, "modest")
	if err := started.Grow(256 << 10); err != nil {
		t.Errorf("a ninth caller gets no 256 KiB: %v", err)
	}
	started.End()
	for _, call := range calls {
		call.End()
		call.End() // once more changes nothing
	}
	if b.Used() != 0 || len(b.callers) != 0 {
		t.Errorf("%d bytes are held after the last call, by %v", b.Used(), b.callers)
	}
}

func TestACallWaitsForTheRoomOfItsCallerOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBudget(192*mebibyte, "LIMIT")
		first := enter(t, b, "greedy")
		fill(t, first)
		entered := make(chan *Call, 1)
		go func() { entered <- enter(t, b, "greedy") }()
		synctest.Wait()
		enter(t, b, "other").End() // which does not wait
		select {
		case <-entered:
			t.Fatal("a caller that holds its whole share starts another call")
		default:
		}
		first.End()
		second := <-entered
		if err := second.Receive(t.Context(), 64*mebibyte); err != nil {
			t.Error(err)
		}
		second.End()

		first = enter(t, b, "greedy")
		fill(t, first)
		_, err := b.Enter(t.Context(), "greedy", 1) // waits for waitLimit on the bubble's clock
		if status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), "greedy") ||
			!strings.Contains(err.Error(), "LIMIT") {
			t.Errorf("after the time to wait: %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := b.Enter(ctx, "greedy", 1); status.Code(err) != codes.Canceled {
			t.Errorf("a caller that went away: %v", err)
		}
		first.End()
		if b.Used() != 0 || len(b.callers)+len(b.blocked) != 0 {
			t.Errorf("%d bytes are held after the last call", b.Used())
		}
	})
}

func TestARequestThatNeverFitsIsRefusedAtOnce(t *testing.T) {
	b := NewBudget(16*mebibyte, "LIMIT")
	call := enter(t, b, "caller")
	if err := call.Receive(t.Context(), 9*mebibyte); status.Code(err) != codes.ResourceExhausted {
		t.Error(err)
	}
	call.End()
	if err := call.Grow(1); err == nil {
		t.Error("a call grows after its end")
	}
}

func TestAnAnswerCountsUntilItIsWrittenOrItsConnectionIsGone(t *testing.T) {
	b := NewBudget(192*mebibyte, "LIMIT")
	connection := b.NewConnection()
	call := enter(t, b, "caller")
	written, lost := connection.Answer(call, mebibyte), connection.Answer(call, mebibyte)
	call.End()
	if b.Used() != 2*mebibyte {
		t.Errorf("two unread responses count %d bytes", b.Used())
	}
	written.Written()
	if b.Used() != mebibyte {
		t.Errorf("after one was written %d bytes are held", b.Used())
	}
	connection.Close()
	lost.Written()
	late := connection.Answer(enterAndEnd(t, b), mebibyte)
	late.Written()
	if b.Used() != 0 || len(b.callers) != 0 {
		t.Errorf("%d bytes are held after the connection is gone", b.Used())
	}
}

func enterAndEnd(t *testing.T, b *Budget) *Call {
	t.Helper()
	call := enter(t, b, "caller")
	call.End()
	return call
}
