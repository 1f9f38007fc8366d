package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/types/known/timestamppb"

	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/publisher"
)

// at is an operation of group 0 that took from call to call+1.
func at(call int, q request, a response) *operation {
	return &operation{
		client: call, id: fmt.Sprint("s", call), sent: q, received: a, known: true, called: time.Duration(call),
		ended: time.Duration(call + 1),
	}
}

func saved(call int, context keys, expected, position int64) *operation {
	return at(call, request{context: context, save: true, expected: expected, events: []keys{context}},
		response{position: position})
}

func refused(call int, context keys, expected, actual int64) *operation {
	return at(call, request{context: context, save: true, expected: expected, events: []keys{context}}, response{
		position: actual, conflict: true,
	})
}

func read(call int, context keys, position int64) *operation {
	return at(call, request{context: context}, response{position: position})
}

func TestTheModelAcceptsRightHistoriesAndRejectsWrongOnes(t *testing.T) {
	slow := func(o *operation, ended int) *operation {
		o.ended = time.Duration(ended)
		return o
	}
	for name, c := range map[string]struct {
		history []*operation
		right   bool
	}{
		"one after another": {[]*operation{
			read(0, 1, -1), saved(2, 1, -1, 0), read(4, 1, 0), saved(6, 1, 0, 1), refused(8, 1, 0, 1),
		}, true},
		"contexts that do not meet": {[]*operation{
			saved(0, 1, -1, 0), saved(2, 2, -1, 1), read(4, 3, 1), read(6, 4, -1),
		}, true},
		"a read under way may see both": {[]*operation{slow(read(0, 1, -1), 9), saved(2, 1, -1, 0)}, true},
		"a save without a waiting caller": {[]*operation{
			slow(saved(0, 1, -1, 1), 1<<40), saved(2, 2, -1, 0), read(4, 1, -1), read(6, 1, 1),
		}, true},
		"a decision on the past":      {[]*operation{saved(0, 1, -1, 0), saved(2, 1, -1, 1)}, false},
		"both of two that exclude":    {[]*operation{slow(saved(0, 3, -1, 0), 9), slow(saved(1, 3, -1, 1), 9)}, false},
		"a read that misses":          {[]*operation{saved(0, 1, -1, 0), read(2, 1, -1)}, false},
		"a read that goes back":       {[]*operation{slow(saved(0, 1, -1, 0), 9), read(2, 1, 0), read(4, 1, -1)}, false},
		"refused without a reason":    {[]*operation{saved(0, 1, -1, 0), refused(2, 1, 0, 0)}, false},
		"refused with a wrong reason": {[]*operation{saved(0, 1, -1, 0), saved(2, 1, 0, 1), refused(4, 1, 0, 0)}, false},
		"positions that go back":      {[]*operation{saved(0, 1, -1, 5), saved(2, 2, -1, 4)}, false},
	} {
		t.Run(name, func(t *testing.T) {
			wrong, undecided, err := checkLinearizable(c.history, t.TempDir())
			if err != nil || undecided != 0 || (len(wrong) == 0) != c.right {
				t.Errorf("says %v, %d undecided, %v; right: %t", wrong, undecided, err, c.right)
			}
		})
	}
}

// logOf is a log of saves with one event each, of group 0.
func logOf(ids ...string) (log []*orisunpb.Event) {
	for i, id := range ids {
		log = append(log, &orisunpb.Event{
			EventId: id + ".0", Data: documentOf(0, 1),
			Position: &orisunpb.Position{TransactionId: int64(i + 1), GlobalId: int64(i)},
		})
	}
	return log
}

func TestWhatTheLogCannotBe(t *testing.T) {
	gap, half := logOf("a", "b"), logOf("a", "b")
	gap[1].Position.GlobalId = 2
	half[1].Position.TransactionId = 3
	for name, c := range map[string]struct {
		log  []*orisunpb.Event
		says string
	}{
		"sound": {logOf("a", "b"), ""}, "doubled": {logOf("a", "b", "a"), "stands at 0 and at 2"},
		"a gap": {gap, "has position"}, "half a save": {half, "does not have its end"},
	} {
		if said := strings.Join(checkLog(c.log), "\n"); !strings.Contains(said, c.says) || (c.says == "") != (said == "") {
			t.Errorf("%s: %q", name, said)
		}
	}
}

