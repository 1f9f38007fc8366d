package console_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/oexza/orisun/server/servertest"
)

// polled waits for three more polls of a test's fake server, which counts them in test.polls.
func polled() chromedp.Action {
	return chromedp.Tasks{
		chromedp.Evaluate(`void (test.before = test.polls)`, nil), holds(`test.polls >= test.before + 3`),
	}
}

// set changes what a test's fake server does.
func set(statement string) chromedp.Action { return chromedp.Evaluate(`void (`+statement+`)`, nil) }

// equals fails the test if an expression of the page has another value.
func equals[T comparable](t *testing.T, expression string, want T) chromedp.Action {
	t.Helper()
	return chromedp.ActionFunc(func(ctx context.Context) error {
		var got T
		err := chromedp.Evaluate(expression, &got).Do(ctx)
		if err == nil && got != want {
			t.Errorf("%s is %v, want %v", expression, got, want)
		}
		return err
	})
}

// holdsPromise fails the test unless a promise of the page becomes true.
func holdsPromise(t *testing.T, expression string) chromedp.Action {
	t.Helper()
	return chromedp.ActionFunc(func(ctx context.Context) error {
		var got bool
		err := chromedp.Evaluate(expression, &got, awaitPromise).Do(ctx)
		if err == nil && !got {
			t.Errorf("%s is false", expression)
		}
		return err
	})
}

// Twenty boundaries change between any two polls.
func TestTheLastEventsOfManyBoundariesAreReadAFewAtATime(t *testing.T) {
	server := servertest.Start(t)
	ctx := browser(t)
	run(ctx, t, "a fake server", logIn(server, "admin", "changeit"), chromedp.Evaluate(`void (() => {
		const names = Array.from({length: 20}, (_, i) => 'b' + (10 + i));
		window.test = {now: 1700000000000, polls: 0, reads: [], running: 0, most: 0, aborted: 0, held: [], hold: true};
		Date.now = () => test.now;
		const later = setTimeout;
		window.setTimeout = (run, ms, ...more) => later(run, ms === 2000 ? 50 : ms, ...more);
		const real = fetch, answer = body => new Response(JSON.stringify(body));
		const count = {saves: '0', conflicts: '0', deliveries: '0', bytes: '1', queued: '0', publishes: true};
		const fakes = {
			ListBoundaries: () => answer({boundaries: names.map(name =>
				({name, status: 'BOUNDARY_LIFECYCLE_STATUS_ACTIVE'}))}),
			ListIndexes: () => answer({indexes: []}),
			ListNodes: () => answer({node: 'a', unanswered: [], disconnected: [], nodes: [{name: 'a', reads: '0',
				flushes: '0', flushSeconds: 0, warnings: [], checks: [], measuredAt: new Date(1e12 + ++test.polls * 1000),
				boundaries: names.map(name => ({...count, name, events: String(test.polls)}))}]}),
			GetEvents: ({body, signal}) => new Promise((resolve, reject) => {
				test.reads.push(JSON.parse(body).boundary);
				test.most = Math.max(test.most, ++test.running);
				let open = true;
				const end = () => { open = false; test.running--; resolve(answer({events: []})); };
				test.hold ? test.held.push(end) : later(end);
				signal?.addEventListener('abort', () => { if (open) test.aborted++; reject(signal.reason); });
			}),
		};
		window.fetch = async (path, options) => (fakes[path.split('/').at(-1)] || (() => real(path, options)))(options);
		location.hash = '#/boundaries';
	})()`, nil))
	run(ctx, t, "reads that do not end", holds(`test.reads.length >= 3`), polled(), equals(t, `test.reads.length`, 3))
	run(ctx, t, "reads that end", set(`test.hold = false, test.held.splice(0).forEach(end => end())`),
		holds(`new Set(test.reads).size === 20 && test.running === 0`), polled(), equals(t, `test.reads.length`, 20),
		equals(t, `test.most`, 3))
	run(ctx, t, "ten seconds later", set(`test.hold = true, test.now += 10000`), holds(`test.reads.length === 23`),
		polled())
	run(ctx, t, "another page", set(`location.hash = '#/users'`), holds(`test.aborted === 3`), polled(),
		equals(t, `test.reads.length`, 23))
}

