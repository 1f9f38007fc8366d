package bench

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	orisunpb "github.com/oexza/orisun/proto"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestEveryWorkloadRunsAgainstAnotherServerOfTheProtocol(t *testing.T) {
	p := &peer{}
	report, _ := runAgainst(t, p, func(c *Config) {
		c.Workloads, c.Clients, c.Repeat, c.Connections, c.Duration = Workloads(), []int{1, 4}, 2, 2, 50*time.Millisecond
	})
	if err := report.Err(); err != nil {
		t.Error(err)
	}
	events := map[string]int64{
		"append-1": 1, "append-1-unconditional": 1, "append-100": 100, "append-100-unconditional": 100, "read-10": 10,
		"append-beside-readers": 1, "latency": 1, "latency/saves": 1, "ping": 0, "hot": 1, "hot/conflicts": 0,
		"decide": 1, "decide/conflicts": 0, "transfer": 3, "transfer/conflicts": 0,
	}
	rows := map[string]int{}
	for _, r := range report.Results {
		rows[r.Workload]++
		// What is due in the window is waited for, however slow the machine is.
		if r.Max == 0 && r.Workload != "hot/conflicts" && !strings.HasSuffix(r.Workload, "/conflicts") {
			t.Errorf("%s with %d clients: no requests", r.Workload, r.Clients)
		}
		if want, exactly := events[r.Workload]; exactly && r.Events != want*r.Requests {
			t.Errorf("%s with %d clients: %d events in %d requests", r.Workload, r.Clients, r.Events, r.Requests)
		}
		if strings.Contains(r.Workload, "page") || strings.HasSuffix(r.Workload, "/readers") {
			// 2,500 seeded events are two pages, and half a one that is left out.
			if r.Events != 1000*r.Requests {
				t.Errorf("%s with %d clients: %d events in %d pages", r.Workload, r.Clients, r.Events, r.Requests)
			}
		}
		if r.Max > 0 && (r.P50 <= 0 || r.P50 > r.P95 || r.P95 > r.P99 || r.P99 > r.Max) {
			t.Errorf("%s: latencies %v %v %v %v", r.Workload, r.P50, r.P95, r.P99, r.Max)
		}
		if (r.Starved > 0) != (r.Workload == "hot") {
			t.Errorf("%s: starved %v ms", r.Workload, r.Starved)
		}
	}
	if len(rows) != 17 {
		t.Errorf("rows of %v", rows)
	}
	for workload, n := range rows {
		if n != 4 {
			t.Errorf("%s has %d rows, want one for each of 1 and 4 clients in two repetitions", workload, n)
		}
	}
}

func TestConditionalSavesAreConditionalAndExpectWhatIsThere(t *testing.T) {
	// The peer refuses any position but the exact one, and a refusal is a failure: so 0 failures mean that all were
	// right, those after saves of other workloads too.
	for _, workloads := range [][]string{
		{"append-1"}, {"append-100"}, {"append-1-unconditional", "append-100-unconditional", "append-1"}, {"hot", "append-1"},
	} {
		p := &peer{}
		report, _ := runAgainst(t, p, func(c *Config) { c.Workloads, c.Clients = workloads, []int{3, 7} })
		if err := report.Err(); err != nil {
			t.Errorf("%v: %v", workloads, err)
		}
		if p.conditional == 0 {
			t.Errorf("%v: no save had a criterion", workloads)
		}
	}
}

func TestConflictsInOneContextAreCountedWithTheLongestStarvation(t *testing.T) {
	report, _ := runAgainst(t, &peer{}, func(c *Config) { c.Workloads, c.Clients = []string{"hot"}, []int{8} })
	winners, refused := report.Results[0], report.Results[1]
	if err := report.Err(); err != nil {
		t.Errorf("conflicts count as failures: %v", err)
	}
	if winners.Workload != "hot" || refused.Workload != "hot/conflicts" || winners.Max == 0 || refused.Max == 0 ||
		refused.Events != 0 {
		t.Errorf("winners %+v\nrefused %+v", winners, refused)
	}
	if winners.Starved < winners.P50 || winners.Starved > 1000*time.Since(report.Environment.At).Seconds() {
		t.Errorf("the longest without winning is %v ms", winners.Starved)
	}
}

func TestCommandsAreDecidedAgainAfterAConflict(t *testing.T) {
	p := &peer{}
	report, _ := runAgainst(t, p, func(c *Config) {
		c.Workloads, c.Clients, c.Accounts, c.Criteria, c.Events = []string{"decide"}, []int{8}, 3, 5, 2
	})
	if err := report.Err(); err != nil {
		t.Errorf("conflicts count as failures: %v", err)
	}
	decided, conflicts := report.Results[0], report.Results[1]
	if decided.Events != 2*decided.Requests || decided.Max == 0 || conflicts.Max == 0 || conflicts.Events != 0 {
		t.Errorf("decided %+v\nconflicts %+v", decided, conflicts)
	}
	// The peer refuses what does not expect the last event of all criteria. So each command is stored once.
	ids := map[string]bool{}
	for _, event := range p.events {
		ids[event.GetEventId()] = true
	}
	if len(ids) != len(p.events) {
		t.Errorf("%d ids of %d events", len(ids), len(p.events))
	}
}

