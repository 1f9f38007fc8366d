package console_test

import (
	"fmt"
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/oexza/orisun/migrations/pgtest"
	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/server/servertest"
)

// startCluster starts the nodes north and south of one store.
func startCluster(t *testing.T) (north, south *servertest.Server) {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := strconv.Itoa(listener.Addr().(*net.TCPAddr).Port)
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	database := pgtest.Clone(t)
	node := func(name, port, other string) *servertest.Server {
		return servertest.StartOn(t, database, "ORISUN_NATS_SERVER_NAME="+name, "ORISUN_NATS_CLUSTER_ENABLED=true",
			"ORISUN_NATS_CLUSTER_PASSWORD=secret", "ORISUN_NATS_CLUSTER_HOST=127.0.0.1", "ORISUN_NATS_CLUSTER_PORT="+port,
			"ORISUN_NATS_CLUSTER_ROUTES=nats://127.0.0.1:"+other)
	}
	return node("north", port, port), node("south", "0", port)
}

// narrow fails the test if the page is wider than a screen of 400 pixels.
func narrow(t *testing.T) chromedp.Action {
	t.Helper()
	return chromedp.Tasks{
		chromedp.EmulateViewport(400, 800),
		holds(`document.documentElement.scrollWidth <= 400 && innerWidth === 400`),
	}
}

func TestTheOverviewShowsEachNode(t *testing.T) {
	north, south := startCluster(t)
	ctx := browser(t)
	card := func(name, text string) chromedp.Action {
		return holds(fmt.Sprintf(`document.querySelector('section[aria-label="Node %s"]')?.innerText.includes(%q)`,
			name, text))
	}
	fact := func(name, label, value string) chromedp.Action {
		return holds(fmt.Sprintf(`[...document.querySelectorAll('section[aria-label="Node %s"] .numbers div')]
			.some(e => e.innerText.split('\n')[0] === %q && new RegExp(%q).test(e.innerText.split('\n').at(-1)))`,
			name, label, value))
	}
	run(ctx, t, "both nodes", logIn(north, "admin", "changeit"), visit(north, "overview", "Nodes"),
		card("north", "This node"), card("north", "Ready"), card("south", "Ready"), card("south", "postgresql"),
		holds(`[...document.querySelectorAll('section.node .leads li')]
			.filter(e => /^Publishing of .*orisun_test_1/.test(e.innerText)).length === 1`))
	stop := keepSaving(t, south, "orisun_test_1")
	run(ctx, t, "saves through the other one", fact("south", "Saves / s", `^0\.[1-9]|^[1-9]`),
		fact("north", "Saves / s", `^0\.0`), narrow(t))
	stop()
	south.Stop()
	run(ctx, t, "a node that is away", see("Node south has been disconnected since"), card("north", "Ready"),
		holds(`!document.querySelector('section[aria-label="Node south"]')`))
}

func TestConflictsOfAllNodesAreShown(t *testing.T) {
	north, south := startCluster(t)
	contest(t, north, "12A", 2)
	contest(t, south, "14C", 4)
	ctx := browser(t)
	run(ctx, t, "both nodes", logIn(north, "admin", "changeit"),
		visit(north, "conflicts?boundary=orisun_test_1", "seat = 14C"), see("seat = 12A"), see("node north since"),
		see("node south since"), holds(`document.querySelector('tbody td.num').innerText === '4'`),
		holds(`document.querySelector('.stat strong').innerText === '6'`), narrow(t))
	south.Stop()
	run(ctx, t, "a node that is away", see("Without those of disconnected nodes"), gone("seat = 14C"),
		holds(`document.querySelector('.stat strong').innerText === '2'`))
}

func TestBoundariesShowTheirRateAndTheLastEvent(t *testing.T) {
	server := servertest.Start(t)
	ctx := browser(t)
	cell := func(column int, pattern string) chromedp.Action {
		return holds(fmt.Sprintf(`new RegExp(%q).test([...document.querySelectorAll('tbody tr')]
			.find(e => e.innerText.startsWith('orisun_test_1'))?.children[%d].innerText)`, pattern, column))
	}
	run(ctx, t, "without events", logIn(server, "admin", "changeit"), visit(server, "boundaries", "orisun_test_1"),
		cell(1, "^0$"), cell(2, `^0\.0$`), cell(5, "^–$"), cell(6, "."))
	stop := keepSaving(t, server, "orisun_test_1")
	run(ctx, t, "with events", cell(1, "^[1-9]"), cell(2, `^0\.[1-9]|^[1-9]`),
		cell(5, `^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$`))
	stop()
	run(ctx, t, "at rest", cell(2, `^0\.0$`))
}

// fakeNodes begins a script that answers ListNodes itself. node is an answer of one node with one boundary, or without.
const fakeNodes = `
	const start = 1700000000, at = s => new Date((start + s) * 1000).toISOString();
	const node = (seconds, saves, more) => ({nodes: [{name: 'a', measuredAt: at(seconds), reads: '0', flushes: '0',
		flushSeconds: 0, warnings: [], checks: [], boundaries: saves === null ? [] : [{name: 'b', saves, conflicts: '0',
		deliveries: '0', events: '1', bytes: '1', outboxEvents: '0', queued: '0', publishes: true}], ...more}],
		unanswered: [], disconnected: [], node: 'a'});
	const real = fetch;
	let answers = [];
	window.fetch = async (path, options) => path.endsWith('ListNodes')
		? new Response(JSON.stringify(answers.shift() || node(1000, '0'))) : real(path, options);
`

