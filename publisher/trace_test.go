package publisher

import (
	"testing"

	"go.opentelemetry.io/otel/trace"
)

func aSpan(n int) trace.SpanContext {
	return trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID{1, byte(n >> 8), byte(n)}, SpanID: trace.SpanID{2, byte(n >> 8), byte(n)},
		TraceFlags: trace.FlagsSampled,
	})
}

func TestOnlyTheLatestTracesAreStored(t *testing.T) {
	var stored traces
	if stored.find(1).IsValid() {
		t.Error("something is found before anything was added")
	}
	for n := range 2*maxTraces + 10 {
		stored.add(int64(n), aSpan(n))
	}
	for n := range 2*maxTraces + 10 {
		latest := n >= maxTraces+10
		if found := stored.find(int64(n)); found.IsValid() != latest || latest && !found.Equal(aSpan(n)) {
			t.Fatalf("trace %d of %d: %v", n, 2*maxTraces+10, found)
		}
	}
	if len(stored.spans) != maxTraces || len(stored.order) != maxTraces {
		t.Errorf("%d and %d are held, want %d", len(stored.spans), len(stored.order), maxTraces)
	}
}

func TestATraceParentIsReadAsItIsWrittenAndNonsenseIsNone(t *testing.T) {
	if got := parseTraceParent(traceParent(aSpan(7))); !got.Equal(aSpan(7).WithRemote(true)) {
		t.Errorf("%v comes back as %v", aSpan(7), got)
	}
	for _, text := range []string{
		"", "00", "nonsense", "00-00000000000000000000000000000000-0000000000000000-01", traceParent(aSpan(7)) + "x",
	} {
		if got := parseTraceParent(text); got.IsValid() {
			t.Errorf("%q is taken for %v", text, got)
		}
	}
	if len(traceParent(aSpan(7)))+len(headerTraceParent+": \r\n") != traceBytes {
		t.Errorf("traceBytes is %d", traceBytes)
	}
}