func TestAPollThatFailsKeepsThePage(t *testing.T) {
	server := servertest.Start(t)
	park(t, server)
	ctx := browser(t)
	run(ctx, t, "a fake server", logIn(server, "admin", "changeit"), chromedp.Evaluate(`void (() => {
		window.test = {polls: 0, lists: 0, aborted: 0};
		const every = setInterval, real = fetch;
		window.setInterval = run => every(() => { test.polls++; run(); }, 100);
		window.fetch = async (path, options) => {
			if (!path.endsWith('/ListSubscriptions')) return real(path, options);
			test.lists++;
			if (test.hold) {
				options.signal.addEventListener('abort', () => { test.aborted++; });
				await test.hold;
			}
			if (test.fail) return new Response(JSON.stringify({message: 'PostgreSQL is away'}), {status: 503});
			return real(path, options);
		};
		location.hash = '#/subscriptions?boundary=orisun_test_1';
	})()`, nil))
	problems := `[...document.querySelectorAll('.problem')].map(e => e.innerText).join()`
	run(ctx, t, "a dialog", chromedp.Click(`//td[text()="mailer"]`), see("Partitions"))
	run(ctx, t, "polls that fail", set(`test.fail = true`), see("PostgreSQL is away"), polled(),
		holds(problems+` === 'PostgreSQL is away'`),
		equals(t, `document.querySelector('dialog[open] h2')?.innerText`, "mailer"),
		equals(t, `document.querySelectorAll('[aria-label=Subscriptions] tbody tr').length`, 1))
	run(ctx, t, "a poll that succeeds", set(`test.fail = false`), gone("PostgreSQL is away"),
		chromedp.Click(`dialog button[aria-label=Close]`, chromedp.ByQuery))
	run(ctx, t, "a poll that does not end", set(`test.lists = 0, test.hold = new Promise(end => { test.release = end; })`),
		holds(`test.lists === 1`), polled(), equals(t, `test.lists`, 1), equals(t, `test.aborted`, 0),
		set(`test.hold = undefined, test.release()`), holds(`test.lists > 1`))
	run(ctx, t, "another boundary that fails", set(`test.fail = true,
		location.hash = '#/subscriptions?boundary=orisun_test_2'`), gone("mailer"),
		holds(problems+` === 'PostgreSQL is away'`))
}

func TestALogoutIsNoLostSession(t *testing.T) {
	server := servertest.Start(t)
	ctx := browser(t)
	run(ctx, t, "a fake server", logIn(server, "admin", "changeit"), chromedp.Evaluate(`void (() => {
		const real = fetch;
		window.test = {broken: true};
		const waits = what => new Promise(end => { test[what] = end; });
		window.fetch = async (path, options = {}) => {
			if (options.method === 'DELETE') {
				if (test.broken) throw new TypeError('the network is down');
				const answer = await real(path, options);
				await waits('endLogout');
				return answer;
			}
			if (test.holdPoll && path.endsWith('/ListNodes')) await waits('endPoll');
			const answer = await real(path, options);
			if (path === '/console/session' && answer.status === 401) test.refused = true;
			return answer;
		};
	})()`, nil))
	logOut := chromedp.Click(`//header//button[text()="Log out"]`)
	lost := `document.body.innerText.includes('The session has ended.')`
	run(ctx, t, "without a network", logOut, see("The logout failed: the network is down. Try again."), see("Saves / s"))
	run(ctx, t, "a poll in flight at the logout", set(`test.broken = false, test.holdPoll = true`),
		holds(`test.endPoll !== undefined`), logOut, holds(`test.endLogout !== undefined`), set(`test.endPoll()`),
		holds(`test.refused`), chromedp.Evaluate(`new Promise(drawn =>
			requestAnimationFrame(() => requestAnimationFrame(() => drawn(true))))`, nil, awaitPromise),
		equals(t, lost, false), see("Logging out …"))
	run(ctx, t, "the logout ends", set(`test.endLogout()`), see("Password"), equals(t, lost, false),
		set(`test.holdPoll = false`))
	run(ctx, t, "the next session", fill(`input[name=username]`, "admin"), fill(`input[name=password]`, "changeit\n"),
		see("Log out"), set(`fetch('/console/session', {method: 'DELETE', headers: {'X-Orisun-Console': '1'}})`))
	run(ctx, t, "which another tab ends", see("The session has ended."))
}