// A recreated boundary, a restart and a clock that was set back make no false rates.
func TestTheOverviewHasNoFalseRates(t *testing.T) {
	server := servertest.Start(t)
	ctx := browser(t)
	run(ctx, t, "the page", logIn(server, "admin", "changeit"))
	var got string
	run(ctx, t, "polls of a fake server", chromedp.Evaluate(`(async () => {`+fakeNodes+`
		answers = [node(0, '100'), node(2, '120'), node(4, null), node(6, '900'), node(8, '902'), node(3, '904'),
			node(5, '906'), node(7, '0', {startedAt: 'later'})];
		const {look, current, history} = await import('/console/nodes.js?rates'), seen = [];
		while (answers.length > 0) { await look(); seen.push(current().rates.saves ?? '–'); }
		window.fetch = real;
		return seen.join() + ' ' + history.at.map(x => x - start).join() })()`, &got, awaitPromise))
	if want := "–,10,0,0,1,–,1,– 2,4,5"; got != want {
		t.Errorf("the rates and the times of the charts are %s, want %s", got, want)
	}
}

func TestAChartKeepsWhatItHadBeforeAnOutage(t *testing.T) {
	server := servertest.Start(t)
	ctx := browser(t)
	run(ctx, t, "the page", logIn(server, "admin", "changeit"))
	var got string
	run(ctx, t, "an outage of 100 seconds", chromedp.Evaluate(`(async () => {`+fakeNodes+`
		const {look, history} = await import('/console/nodes.js?outage');
		answers = [node(0, '0'), node(2, '20')];
		await look(); await look();
		const now = Date.now;
		Date.now = () => now() + 100000;
		const sample = {measuredAt: at(93), saves: 3, conflicts: 0, reads: 0, deliveries: 0, flushSeconds: 0};
		answers = [node(100, '5', {history: [sample]}), node(102, '7')];
		await look(); await look();
		window.fetch = real;
		Date.now = now;
		return JSON.stringify([history.at.map(x => Math.round(x - start)), history.saves]) })()`, &got, awaitPromise))
	if want := `[[2,2,93,102],[10,null,3,1]]`; got != want {
		t.Errorf("the chart has %s, want %s", got, want)
	}
}

// Counters that a restart resets are no negative rates, and those of a node that is back begin again.
func TestRatesAreThoseOfTwoMeasurements(t *testing.T) {
	server := servertest.Start(t)
	ctx := browser(t)
	run(ctx, t, "the page", logIn(server, "admin", "changeit"))
	var rates []float64
	run(ctx, t, "polls of a fake server", chromedp.Evaluate(`(async () => {
		const at = s => new Date(1700000000000 + s * 1000).toISOString();
		const node = (seconds, saves) => ({nodes: [{name: 'a', measuredAt: at(seconds), reads: '0', flushes: '0',
			flushSeconds: 0, warnings: [], checks: [], boundaries: [{name: 'b', saves, conflicts: '0', deliveries: '0',
			events: '1', bytes: '1', outboxEvents: '0', queued: '0', publishes: true}]}], unanswered: [],
			disconnected: [], node: 'a'});
		const answers = [node(0, '100'), node(2, '120'), node(2, '120'), node(4, '5'), node(6, '9')];
		const real = fetch, seen = [];
		window.fetch = async (path, options) => path.endsWith('ListNodes')
			? new Response(JSON.stringify(answers.shift() || node(6, '9'))) : real(path, options);
		const {look, current} = await import('/console/nodes.js?test');
		for (let i = 0; i < 5; i++) { await look(); seen.push(current().nodes[0].rates.saves ?? -1); }
		window.fetch = real;
		return seen })()`, &rates, awaitPromise))
	if want := []float64{-1, 10, 10, 0, 2}; fmt.Sprint(rates) != fmt.Sprint(want) {
		t.Errorf("%v, want %v", rates, want)
	}
}

func TestASubscriptionShowsItsLagPartitionsAndLiveSubscribers(t *testing.T) {
	server := servertest.Start(t)
	park(t, server)
	fallBehind(t, server)
	stream, err := orisunpb.NewEventStoreClient(server.Dial(t)).CatchUpSubscribeToEvents(t.Context(),
		&orisunpb.CatchUpSubscribeToEventStoreRequest{Boundary: "orisun_test_1", SubscriberName: "projector"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Header(); err != nil {
		t.Fatal(err)
	}
	ctx := browser(t)
	run(ctx, t, "live subscribers", logIn(server, "admin", "changeit"),
		visit(server, "subscriptions?boundary=orisun_test_1", "projector"), see("orisun-nats-2"), narrow(t))
	run(ctx, t, "one subscription", chromedp.Click(`//td[text()="reports"]`), see("At most 3, at "),
		chromedp.WaitVisible(`dialog .chart canvas`, chromedp.ByQuery),
		chromedp.WaitVisible(`//dialog//h3[text()="Partitions"]`),
		holds(`document.querySelector('[aria-label=Partitions] tbody tr')?.innerText.startsWith('0')`))
}

// fallBehind creates a subscription without consumers, and waits until the server has measured its lag.
func fallBehind(t *testing.T, server *servertest.Server) {
	t.Helper()
	subscriptions := orisunpb.NewSubscriptionsClient(server.Dial(t))
	if _, err := subscriptions.CreateSubscription(t.Context(), &orisunpb.CreateSubscriptionRequest{
		Boundary: "orisun_test_1", Name: "reports", Start: &orisunpb.SubscriptionStart{},
	}); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(stepTimeout); ; <-time.After(100 * time.Millisecond) {
		answer, err := subscriptions.GetSubscription(t.Context(), &orisunpb.GetSubscriptionRequest{
			Boundary: "orisun_test_1", Name: "reports", WithLagHistory: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		if len(answer.GetLagHistory()) > 0 && answer.GetLagHistory()[0].GetEvents() > 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("the lag is %v", answer.GetLagHistory())
		}
	}
}
