package console_test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/oexza/orisun/migrations/pgtest"
	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/server/servertest"
)

var (
	screenshots    = flag.String("screenshots", "", "the folder for pictures of every page")
	allScreenshots = flag.Bool("screenshots.all", false, "also those that docs/console does not have")
)

func TestMain(m *testing.M) { os.Exit(pgtest.Run(m)) }

// browserTimeout is how long a test may take on a busy machine.
const browserTimeout = 6 * time.Minute

// browser opens a real Chromium. A test fails where it is missing: .ci/chromium installs it.
func browser(t *testing.T, more ...chromedp.ExecAllocatorOption) context.Context {
	t.Helper()
	options := slices.Concat(chromedp.DefaultExecAllocatorOptions[:], []chromedp.ExecAllocatorOption{
		chromedp.NoSandbox, chromedp.DisableGPU, chromedp.Flag("disable-background-networking", true),
		chromedp.UserDataDir(t.TempDir()), chromedp.WSURLReadTimeout(time.Minute),
	}, more)
	limited, cancelLimit := context.WithTimeout(context.WithoutCancel(t.Context()), browserTimeout+*liveFor)
	allocated, cancelAllocated := chromedp.NewExecAllocator(limited, options...)
	ctx, cancel := chromedp.NewContext(allocated)
	t.Cleanup(func() {
		if err := chromedp.Cancel(ctx); err != nil { // it waits for the end of Chromium
			t.Logf("end Chromium: %v", err)
		}
		cancel()
		cancelAllocated()
		cancelLimit()
	})
	if err := chromedp.Run(ctx); err != nil { // the browser ends with the context of its first run
		t.Fatalf("start Chromium: %v", err)
	}
	return ctx
}

// stepTimeout is how long a step may take on a busy machine.
const stepTimeout = 40 * time.Second

// run runs one step. A step that fails prints what the page shows.
func run(ctx context.Context, t *testing.T, what string, actions ...chromedp.Action) {
	t.Helper()
	limited, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	err := chromedp.Run(limited, actions...)
	if err == nil {
		return
	}
	var page string
	shown := chromedp.Run(ctx, chromedp.Evaluate(`[location.href, document.activeElement?.outerHTML.slice(0, 200),
		[...document.querySelectorAll('input')].map(i => i.value), document.body.innerText].join('\n')`, &page))
	t.Fatalf("%s: %v; the page (%v):\n%s", what, err, shown, page)
}

// see waits until the page has an element with this text.
func see(text string) chromedp.Action {
	return chromedp.WaitVisible(`//body//*[text()[contains(., ` + literal(text) + `)]]`)
}

// literal is a text of XPath, which has no escapes.
func literal(text string) string {
	if strings.Contains(text, `"`) {
		return "'" + text + "'"
	}
	return `"` + text + `"`
}

func logIn(server *servertest.Server, username, password string) chromedp.Action {
	return chromedp.Tasks{
		chromedp.Navigate(server.URL() + "/"),
		chromedp.SendKeys(`input[name=username]`, username, chromedp.ByQuery),
		chromedp.SendKeys(`input[name=password]`, password+"\n", chromedp.ByQuery),
		see("Log out"),
	}
}

func save(t *testing.T, server *servertest.Server, id, kind, data string) {
	t.Helper()
	_, err := orisunpb.NewEventStoreClient(server.Dial(t)).SaveEvents(t.Context(), &orisunpb.SaveEventsRequest{
		Boundary: "orisun_test_1", Events: []*orisunpb.EventToSave{{EventId: id, EventType: kind, Data: data}},
	})
	if err != nil {
		t.Fatal(err)
	}
}

func awaitPromise(p *runtime.EvaluateParams) *runtime.EvaluateParams { return p.WithAwaitPromise(true) }

const hostile = `<img src=x onerror="document.title='owned'">`