func TestTheIndexesOfAWorkloadAreCreated(t *testing.T) {
	p := &peer{}
	runAgainst(t, p, func(c *Config) { c.CreateIndex, c.Workloads = true, []string{"decide", "transfer"} })
	var keys []string
	for _, index := range p.indexes {
		keys = append(keys, index.GetFields()[0].GetJsonKey())
	}
	if want := []string{ContextKey, fromKey, toKey, accountKey}; !slices.Equal(keys, want) {
		t.Errorf("indexes on %v, want %v", keys, want)
	}
}

func TestFailuresAreCountedByCodeAndTheRunGoesOn(t *testing.T) {
	var saves atomic.Int64
	p := &peer{before: func(in *orisunpb.SaveEventsRequest) error {
		if len(in.GetEvents()) == 1 && saves.Add(1)%3 == 0 {
			return status.Error(codes.Unavailable, "restarting")
		}
		return nil
	}}
	report, _ := runAgainst(t, p, func(c *Config) { c.Duration = 300 * time.Millisecond })
	failed := report.Results[0].Failures
	if len(failed) != 1 || failed["UNAVAILABLE"] == 0 {
		t.Errorf("failures %v, want UNAVAILABLE alone: after it the position is read again", failed)
	}
	if err := report.Err(); err == nil ||
		!strings.Contains(err.Error(), "UNAVAILABLE, such as in append-1 with 4 clients: ") ||
		!strings.Contains(err.Error(), "restarting") {
		t.Errorf("error %v", err)
	}
}

func TestAConflictInAnOwnedContextIsAFailure(t *testing.T) {
	var meddle sync.Once
	p := &peer{}
	p.before = func(in *orisunpb.SaveEventsRequest) error {
		if len(in.GetEvents()) == 1 {
			meddle.Do(func() { // another client saves into every context of the run
				p.mu.Lock()
				defer p.mu.Unlock()
				for context := range p.contexts {
					p.contexts[context] = append(p.contexts[context], len(p.events))
				}
				p.events = append(p.events, &orisunpb.Event{EventId: "theirs", Data: "{}", Position: &orisunpb.Position{
					TransactionId: int64(len(p.events) + 1), GlobalId: int64(len(p.events)),
				}})
			})
		}
		return nil
	}
	report, _ := runAgainst(t, p, func(c *Config) { c.Duration = 300 * time.Millisecond })
	if n := report.Results[0].Failures["ALREADY_EXISTS"]; n < 1 || n > 50 {
		t.Errorf("failures %v, want ALREADY_EXISTS once for a context", report.Results[0].Failures)
	}
}

func TestEventsThatASubscriberDoesNotGetAreFailures(t *testing.T) {
	// A subscription that never sends: the minute to wait for answers is cut short by ending the settling itself.
	p := &peer{deaf: true}
	config := servePeer(t, p)
	config.Workloads = []string{"latency"}
	s, err := Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	m := newMeasurement(2)
	l, err := startLatency(t.Context(), s, m, 2)
	if err != nil {
		t.Fatal(err)
	}
	settle := l.settle
	l.settle = func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
		defer cancel()
		settle(ctx)
	}
	loop{duration: 50 * time.Millisecond}.run(t.Context(), m, l)
	l.close()
	delivered, saved := m.rows[deliveries].result(time.Second), m.rows[saves].result(time.Second)
	if delivered.Max != 0 || saved.Max == 0 || delivered.Failures[undelivered] < max(1, saved.Requests) {
		t.Errorf("%d saved, delivered %+v", saved.Requests, delivered)
	}
}

func TestLatencyIsThatOfTheSubscriberNotOfTheSave(t *testing.T) {
	// The subscriber gets nothing before half a second is over, and the saves are long since answered.
	p := &peer{deafFor: 500 * time.Millisecond}
	report, _ := runAgainst(t, p, func(c *Config) { c.Workloads, c.Clients = []string{"latency"}, []int{2} })
	if err := report.Err(); err != nil {
		t.Fatal(err)
	}
	delivered, saved := report.Results[0], report.Results[1]
	if delivered.Workload != "latency" || saved.Workload != "latency/saves" || delivered.Max < 200 ||
		saved.P50 >= delivered.P50 {
		t.Errorf("rows %+v\n%+v", delivered, saved)
	}
}

func TestTheOpenLoopKeepsItsRateAgainstAServer(t *testing.T) {
	report, _ := runAgainst(t, &peer{}, func(c *Config) {
		c.Workloads, c.Rate, c.Duration = []string{"ping"}, 200, 500*time.Millisecond
	})
	r := report.Results[0]
	if r.Rate != 200 || r.Requests > 100 || r.Max == 0 || report.Err() != nil {
		t.Errorf("%d requests in half a second at 200 a second: %+v", r.Requests, r)
	}
}