// TestAStreamThatIsNotTheLog: what lacks may still come, or the stream may yet begin behind it. What is there once too
// often stays.
func TestAStreamThatIsNotTheLog(t *testing.T) {
	log := logOf("a", "b", "c")
	for _, event := range log {
		event.EventType, event.Data, event.Metadata, event.DateCreated = "T", "{}", "{}", timestamppb.New(time.Unix(1, 0))
	}
	for name, c := range map[string]struct {
		events []int
		says   string
		waits  bool
	}{
		"all":           {[]int{0, 1, 2}, "", false},
		"its end":       {[]int{2}, "", false},
		"nothing":       {nil, "it is empty", true},
		"not its end":   {[]int{0, 1}, "it ends with event 1", true},
		"a hole":        {[]int{0, 2}, "message 1 is event 2, after event 0", true},
		"one twice":     {[]int{0, 1, 1, 2}, "message 2 is event 1, after event 1", false},
		"another order": {[]int{1, 0, 2}, "message 1 is event 0, after event 1", false},
	} {
		var messages []*nats.Msg
		for _, i := range c.events {
			messages = append(messages, publisher.Encode(boundary, "/test", log[i], int64(i-1)))
		}
		err := compareStream(messages, log)
		var wrong wrongStreamError
		if (err == nil) != (c.says == "") ||
			err != nil && (!strings.Contains(err.Error(), c.says) || errors.As(err, &wrong) == c.waits) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAnswersThatTheLogContradicts(t *testing.T) {
	seen := func(position int64, ids []string, positions ...int64) *operation {
		o := read(4, 1, position)
		o.seen, o.seenPositions = ids, positions
		return o
	}
	for name, c := range map[string]struct {
		operations []*operation
		says       string
	}{
		"sound":     {[]*operation{saved(0, 1, -1, 0), saved(2, 1, 0, 1), seen(1, []string{"s0.0", "s2.0"}, 0, 1)}, ""},
		"lost":      {[]*operation{saved(0, 1, -1, 2)}, "is not there"},
		"moved":     {[]*operation{saved(2, 1, -1, 0)}, "is not there"},
		"misread":   {[]*operation{seen(1, []string{"s0.0"}, 0)}, "as 1 events, the log has 2"},
		"elsewhere": {[]*operation{seen(1, []string{"s0.0", "s2.0"}, 0, 5)}, "is not there any more"},
		"late": {[]*operation{
			saved(2, 1, -1, 1), saved(0, 1, -1, 0),
			{id: "s9", sent: request{save: true}, received: response{position: 0}, known: true, called: 9, ended: 10},
		}, "after 1 was acknowledged"},
	} {
		if said := strings.Join(checkAnswers(c.operations, logOf("s0", "s2")), "\n"); !strings.Contains(said, c.says) ||
			(c.says == "") != (said == "") {
			t.Errorf("%s: %q", name, said)
		}
	}
}

func TestASubscriberThatGotSomethingElse(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel() // nothing more is waited for
	for name, c := range map[string]struct {
		received []string
		says     string
	}{
		"all": {[]string{"a.0", "b.0"}, ""}, "not all": {[]string{"a.0"}, "first one missing"},
		"one twice":     {[]string{"a.0", "a.0", "b.0"}, "want b.0"},
		"one too many":  {[]string{"a.0", "b.0", "b.0"}, "beyond the log's end"},
		"another order": {[]string{"b.0", "a.0"}, "want a.0"},
	} {
		s := &subscriber{received: c.received}
		if said := strings.Join(s.check(ended, logOf("a", "b")), "\n"); !strings.Contains(said, c.says) ||
			(c.says == "") != (said == "") {
			t.Errorf("%s: %q", name, said)
		}
	}
}

// An unknown outcome is what the log says: applied, at any time after the call, or never.
func TestUnknownOutcomesAreSettledByTheLog(t *testing.T) {
	stored, lost := saved(0, 1, -1, 0), saved(2, 2, -1, 7)
	stored.known, lost.known = false, false
	completed, unknown := complete([]*operation{stored, lost, read(4, 1, -1)}, logOf("s0"))
	if unknown != 2 || len(completed) != 2 || completed[0] != stored || stored.received.position != 0 ||
		stored.ended < 1<<40 {
		t.Errorf("%d unknown, %d completed, %+v", unknown, len(completed), stored)
	}
}

func TestAReportTakesItsSectionOfAPage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "page.md")
	for _, step := range []struct{ page, report, want string }{
		{"", "new\n", "new\n"},
		{
			"# Page\n\nkept\n\n## Latest long run\n\nold\n\n## More\n\nkept\n", "new\n",
			"# Page\n\nkept\n\n## Latest long run\n\nnew\n\n## More\n\nkept\n",
		},
		{"before\n## Latest long run\nold\n", "new\n", "before\n## Latest long run\n\nnew\n"},
	} {
		if step.page != "" {
			if err := os.WriteFile(path, []byte(step.page), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := writeReport(path, step.report); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != step.want {
			t.Errorf("%q became %q, %v, want %q", step.page, got, err, step.want)
		}
	}
}