// A store with 500 boundaries, 1,000 subscriptions and 10,000 users: each page has 50 rows, and calls few RPCs.
func TestPagesOfALargeStoreStayShort(t *testing.T) {
	server := servertest.Start(t)
	ctx := browser(t)
	run(ctx, t, "a fake server", logIn(server, "admin", "changeit"), chromedp.Evaluate(`void (() => {
		const many = (count, of) => Array.from({length: count}, (_, i) => of(String(i).padStart(5, '0')));
		const count = {saves: '0', conflicts: '0', deliveries: '0', bytes: '1', queued: '0', publishes: true,
			leadsStream: true, subscribers: '0', events: '7'};
		window.test = {calls: {}};
		const fakes = {
			ListBoundaries: {boundaries: many(500, i => ({name: 'b' + i, status: 'BOUNDARY_LIFECYCLE_STATUS_ACTIVE',
				indexes: '4', description: ''}))},
			ListNodes: {node: 'a', unanswered: [], disconnected: [], nodes: [{name: 'a', reads: '0', flushes: '0',
				flushSeconds: 0, warnings: [], checks: [], measuredAt: new Date(), boundaries: many(500, i =>
				({...count, name: 'b' + i}))}]},
			GetEvents: {events: []},
			ListSubscriptions: {subscriptions: many(1000, i => ({name: 's' + i, partitions: 4, parked: '0',
				createdAt: new Date(), lag: {events: '3', seconds: 1}}))},
			ListSubscribers: {subscribers: [], total: '0', unanswered: [], disconnected: []},
			ListUsers: {users: many(10000, i => ({userId: i, username: 'u' + i, name: 'User ' + i, roles: ['user']}))},
		};
		const real = fetch;
		window.fetch = async (path, options) => {
			const rpc = path.split('/').at(-1);
			test.calls[rpc] = (test.calls[rpc] || 0) + 1;
			return fakes[rpc] ? new Response(JSON.stringify(fakes[rpc])) : real(path, options);
		};
		location.hash = '#/boundaries';
	})()`, nil))
	rows := func(region string, want int) chromedp.Action {
		return holds(fmt.Sprintf(`document.querySelectorAll('[aria-label="%s"] tbody tr').length === %d`, region, want))
	}
	search := func(text string) chromedp.Action { // in the field that / has focused
		return chromedp.Tasks{holds(`document.activeElement.type === 'search'`), chromedp.KeyEvent(text)}
	}
	run(ctx, t, "500 boundaries", rows("Boundaries", 50), see("1 to 50 of 500"), holds(`test.calls.GetEvents >= 50`),
		equals(t, `test.calls.ListIndexes ?? 0`, 0),
		equals(t, `document.querySelector('[aria-label=Boundaries] tbody tr').children[4].innerText`, "4"),
		click("Next →"), see("51 to 100 of 500"), see("b00099"), narrow(t),
		press("/"), search("B0004"), rows("Boundaries", 10),
		see("1 to 10 of 10"), holds(`test.calls.GetEvents <= 110`))
	run(ctx, t, "1,000 subscriptions", set(`location.hash = '#/subscriptions?boundary=b00000'`),
		rows("Subscriptions", 50), press("/"), search("s00999"), rows("Subscriptions", 1),
		narrow(t))
	run(ctx, t, "10,000 users", set(`location.hash = '#/users'`), rows("Users", 50), see("1 to 50 of 10,000"),
		equals(t, `document.querySelectorAll('.matrix tbody tr').length`, 50),
		press("/"), search("u04321"), rows("Users", 1), narrow(t))
	run(ctx, t, "a filter in a dialog", chromedp.Click(`[aria-label=Users] tbody tr`, chromedp.ByQuery),
		see("Delete the user"), press("/"), holds(`document.activeElement.closest('dialog') !== null`),
		chromedp.KeyEvent("b00499"), holds(`document.querySelectorAll('dialog .matrix tbody tr').length === 1`))
}