func TestTheTokenTakesThePlaceOfThePassword(t *testing.T) {
	byToken, byPassword := &peer{}, &peer{}
	runAgainst(t, byToken, nil)
	runAgainst(t, byPassword, func(c *Config) { c.Auth = AuthBasic })
	if byToken.passwords != 2 || byToken.tokens < 25 { // at the beginning, and before the point
		t.Errorf("%d calls with the password, %d with the token", byToken.passwords, byToken.tokens)
	}
	if byPassword.tokens != 0 || byPassword.passwords < 25 {
		t.Errorf("%d calls with the token, %d with the password", byPassword.tokens, byPassword.passwords)
	}
}

func TestAServerWithoutIndexesIsReportedAndMeasured(t *testing.T) {
	_, told := runAgainst(t, &peer{noIndex: true}, func(c *Config) { c.CreateIndex = true })
	if !strings.Contains(told, "cannot create indexes") {
		t.Errorf("progress does not report it:\n%s", told)
	}
	with := &peer{}
	_, told = runAgainst(t, with, func(c *Config) { c.CreateIndex = true })
	if len(with.indexes) != 1 || with.indexes[0].GetFields()[0].GetJsonKey() != ContextKey ||
		strings.Contains(told, "cannot") {
		t.Errorf("indexes %v\n%s", with.indexes, told)
	}
}

func TestRunsInOneBoundaryDoNotDisturbEachOther(t *testing.T) {
	p := &peer{}
	config := servePeer(t, p)
	config.Workloads = []string{"append-1", "page"}
	for range 2 { // with the same seed
		report, err := Run(t.Context(), config)
		if err := errors.Join(err, report.Err()); err != nil {
			t.Fatal(err)
		}
	}
	ids := map[string]bool{}
	for _, event := range p.events {
		ids[event.GetEventId()] = true
	}
	if len(ids) != len(p.events) || len(p.contexts) != 2*config.Contexts {
		t.Errorf("%d ids of %d events, %d contexts", len(ids), len(p.events), len(p.contexts))
	}
}

func TestSeedingThatFailsIsNoRun(t *testing.T) {
	config := servePeer(t, &peer{before: func(*orisunpb.SaveEventsRequest) error {
		return status.Error(codes.NotFound, "no such boundary")
	}})
	report, err := Run(t.Context(), config)
	if status.Code(err) != codes.NotFound || !strings.Contains(err.Error(), "seed b") || len(report.Results) > 0 {
		t.Errorf("error %v, results %v", err, report.Results)
	}
	config.Password = "wrong"
	if _, err := Run(t.Context(), config); status.Code(err) != codes.Unauthenticated ||
		!strings.Contains(err.Error(), "log in as admin") {
		t.Errorf("error %v", err)
	}
}

func TestAnInterruptedRunKeepsThePointsThatAreComplete(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	var pings atomic.Int64
	config := servePeer(t, &peer{before: func(in *orisunpb.SaveEventsRequest) error {
		if len(in.GetEvents()) == 1 && pings.Add(1) == 10 {
			interrupt()
		}
		return nil
	}})
	config.Workloads = []string{"ping", "append-1", "ping"}
	report, err := Run(ctx, config)
	if !errors.Is(err, context.Canceled) || len(report.Results) != 1 || report.Results[0].Workload != "ping" ||
		report.Err() != nil {
		t.Errorf("error %v, results %+v", err, report.Results)
	}
}

func TestAWrongConfigNamesEveryFlag(t *testing.T) {
	err := Config{
		Workloads: []string{"append-7"}, Clients: []int{0, 9}, Auth: "none", Contexts: 8, WarmUp: -1, Rate: -1,
		SeedEvents: -1, Payload: 1,
	}.Validate()
	for _, flag := range []string{
		"--workload", "--clients", "--contexts", "--auth", "--boundary", "--connections", "--warm-up", "--duration",
		"--repeat", "--rate", "--seed-events", "--payload",
	} {
		if err == nil || !strings.Contains(err.Error(), flag+" ") && !strings.Contains(err.Error(), flag+":") {
			t.Errorf("%s is not named: %v", flag, err)
		}
	}
	good := servePeer(t, &peer{})
	if err := good.Validate(); err != nil {
		t.Errorf("a good one: %v", err)
	}
	good.SeedEvents, good.Workloads = 0, []string{"page"}
	if err := good.Validate(); err == nil {
		t.Error("page without seeded events is let through")
	}
}

func TestContextsAreOwnedByOneClientEach(t *testing.T) {
	s := &Session{contexts: make([]ownedContext, 10), config: Config{Payload: 100}, noise: strings.Repeat("x", 200)}
	s.connections = append(s.connections, nil)
	owners := map[*ownedContext]int{}
	for client := range 3 {
		a := s.appender(client, 3, 1)
		for _, owned := range a.contexts {
			owners[owned]++
		}
	}
	if len(owners) != 10 || slices.ContainsFunc(slices.Collect(maps.Values(owners)), func(n int) bool { return n != 1 }) {
		t.Errorf("owners %v", owners)
	}
}