func TestEventsArriveAreFilteredAndShownAsText(t *testing.T) {
	server := servertest.Start(t)
	ctx := browser(t)
	run(ctx, t, "log in", logIn(server, "admin", "changeit"))
	run(ctx, t, "the empty state", chromedp.Navigate("http://"+server.HTTP+"/#/events?boundary=orisun_test_1"),
		see("No events yet"), see("orisun.EventStore/SaveEvents"), see("● Live"))

	save(t, server, "1", "UserRegistered", `{"username": "alice"}`)
	run(ctx, t, "an event arrives without a reload", see("UserRegistered"))
	save(t, server, "2", "Hostile", fmt.Sprintf(`{%q: %q}`, hostile, "<script>document.title='owned'</script>"))
	var title string
	var images int
	run(ctx, t, "a hostile event", see("Hostile"), chromedp.Click(`//td[text()="Hostile"]`),
		chromedp.WaitVisible(`dialog[open] .json`, chromedp.ByQuery), see("onerror"), see("grpcurl"),
		chromedp.Evaluate(`document.querySelectorAll('main img, main script, dialog img, dialog script').length`,
			&images), chromedp.Title(&title),
		chromedp.Click(`dialog button[aria-label=Close]`, chromedp.ByQuery))
	if images != 0 || title == "owned" {
		t.Errorf("the event's data became %d elements, the title is %q", images, title)
	}

	var address string
	var rows int
	run(ctx, t, "a filter", fill(`input[type=search]`, "username=alice\n"), see("username = alice"),
		chromedp.WaitNotPresent(`//td[text()="Hostile"]`), see("UserRegistered"), chromedp.Location(&address),
		chromedp.Reload(), see("username = alice"), see("UserRegistered"),
		chromedp.Evaluate(`document.querySelectorAll('.events tbody tr').length`, &rows))
	if !strings.Contains(address, "c=username%3Dalice") || rows != 1 {
		t.Errorf("the filter at %s has %d rows after a reload", address, rows)
	}
	run(ctx, t, "log out", chromedp.Click(`//button[text()="Log out"]`), see("Password"))
	if status := get(t, server, http.MethodGet, "/console/session", "X-Orisun-Console",
		"1").status; status != http.StatusUnauthorized {
		t.Errorf("a session without a cookie: %d", status)
	}
}

