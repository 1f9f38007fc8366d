package groupcommit

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	errPoison    = errors.New("the data is bad")
	errTransient = errors.New("the connection broke")
	errOther     = errors.New("no such table")
	errGone      = errors.New("the client hung up")
)

func options() Options[string] {
	return Options[string]{
		IsTransient: func(err error) bool { return errors.Is(err, errTransient) },
	}
}

// bench holds a batcher whose flushes wait until the test answers them.
type bench struct {
	t       *testing.T
	batcher *Batcher[string, string]
	flushes chan flushing
}

// flushing is a flush that waits for its answer.
type flushing struct {
	ctx    context.Context
	batch  []string
	answer chan func() ([]string, error)
}

func newBench(t *testing.T, options Options[string]) *bench {
	t.Helper()
	b := &bench{t: t, flushes: make(chan flushing)}
	b.batcher = New(options, func(ctx context.Context, batch []string) ([]string, error) {
		f := flushing{ctx: ctx, batch: slices.Clone(batch), answer: make(chan func() ([]string, error))}
		select {
		case b.flushes <- f:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		select {
		case answer := <-f.answer:
			return answer()
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	})
	return b
}

// next is the flush in flight, which must hold exactly these requests.
func (b *bench) next(batch ...string) flushing {
	b.t.Helper()
	f := <-b.flushes
	if !slices.Equal(f.batch, batch) {
		b.t.Fatalf("flushed %q, want %q", f.batch, batch)
	}
	return f
}

// none waits until all is quiet, and fails if a flush is in flight that the test has not seen.
func (b *bench) none() {
	b.t.Helper()
	synctest.Wait()
	select {
	case f := <-b.flushes:
		b.t.Fatalf("flushed %q, want nothing", f.batch)
	default:
	}
}

func (f flushing) succeed() {
	f.answer <- func() ([]string, error) {
		results := make([]string, len(f.batch))
		for i, request := range f.batch {
			results[i] = resultOf(request)
		}
		return results, nil
	}
}

func (f flushing) fail(err error) { f.answer <- func() ([]string, error) { return nil, err } }

func resultOf(request string) string { return "result of " + request }

// outcome is what a caller got, and when.
type outcome struct {
	request string
	result  string
	err     error
	at      time.Time
}

// do calls Do on a goroutine, and returns when its request is queued, refused or being sent.
func (b *bench) do(ctx context.Context, request string) <-chan outcome {
	answer := make(chan outcome, 1)
	go func() {
		result, err := b.batcher.Do(ctx, request)
		answer <- outcome{request, result, err, time.Now()}
	}()
	synctest.Wait()
	return answer
}

// doAll queues several requests, one after the other.
func (b *bench) doAll(requests ...string) []<-chan outcome {
	answers := make([]<-chan outcome, len(requests))
	for i, request := range requests {
		answers[i] = b.do(b.t.Context(), request)
	}
	return answers
}

func wantResult(t *testing.T, answers ...<-chan outcome) {
	t.Helper()
	for _, answer := range answers {
		if got := <-answer; got.err != nil || got.result != resultOf(got.request) {
			t.Errorf("Do(%q) = %q, %v, want its result", got.request, got.result, got.err)
		}
	}
}

// wantError waits for the answer, which must wrap all of errs.
func wantError(t *testing.T, answer <-chan outcome, errs ...error) outcome {
	t.Helper()
	got := <-answer
	for _, err := range errs {
		if !errors.Is(got.err, err) {
			t.Errorf("Do(%q) = %q, %v, want the error %q", got.request, got.result, got.err, err)
		}
	}
	return got
}

func wantUnanswered(t *testing.T, answers ...<-chan outcome) {
	t.Helper()
	synctest.Wait()
	for _, answer := range answers {
		select {
		case got := <-answer:
			t.Errorf("Do(%q) = %q, %v, want it to wait", got.request, got.result, got.err)
		default:
		}
	}
}