// A subscription with 120 parked events has pages of 50, each read after the last position of the one before.
func TestParkedEventsHavePages(t *testing.T) {
	server := servertest.Start(t)
	ctx := browser(t)
	run(ctx, t, "a fake server", logIn(server, "admin", "changeit"), chromedp.Evaluate(`void (() => {
		const mailer = {name: 'mailer', partitions: 1, parked: '120', createdAt: new Date(), lag: {events: '0', seconds: 0}};
		const parked = Array.from({length: 120}, (_, i) => ({reason: 'no', refusals: 1, parkedAt: new Date(), event:
			{eventId: 'e' + i, eventType: 'Parked' + i, position: {transactionId: String(i + 1), globalId: String(i)}}}));
		const fakes = {
			ListSubscriptions: () => ({subscriptions: [mailer]}), GetSubscription: () => ({subscription: mailer}),
			ListParked: ({after_position: after, count}) => ({events: parked.slice(after ? Number(after.globalId) + 1 : 0)
				.slice(0, count)}),
		};
		const real = fetch;
		window.fetch = async (path, options) => {
			const fake = fakes[path.split('/').at(-1)];
			return fake ? new Response(JSON.stringify(fake(JSON.parse(options.body)))) : real(path, options);
		};
		location.hash = '#/subscriptions?boundary=orisun_test_1';
	})()`, nil))
	page := func(first, last int) chromedp.Action {
		return holds(fmt.Sprintf(`(() => { const rows = [...document.querySelectorAll('.parked strong')];
			return rows.length === %d && rows[0].innerText === 'Parked%d' })()`, last-first+1, first-1))
	}
	run(ctx, t, "the first page", chromedp.Click(`//td/button[text()="120"]`), see("120 parked in all; 1 to"), page(1, 50))
	run(ctx, t, "the others", click("Next →"), page(51, 100), click("Next →"), page(101, 120),
		chromedp.WaitVisible(`//dialog//button[normalize-space()="Next →" and @disabled]`),
		click("← Previous"), page(51, 100))
}

// Errors of the live stream: those that would come again end it, others are followed by another try.
func TestTheLiveStreamIsTriedAgainWhereThatHelps(t *testing.T) {
	server := servertest.Start(t)
	save(t, server, "1", "Counted", `{}`)
	ctx := browser(t)
	run(ctx, t, "a fake stream", logIn(server, "admin", "changeit"), chromedp.Evaluate(`void (() => {
		window.test = {streams: 0, waits: [], answer: () => { throw new TypeError('Failed to fetch'); }};
		const real = fetch, later = setTimeout;
		window.setTimeout = (run, ms, ...more) => {
			if (!(ms >= 2000) || !new Error().stack.includes('/events.js')) return later(run, ms, ...more);
			test.waits.push(ms);
			return later(run, 10, ...more);
		};
		window.fetch = async (path, options) => {
			if (!path.endsWith('/CatchUpSubscribeToEvents')) return real(path, options);
			test.streams++;
			return test.answer(path, options);
		};
		window.refuse = (code, status = 200) => {
			const body = status === 200 ? {error: {code, message: 'refused by line'}} : {code, message: 'refused by status'};
			test.answer = () => new Response(JSON.stringify(body) + '\n', {status});
		};
		test.real = (path, options) => real(path, options);
		location.hash = '#/events?boundary=orisun_test_1';
	})()`, nil))
	again := func(statement, text string) chromedp.Action {
		return chromedp.Tasks{
			set("test.began = test.streams"), set(statement), click("Try again"),
			holds(`test.streams > test.began`), see(text),
		}
	}
	stopped := chromedp.Tasks{
		chromedp.Evaluate(`void (test.before = [test.streams, test.waits.length].join())`, nil),
		chromedp.Evaluate(`new Promise(done => { const each = n => n ? requestAnimationFrame(() => each(n - 1)) : done(true);
			each(20); })`, nil, awaitPromise),
		holdsPromise(t, `Promise.resolve(test.before === [test.streams, test.waits.length].join())`),
	}
	run(ctx, t, "a server that is away", see("The server is away; trying again."), holds(`test.waits.length >= 6`),
		equals(t, `test.waits.slice(0, 6).join()`, "2000,4000,8000,16000,30000,30000"))
	for _, code := range []string{"not_found", "permission_denied", "invalid_argument", "resource_exhausted"} {
		run(ctx, t, code+" in the stream", again(fmt.Sprintf(`refuse(%q)`, code), "refused by line"), stopped)
	}
	for _, status := range []int{400, 403, 404} {
		run(ctx, t, fmt.Sprint(status), again(fmt.Sprintf(`refuse('unknown', %d)`, status), "refused by status"), stopped)
	}
	run(ctx, t, "another error", again(`test.waits = [], refuse('unavailable')`, "refused by line"),
		holds(`test.waits.length >= 3`))
	run(ctx, t, "without live events", set(`location.hash += '&live=off'`), see("Follow live"),
		holds(`!document.querySelector('.problem')`))
	run(ctx, t, "the stream is back", set(`test.answer = test.real`), click("Follow live"), see("● Live"),
		holds(`!document.querySelector('.problem')`))
}