func TestAUserWithoutRightsSeesNothing(t *testing.T) {
	server := servertest.Start(t)
	save(t, server, "1", "Secret", `{}`)
	_, err := orisunpb.NewAdminClient(server.Dial(t)).CreateUser(t.Context(), &orisunpb.CreateUserRequest{
		Name: "Joe", Username: "joe", Password: "s3cret", Roles: []string{"write:orisun_test_2"},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx := browser(t)
	var text, users string
	run(ctx, t, "log in", logIn(server, "joe", "s3cret"), chromedp.Navigate("http://"+server.HTTP+"/#/users"),
		see("write:orisun_test_2"),
		chromedp.Text("nav", &text, chromedp.ByQuery),
		chromedp.Evaluate(`fetch('/orisun.EventStore/GetEvents', {method: 'POST',
			headers: {'X-Orisun-Console': '1', 'Content-Type': 'application/json'},
			body: '{"boundary": "orisun_test_1"}'}).then(r => r.text())`, &users, awaitPromise))
	if strings.TrimSpace(text) != "Account" || !strings.Contains(users, "permission_denied") {
		t.Errorf("pages %q; the call by URL: %s", text, users)
	}
}

// Each page that a reader of one boundary is offered works, and shows what others wrote as text.
func TestAReaderOfOneBoundarySeesItAlone(t *testing.T) {
	server := servertest.Start(t)
	park(t, server)
	fallBehind(t, server)
	conn := server.Dial(t)
	if _, err := orisunpb.NewAdminClient(conn).CreateUser(t.Context(), &orisunpb.CreateUserRequest{
		Name: hostile, Username: "reader", Password: "s3cret", Roles: []string{"read:orisun_test_1"},
	}); err != nil {
		t.Fatal(err)
	}
	stream, err := orisunpb.NewSubscriptionsClient(conn).Consume(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&orisunpb.ConsumeRequest{Request: &orisunpb.ConsumeRequest_Start{Start: &orisunpb.ConsumeStart{
		Boundary: "orisun_test_1", Subscription: "reports", ConsumerName: hostile,
	}}}); err != nil {
		t.Fatal(err)
	}
	ctx := browser(t)
	refused := func(rpc, body string) chromedp.Action {
		return holdsPromise(t, fmt.Sprintf(`fetch('/orisun.%s', {method: 'POST', body: %q,
			headers: {'X-Orisun-Console': '1', 'Content-Type': 'application/json'}}).then(r => r.status === 403)`, rpc, body))
	}
	clean := holds(`!document.querySelector('.problem, main img, dialog img')`)
	run(ctx, t, "log in", logIn(server, "reader", "s3cret"), holds(`document.querySelector('nav').innerText
		.split(/\s+/).join(' ') === 'Events Playground Conflicts Subscriptions Account'`))
	for _, page := range []struct{ path, text string }{
		{"events", "MailAsked0"},
		{"playground", "Compose a context"},
		{"conflicts", "No conflicts in the last hour"},
		{"subscriptions", "reports"},
		{"account", "read:orisun_test_1"},
	} {
		run(ctx, t, page.path, visit(server, page.path+"?boundary=orisun_test_1", page.text), clean)
	}
	run(ctx, t, "a subscription", visit(server, "subscriptions?boundary=orisun_test_1", "reports"),
		chromedp.Click(`//td[text()="reports"]`), see("At most 3, at "), see("onerror"), clean)
	run(ctx, t, "what others may see", refused("Admin/ListNodes", `{"with_history": true}`),
		refused("Admin/ListBoundaries", `{}`), refused("Admin/ListUsers", `{}`),
		refused("Admin/ListSubscribers", `{"boundary": "orisun_test_2"}`),
		refused("Subscriptions/GetSubscription", `{"boundary": "orisun_test_2", "name": "x", "with_lag_history": true}`))
	run(ctx, t, "log out", chromedp.Click(`dialog button[aria-label=Close]`, chromedp.ByQuery),
		chromedp.Click(`//button[text()="Log out"]`), see("Password"))
	run(ctx, t, "a user's name", logIn(server, "admin", "changeit"), visit(server, "users", "onerror"), clean)
}

// The cookie counts only with the console's header, from a page of the same origin.
func TestTheCookieAloneIsNoCredential(t *testing.T) {
	server := servertest.Start(t)
	login := get(t, server, http.MethodPost, "/orisun.EventStore/Ping", "X-Orisun-Console", "1", "Authorization",
		"Basic YWRtaW46Y2hhbmdlaXQ=")
	cookies := login.cookies
	if len(cookies) != 1 || !cookies[0].HttpOnly || cookies[0].SameSite != http.SameSiteStrictMode ||
		login.header.Get("X-Auth-Token") != "" {
		t.Fatalf("login: %v with header %v", cookies, login.header)
	}
	cookie := cookies[0].Name + "=" + cookies[0].Value
	for _, c := range []struct {
		header []string
		status int
	}{
		{[]string{"Cookie", cookie, "X-Orisun-Console", "1"}, http.StatusOK},
		{[]string{"Cookie", cookie, "X-Orisun-Console", "1", "Sec-Fetch-Site", "same-origin"}, http.StatusOK},
		{[]string{"Cookie", cookie}, http.StatusUnauthorized},
		{[]string{"X-Orisun-Console", "1"}, http.StatusUnauthorized},
		{[]string{"Cookie", cookie, "X-Orisun-Console", "1", "Sec-Fetch-Site", "cross-site"}, http.StatusForbidden},
		{[]string{"Cookie", cookie, "X-Orisun-Console", "1", "Origin", "http://evil.example"}, http.StatusForbidden},
	} {
		if got := get(t, server, http.MethodPost, "/orisun.EventStore/Ping", c.header...).status; got != c.status {
			t.Errorf("%q: %d, want %d", c.header, got, c.status)
		}
	}
	page := get(t, server, http.MethodGet, "/").header.Get("Content-Security-Policy")
	if !strings.Contains(page, "default-src 'none'") || strings.Contains(page, "unsafe") {
		t.Errorf("Content-Security-Policy: %s", page)
	}
	if status := get(t, server, http.MethodDelete, "/console/session").status; status != http.StatusForbidden {
		t.Errorf("a logout without the header: %d", status)
	}
}

// A token that was copied from the cookie is void after the logout, on another node of the store, too.
func TestALogoutEndsTheSessionOnEveryNode(t *testing.T) {
	server := servertest.Start(t)
	other := servertest.Start(t, "ORISUN_PG_NAME="+server.Database.Database)
	login := func() string {
		t.Helper()
		answer := get(t, server, http.MethodPost, "/orisun.EventStore/Ping", "X-Orisun-Console", "1", "Authorization",
			"Basic YWRtaW46Y2hhbmdlaXQ=")
		if len(answer.cookies) != 1 {
			t.Fatalf("the login answers %d with the cookies %v", answer.status, answer.cookies)
		}
		return answer.cookies[0].Value
	}
	stays, copied := login(), login()
	check := func(when, token string, want int) {
		t.Helper()
		for _, node := range []*servertest.Server{server, other} {
			for _, header := range [][]string{
				{"X-Auth-Token", token}, {"X-Orisun-Console", "1", "Cookie", "orisun_session=" + token},
			} {
				if status := get(t, node, http.MethodPost, "/orisun.EventStore/Ping", header...).status; status != want {
					t.Errorf("%s: %s answers %d to %s", when, node.HTTP, status, header[0])
				}
			}
		}
	}
	check("before the logout", copied, http.StatusOK)
	logout := get(t, server, http.MethodDelete, "/console/session", "X-Orisun-Console", "1",
		"Cookie", "orisun_session="+copied)
	if logout.status != http.StatusNoContent || len(logout.cookies) != 1 || logout.cookies[0].MaxAge >= 0 {
		t.Errorf("the logout answers %d with the cookies %v", logout.status, logout.cookies)
	}
	check("after the logout", copied, http.StatusUnauthorized)
	check("another session", stays, http.StatusOK)
}

func TestTheConsoleCanBeDisabled(t *testing.T) {
	server := servertest.Start(t, "ORISUN_CONSOLE_ENABLED=false")
	for _, path := range []string{"/", "/console/app.js", "/console/session"} {
		if status := get(t, server, http.MethodGet, path).status; status != http.StatusNotFound {
			t.Errorf("%s: %d", path, status)
		}
	}
}

// Everything counts that a browser loads without a cache, from the address to the overview: files and answers.
func TestTheConsoleLoadsInUnder300Kilobytes(t *testing.T) {
	server := servertest.Start(t)
	ctx := browser(t)
	var loaded map[string]int
	run(ctx, t, "the first page", logIn(server, "admin", "changeit"), see("postgresql"), chromedp.Evaluate(`
		Object.fromEntries(['navigation', 'resource'].flatMap(type => performance.getEntriesByType(type))
			.map((entry, i) => [i + ' ' + new URL(entry.name).pathname, entry.transferSize]))`, &loaded))
	total := 0
	for name, bytes := range loaded {
		total += bytes
		if bytes == 0 {
			t.Errorf("%s came from a cache", name)
		}
	}
	files := 0
	if err := filepath.WalkDir("assets", func(path string, entry fs.DirEntry, err error) error {
		if !entry.IsDir() && !strings.Contains(path, "LICENSE") {
			files++
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if t.Logf("%d files and answers, %d bytes", len(loaded), total); total > 300_000 || len(loaded) < files {
		t.Errorf("the first page took %d bytes in %d files and answers of at least %d: %v", total, len(loaded), files, loaded)
	}
}

// The files of npm: htm@3.1.1 (its preact/standalone.module.js, which contains Preact), uplot@1.6.31 and, for tests
// alone, axe-core@4.10.3, whose licence is the MPL-2.0.
func TestVendoredFilesAreThoseOfTheirPackages(t *testing.T) {
	for name, want := range map[string]string{
		"assets/vendor/htm-preact.js": "72284e8e9079c87817145df1110f74e8a2aa040b2fc384922e18dfcb46fc1fd7",
		"assets/vendor/uplot.css":     "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
		"assets/vendor/uplot.js":      "2d27e8ad3d228164525ce213f9dc716f39b4e3aee0cc773fb3491c96cf4921a2",
		"testdata/axe.min.js":         "880970c081707360e64f34cea25ff91892f5bc95675b0776925b9709dd8a68bb",
	} {
		content, err := os.ReadFile(name)
		if sum := sha256.Sum256(content); err != nil || hex.EncodeToString(sum[:]) != want {
			t.Errorf("%s: %x, %v", name, sum, err)
		}
	}
}

// fillForPictures saves what the pages show, and goes on to save until the test ends.
func fillForPictures(t *testing.T, server *servertest.Server) {
	t.Helper()
	park(t, server)
	for i := range 30 {
		save(t, server, fmt.Sprint(i), []string{"UserRegistered", "OrderPlaced", "OrderPaid"}[i%3],
			fmt.Sprintf(`{"username": "user%d", "total": %d}`, i%4, i*10))
	}
	contest(t, server, "12A", 7)
	contest(t, server, "14C", 3)
	store := orisunpb.NewEventStoreClient(server.Dial(t))
	if _, err := store.CreateIndex(t.Context(), &orisunpb.CreateIndexRequest{
		Boundary: "orisun_test_1", Name: "customer", Fields: []*orisunpb.IndexField{{JsonKey: "customer"}},
	}); err != nil {
		t.Fatal(err)
	}
	for _, e := range []struct{ id, kind, metadata string }{
		{"order", "SeatReserved", `{}`}, {"payment", "SeatPaid", `{"causation_id": "order"}`},
	} {
		_, err := store.SaveEvents(t.Context(), &orisunpb.SaveEventsRequest{
			Boundary: "orisun_test_1", Events: []*orisunpb.EventToSave{
				{
					EventId: e.id, EventType: e.kind, Metadata: e.metadata,
					Data: `{"seat": "12A", "customer": "alice", "cents": 4200}`,
				},
				{EventId: e.id + "-mail", EventType: "MailQueued", Metadata: fmt.Sprintf(`{"causation_id": %q}`, e.id)},
			},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	keepSaving(t, server, "orisun_test_2")
}

// keepSaving saves until stop is called, or the test ends.
func keepSaving(t *testing.T, server *servertest.Server, boundary string) (stop func()) {
	t.Helper()
	store := orisunpb.NewEventStoreClient(server.Dial(t))
	ended := make(chan struct{})
	ctx, end := context.WithCancel(t.Context())
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			_, err := store.SaveEvents(ctx, &orisunpb.SaveEventsRequest{
				Boundary: boundary, Events: []*orisunpb.EventToSave{{EventId: rand.Text(), EventType: "Measured"}},
			})
			if err != nil && ctx.Err() == nil {
				t.Errorf("save without end: %v", err)
				return
			}
		}
	}()
	stop = func() { end(); <-ended }
	t.Cleanup(stop)
	return stop
}

// view is what a page shows of a store that is filled for pictures: a text of it, and what opens more.
type view struct {
	name, path, text string
	open             chromedp.Action
}

var nothing = chromedp.Tasks{}

func waitFor(selector string) chromedp.Action {
	return chromedp.WaitVisible(selector, chromedp.ByQuery)
}

// pictured are the views in docs/console. More of them are the login and the overview of a cluster.
var pictured = []view{
	{"boundaries", "boundaries", "orisun_test_2", holds(`[...document.querySelectorAll('tbody tr')]
		.some(e => /^orisun_test_1/.test(e.innerText) && !e.innerText.includes('–'))`)},
	{"empty", "events?boundary=orders", "No events yet", see("● Live")},
	{"events", "events?boundary=orisun_test_1", "OrderPaid", see("● Live")},
	{"event", "events?boundary=orisun_test_1", "OrderPaid", chromedp.Tasks{
		chromedp.Click(`(//td[text()="SeatPaid"])[1]`), waitFor(`.graph svg`),
	}},
	{"playground", "playground?boundary=orisun_test_1&c=username%3Duser1", "How it is found", nothing},
	{"conflicts", "conflicts?boundary=orisun_test_1", "seat = 14C", nothing},
	{"indexes", "indexes?boundary=orisun_test_1", "had no index for", nothing},
	{"subscriptions", "subscriptions?boundary=orisun_test_1", "mailer", nothing},
	{"subscription", "subscriptions?boundary=orisun_test_1", "reports", chromedp.Tasks{
		chromedp.Click(`//td[text()="reports"]`), see("At most "), waitFor(`[aria-label=Partitions] tbody tr`),
	}},
	{"parked", "subscriptions?boundary=orisun_test_1", "mailer", parked},
	{"users", "users", "Create a user", nothing},
	{"overview", "overview", "postgresql", measured},
}

// measured waits until the overview has rates, and lines in its charts.
var measured = chromedp.Evaluate(`(async () => {
	const {history} = await import('/console/nodes.js');
	while (history.at.length < 8) await new Promise(done => setTimeout(done, 100));
})()`, nil, awaitPromise)

var parked = chromedp.Tasks{chromedp.Click(`//td/button[text()="3"]`), see("MailAsked0")}

// others are views without a picture in docs/console.
var others = []view{
	{"no-subscriptions", "subscriptions?boundary=orisun_test_2", "No durable subscriptions", nothing},
	{"no-indexes", "indexes?boundary=orisun_test_2", "No indexes", nothing},
	{"no-conflicts", "conflicts?boundary=orisun_test_2", "No conflicts in the last hour", nothing},
	{"no-context", "playground?boundary=orisun_test_1", "Compose a context", nothing},
	{"no-event", "events?boundary=orisun_test_1&c=event_type%3DNone", "No event here", nothing},
	{
		"filtered", "events?boundary=orisun_test_1&c=event_type%3DOrderPaid&c=username%3Duser1&live=off",
		"OrderPlaced", nothing,
	},
	{"conflicting", "playground?boundary=orisun_test_1&c=username%3Duser1", "How it is found", chromedp.Tasks{
		empty(`input[name=expected]`), fill(`input[name=expected]`, "1/0\n"), see("would conflict with these"),
	}},
	{"drop", "indexes?boundary=orisun_test_1", "customer", chromedp.Tasks{click("Drop"), see("Type the name")}},
	{"skip", "subscriptions?boundary=orisun_test_1", "mailer", chromedp.Tasks{
		parked, click("Skip all …"), see("They are never delivered again."),
	}},
	{"user", "users", "Create a user", chromedp.Tasks{
		chromedp.Click(`//td[text()="reader"]`), see("Delete the user"),
	}},
	{"keys", "events?boundary=orisun_test_1", "OrderPaid", chromedp.Tasks{
		chromedp.KeyEvent("?"), waitFor(`dialog[open] .keys`),
	}},
}

// fillForAllPictures is fillForPictures with what only pictures need: a lag, a user, and a boundary without events.
func fillForAllPictures(t *testing.T, server *servertest.Server) {
	t.Helper()
	fillForPictures(t, server)
	fallBehind(t, server)
	admin := orisunpb.NewAdminClient(server.Dial(t))
	if _, err := admin.CreateBoundary(t.Context(), &orisunpb.CreateBoundaryRequest{
		Name: "orders", Description: "All orders", Placement: &orisunpb.BoundaryPlacementInput{Namespace: "orders"},
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := admin.CreateUser(t.Context(), &orisunpb.CreateUserRequest{
		Name: "Reporting", Username: "reader", Password: "s3cret", Roles: []string{"read:orisun_test_1", "read:orders"},
	}); err != nil {
		t.Fatal(err)
	}
}

// inEachLook calls look in both schemes and widths.
func inEachLook(ctx context.Context, t *testing.T, what string, look func(scheme string, width int64)) {
	t.Helper()
	for _, scheme := range []string{"light", "dark"} {
		for _, width := range []int64{1280, 400} {
			features := []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}
			run(ctx, t, what, emulation.SetEmulatedMedia().WithFeatures(features), chromedp.EmulateViewport(width, 800))
			look(scheme, width)
		}
	}
}

// TestScreenshots writes pictures with -screenshots ../../docs/console, and visits what they show without. Those with
// -screenshots.all are for a look at everything.
func TestScreenshots(t *testing.T) {
	ctx := browser(t)
	take := func(server *servertest.Server, view view) {
		t.Helper()
		run(ctx, t, view.name, visit(server, view.path, view.text))
		if *screenshots == "" {
			return
		}
		inEachLook(ctx, t, view.name, func(scheme string, width int64) {
			t.Helper()
			var picture []byte
			run(ctx, t, view.name, chromedp.Reload(), see(view.text), view.open, chromedp.CaptureScreenshot(&picture))
			name := filepath.Join(*screenshots, fmt.Sprintf("%s-%s-%d.png", view.name, scheme, width))
			if err := os.WriteFile(name, picture, 0o600); err != nil {
				t.Fatal(err)
			}
		})
	}
	server := servertest.Start(t)
	fillForAllPictures(t, server)
	take(server, view{"login", "", "Password", nothing})
	run(ctx, t, "log in", logIn(server, "admin", "changeit"))
	views := pictured
	if *allScreenshots {
		views = slices.Concat(pictured, others)
	}
	for _, view := range views {
		take(server, view)
	}
	north, south := startCluster(t)
	keepSaving(t, south, "orisun_test_1")
	run(ctx, t, "log in to a cluster", logIn(north, "admin", "changeit"))
	take(north, view{"cluster", "overview", "postgresql", chromedp.Tasks{see("south"), measured}})
}

// answered is an answer whose body is read and closed.
type answered struct {
	status  int
	header  http.Header
	cookies []*http.Cookie
}

func get(t *testing.T, server *servertest.Server, method, path string, header ...string) answered {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, "http://"+server.HTTP+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		t.Fatal(err)
	}
	if err := response.Body.Close(); err != nil {
		t.Fatal(err)
	}
	return answered{response.StatusCode, response.Header, response.Cookies()}
}