// Over plain HTTP browsers have no navigator.clipboard.
func TestCopyWorksWithoutAClipboard(t *testing.T) {
	server := servertest.Start(t)
	save(t, server, "1", "Counted", `{"n": 1}`)
	ctx := browser(t)
	run(ctx, t, "copy in a dialog", logIn(server, "admin", "changeit"),
		visit(server, "events?boundary=orisun_test_1", "Counted"), chromedp.Evaluate(`void (() => {
			Object.defineProperty(navigator, 'clipboard', {value: undefined});
			addEventListener('copy', ({target: field}) => {
				window.copied = field.value.slice(field.selectionStart, field.selectionEnd);
			});
		})()`, nil), chromedp.Click(`//td[text()="Counted"]`), click("Copy"), see("Copied"),
		equals(t, `copied`, `{"n": 1}`), equals(t, `document.querySelectorAll('textarea').length`, 0))
}

// The page polls once after each answer, and not after it is left. A build of another client shows its progress.
func TestTheIndexesPageFollowsBuilds(t *testing.T) {
	server := servertest.Start(t)
	ctx := browser(t)
	run(ctx, t, "a fake server", logIn(server, "admin", "changeit"), chromedp.Evaluate(`void (() => {
		window.test = {polls: 0, running: 0, most: 0};
		const real = fetch, later = setTimeout;
		window.setTimeout = (run, ms, ...more) => later(run, ms === 1000 || ms === 10000 ? 20 : ms, ...more);
		const index = more => ({name: 'username', fields: [{jsonKey: 'username'}], ...more});
		const phases = [{state: 'INDEX_STATE_BUILDING', progress: {phase: 'building index', percent: 40}},
			{state: 'INDEX_STATE_READY'}];
		window.fetch = async (path, options) => {
			const rpc = path.split('/').at(-1);
			if (rpc === 'CreateIndex') return new Promise(() => {});
			if (rpc !== 'ListIndexes') return real(path, options);
			test.polls++;
			test.most = Math.max(test.most, ++test.running);
			await new Promise(done => later(done, 50));
			test.running--;
			return new Response(JSON.stringify(test.phase === undefined ? {indexes: []} : {indexes: [
				index(phases[test.phase])], usage: [{scans: '0', sizeBytes: '8192', countedSince: new Date()}]}));
		};
		location.hash = '#/indexes?boundary=orisun_test_1';
	})()`, nil))
	run(ctx, t, "a build of another client", see("No indexes"), set(`test.phase = 0`),
		see("building index 40\u00a0%"), see("Building"), set(`test.phase = 1`), see("Unused"), gone("building index"))
	run(ctx, t, "a build of this page", fill(`input[name=name]`, "email"), fill(`input[name=keys]`, "email\n"),
		holds(`/email: creating/.test(document.body.innerText)`), polled())
	run(ctx, t, "another page", set(`location.hash = '#/users'`), see("Create a user"), holds(`test.running === 0`),
		set(`test.left = test.polls`), chromedp.Evaluate(`new Promise(done => { const each = n =>
			n ? requestAnimationFrame(() => each(n - 1)) : done(true); each(20); })`, nil, awaitPromise),
		equals(t, `test.polls - test.left`, 0), equals(t, `test.most`, 1))
}
