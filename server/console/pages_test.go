package console_test

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/server/servertest"
)

// visit goes to a page by its address, and waits until it shows a text.
func visit(server *servertest.Server, page, text string) chromedp.Action {
	return chromedp.Tasks{chromedp.Navigate(server.URL() + "/#/" + page), see(text)}
}

func click(text string) chromedp.Action {
	return chromedp.Click(fmt.Sprintf(`(//main | //dialog)//button[normalize-space()=%q]`, text))
}

func fill(selector, text string) chromedp.Action {
	return chromedp.SendKeys(selector, text, chromedp.ByQuery)
}

// empty clears a field.
func empty(selector string) chromedp.Action {
	return chromedp.Evaluate(fmt.Sprintf(`void (document.querySelector(%q).value = '')`, selector), nil)
}

// gone waits until no element has this text.
func gone(text string) chromedp.Action {
	return chromedp.WaitNotPresent(`//body//*[text()[contains(., ` + literal(text) + `)]]`)
}

// holds waits until an expression of the page is true.
func holds(expression string) chromedp.Action { return chromedp.Poll(expression, nil) }

func TestTheEmptyStatesCommandSavesTheFirstEvent(t *testing.T) {
	server := servertest.Start(t)
	ctx := browser(t)
	var command string
	run(ctx, t, "create a boundary", logIn(server, "admin", "changeit"), visit(server, "boundaries",
		"Create a boundary"),
		fill(`input[name=name]`, "orders"), fill(`input[name=description]`, "All orders"), click("Create"),
		see("All orders"), chromedp.Click(`//td/a[text()="orders"]`), see("No events yet"), see("● Live"),
		chromedp.Text(`.empty pre`, &command, chromedp.ByQuery))
	command = strings.Replace(command, "USERNAME", "admin:changeit", 1)
	if out, err := exec.CommandContext(t.Context(), "sh", "-c", command).CombinedOutput(); err != nil {
		t.Fatalf("%s\n%s: %v", command, out, err)
	}
	run(ctx, t, "the event arrives", see("UserRegistered"), gone("No events yet"))
}

func TestPagesOfEvents(t *testing.T) {
	server := servertest.Start(t)
	for i := range 120 {
		save(t, server, fmt.Sprint(i), "Counted", fmt.Sprintf(`{"n": %d}`, i))
	}
	ctx := browser(t)
	page := func(first, last int) chromedp.Action {
		return holds(fmt.Sprintf(`(() => {
			const cells = [...document.querySelectorAll('.events td.num')].map(td => Number(td.innerText));
			return cells[0] === %d && cells.at(-1) === %d && !document.querySelector('.busy') })()`, first, last))
	}
	jump := func(to string) chromedp.Action {
		return chromedp.Tasks{
			chromedp.Evaluate(`document.querySelector('details').open = true`, nil), fill(`input[name=to]`, to), click("Go"),
			chromedp.WaitEnabled(`details form button`, chromedp.ByQuery),
			holds(`document.querySelector('input[name=to]').value === ''`),
		}
	}
	run(ctx, t, "the latest", logIn(server, "admin", "changeit"), visit(server, "events?boundary=orisun_test_1",
		"● Live"), page(119, 70))
	run(ctx, t, "older", click("Older →"), page(69, 20), click("Older →"), page(19, 0))
	run(ctx, t, "newer", click("← Newer"), page(69, 20), chromedp.NavigateBack(), page(19, 0))
	run(ctx, t, "the end", click("Older →"), see("No event here"), click("Show the latest of all"), page(119, 70))
	run(ctx, t, "jump to a global id", jump("10"), page(59, 10))
	run(ctx, t, "jump to the beginning", jump("0"), page(49, 0))
	run(ctx, t, "jump to a time", jump("2020-01-01 12:00"), page(49, 0))
	run(ctx, t, "jump to nothing", fill(`input[name=to]`, "soon"), click("Go"), see("Write a global id, or a time"))
	run(ctx, t, "follow again", click("Follow live"), page(119, 70), see("● Live"))
}

func TestKeysMoveAndOpen(t *testing.T) {
	server := servertest.Start(t)
	for i := range 3 {
		save(t, server, fmt.Sprint(i), "Counted", fmt.Sprintf(`{"n": %d}`, i))
	}
	ctx := browser(t)
	focused := func(position string) chromedp.Action {
		return holds(fmt.Sprintf(`document.activeElement.querySelector('td')?.innerText === %q`, position))
	}
	run(ctx, t, "the page", logIn(server, "admin", "changeit"), visit(server, "events?boundary=orisun_test_1",
		"Counted"))
	run(ctx, t, "j and k", chromedp.KeyEvent("j"), focused("2"), chromedp.KeyEvent("j"), focused("1"),
		chromedp.KeyEvent("jjj"), focused("0"), chromedp.KeyEvent("kkkk"), focused("2"))
	run(ctx, t, "Enter and Esc", press("Enter"), holds(`document.querySelector('dialog[open]') !== null`),
		see("Read it from a shell"),
		chromedp.KeyEvent(kb.Escape), holds(`!document.querySelector('dialog')`), focused("2"))
	run(ctx, t, "?", chromedp.KeyEvent("?"), see("previous row"), chromedp.KeyEvent(kb.Escape),
		holds(`!document.querySelector('dialog')`))
	run(ctx, t, "/", press("/"), holds(`document.activeElement.type === 'search'`),
		chromedp.KeyEvent("type:jk?/"), // text in a field
		chromedp.KeyEvent(kb.Enter), see("No event here"), see("type: jk?/"), holds(`!document.querySelector('dialog')`))
}

func TestAnAdvisedIndexIsCreatedAndDropped(t *testing.T) {
	server := servertest.Start(t)
	store := orisunpb.NewEventStoreClient(server.Dial(t))
	save(t, server, "1", "UserRegistered", `{"username": "alice"}`)
	if _, err := store.GetEvents(t.Context(), &orisunpb.GetEventsRequest{
		Boundary: "orisun_test_1",
		Query: &orisunpb.Query{Criteria: []*orisunpb.Criterion{
			{Tags: []*orisunpb.Tag{{Key: "username", Value: "alice"}}},
		}},
	}); err != nil {
		t.Fatal(err)
	}
	ctx := browser(t)
	run(ctx, t, "advice", logIn(server, "admin", "changeit"), visit(server, "indexes?boundary=orisun_test_1",
		"1 read since"), see("had no index for"))
	run(ctx, t, "create it", click("Create index username"),
		holds(`/creating|username:/.test(document.querySelector('[role=status]')?.innerText)`),
		see("Unused"), gone("Advice"))
	run(ctx, t, "drop it", click("Drop"), fill(`dialog input`, "other\n"), see("Type username."), empty(`dialog input`),
		fill(`dialog input`, "username\n"), holds(`!document.querySelector('dialog')`), see("No indexes"))
	list, err := store.ListIndexes(t.Context(), &orisunpb.ListIndexesRequest{Boundary: "orisun_test_1"})
	if err != nil || len(list.GetIndexes()) != 0 {
		t.Errorf("%v, %v", list.GetIndexes(), err)
	}
}

// park creates a subscription whose consumer refuses three events for good.
func park(t *testing.T, server *servertest.Server) {
	t.Helper()
	subscriptions := orisunpb.NewSubscriptionsClient(server.Dial(t))
	for i := range 3 {
		save(t, server, fmt.Sprint("mail", i), fmt.Sprintf("MailAsked%d", i),
			fmt.Sprintf(`{"to": "user%d@example.com"}`, i))
	}
	if _, err := subscriptions.CreateSubscription(t.Context(), &orisunpb.CreateSubscriptionRequest{
		Boundary: "orisun_test_1", Name: "mailer", MaxRefusals: 1, AckTimeout: durationpb.New(1e9),
		Start: &orisunpb.SubscriptionStart{},
	}); err != nil {
		t.Fatal(err)
	}
	stream, err := subscriptions.Consume(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	send := func(request *orisunpb.ConsumeRequest) {
		t.Helper()
		if err := stream.Send(request); err != nil {
			t.Fatal(err)
		}
	}
	start := &orisunpb.ConsumeStart{Boundary: "orisun_test_1", Subscription: "mailer"}
	send(&orisunpb.ConsumeRequest{Request: &orisunpb.ConsumeRequest_Start{Start: start}})
	for parked := 0; parked < 3; {
		answer, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range answer.GetDeliveries().GetDeliveries() {
			send(&orisunpb.ConsumeRequest{Request: &orisunpb.ConsumeRequest_Refuse{Refuse: &orisunpb.Refusal{
				Partition: d.GetPartition(), Epoch: d.GetEpoch(), Position: d.GetEvent().GetPosition(),
				Reason: "the mail server says <b>no</b>",
			}}})
			parked++
		}
	}
	for parked := int64(0); parked < 3; {
		list, err := subscriptions.GetSubscription(t.Context(),
			&orisunpb.GetSubscriptionRequest{Boundary: "orisun_test_1", Name: "mailer"})
		if err != nil {
			t.Fatal(err)
		}
		parked = list.GetSubscription().GetParked()
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
}

func TestOneParkedEventIsReplayedAndOneSkipped(t *testing.T) {
	server := servertest.Start(t)
	park(t, server)
	of := func(kind, label string) chromedp.Action {
		return chromedp.Click(fmt.Sprintf(`//dialog//li[.//strong[text()=%q]]//button[text()=%q]`, kind, label))
	}
	ctx := browser(t)
	run(ctx, t, "parked events", logIn(server, "admin", "changeit"), visit(server,
		"subscriptions?boundary=orisun_test_1", "mailer"),
		chromedp.Click(`//td/button[text()="3"]`), see("the mail server says <b>no</b>"))
	run(ctx, t, "skip one", of("MailAsked1", "Skip …"), of("MailAsked1", "Skip for good"),
		gone("MailAsked1"), see("MailAsked0"), see("MailAsked2"))
	run(ctx, t, "replay one", of("MailAsked0", "Replay"),
		chromedp.WaitVisible(`//dialog//li[.//strong[text()="MailAsked0"]]//*[text()="Replaying"] |
			//dialog[not(.//strong[text()="MailAsked0"])]`))
	list, err := orisunpb.NewSubscriptionsClient(server.Dial(t)).ListParked(t.Context(), &orisunpb.ListParkedRequest{
		Boundary: "orisun_test_1", Subscription: "mailer",
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range list.GetEvents() {
		if kind := p.GetEvent().GetEventType(); kind == "MailAsked1" || p.GetReplaying() != (kind == "MailAsked0") {
			t.Errorf("%s is parked, replaying %t", kind, p.GetReplaying())
		}
	}
}

func TestUsersAreCreatedRestrictedAndDeleted(t *testing.T) {
	server := servertest.Start(t)
	save(t, server, "1", "Visible", `{}`)
	ctx := browser(t)
	check := func(role string) chromedp.Action {
		return chromedp.Click(fmt.Sprintf(`//input[@aria-label=%q][not(ancestor::dialog) or ancestor::dialog[@open]]`,
			role))
	}
	navigation := func(pages string) chromedp.Action {
		return holds(fmt.Sprintf(`[...document.querySelectorAll('nav[aria-label=Pages] a')]
			.map(a => a.innerText).join(' ') === %q`, pages))
	}
	logOut := chromedp.Tasks{chromedp.Click(`//header//button[text()="Log out"]`), see("Password")}
	run(ctx, t, "create a user", logIn(server, "admin", "changeit"), visit(server, "users", "Create a user"),
		fill(`input[name=name]`, "Joe"), fill(`input[name=username]`, "joe"), fill(`input[name=password]`, "s3cret"),
		chromedp.WaitNotPresent(`main input[type=checkbox]:checked`, chromedp.ByQuery),
		chromedp.WaitVisible(`//main//button[normalize-space()="Create" and @disabled]`), check("operations"),
		see("The role operations reads and saves events in every boundary"), check("user"), click("Create"),
		see("joe can log in."), chromedp.WaitVisible(`//td[text()="joe"]`), logOut)
	run(ctx, t, "what operations see", logIn(server, "joe", "s3cret"),
		navigation("Overview Boundaries Events Playground Conflicts Indexes Subscriptions Account"), logOut)
	run(ctx, t, "restrict the user", logIn(server, "admin", "changeit"), visit(server, "users", "joe"),
		chromedp.Click(`//td[text()="joe"]`),
		chromedp.WaitVisible(`dialog[open]`, chromedp.ByQuery), chromedp.Click(`dialog input[aria-label=operations]`,
			chromedp.ByQuery),
		chromedp.Click(`dialog input[aria-label=user]`, chromedp.ByQuery),
		chromedp.Click(`dialog input[aria-label="read:orisun_test_1"]`, chromedp.ByQuery),
		click("Save roles"), see("The sessions of the user have ended."), chromedp.KeyEvent(kb.Escape),
		see("read:orisun_test_1"), logOut)
	run(ctx, t, "what is left", logIn(server, "joe", "s3cret"),
		navigation("Events Playground Conflicts Subscriptions Account"), visit(server, "events", "Visible"),
		visit(server, "overview", "Visible"), visit(server, "events?boundary=orisun_test_2", "has no right to read events"))
	run(ctx, t, "change the password", visit(server, "account", "Your password"), fill(`input[name=current]`,
		"wrong"), fill(`input[name=next]`, "s3cret2"),
		click("Change"), chromedp.WaitVisible(`.problem`, chromedp.ByQuery), empty(`input[name=current]`),
		fill(`input[name=current]`, "s3cret"), click("Change"), see("The password has changed"), logIn(server, "joe",
			"s3cret2"), logOut)
	run(ctx, t, "delete the user", logIn(server, "admin", "changeit"), visit(server, "users", "joe"),
		chromedp.Click(`//td[text()="joe"]`),
		fill(`dialog input[name=username]`, "jo\n"), see("Type joe."), empty(`dialog input[name=username]`),
		fill(`dialog input[name=username]`, "joe\n"), holds(`!document.querySelector('dialog')`),
		chromedp.WaitNotPresent(`//td[text()="joe"]`))
}

// pressed waits for a button of the open dialog, and clicks it.
func pressed(label string) chromedp.Action {
	return chromedp.Click(fmt.Sprintf(`//dialog[@open]//button[normalize-space()=%q]`, label))
}

func TestAnAdminSetsAPasswordAndEndsSessions(t *testing.T) {
	server := servertest.Start(t)
	if _, err := orisunpb.NewAdminClient(server.Dial(t)).CreateUser(t.Context(), &orisunpb.CreateUserRequest{
		Name: "Joe", Username: "joe", Password: "s3cret", Roles: []string{"read:orisun_test_1"},
	}); err != nil {
		t.Fatal(err)
	}
	ctx, joe := browser(t), browser(t)
	polling := visit(server, "subscriptions?boundary=orisun_test_1", "No durable subscriptions")
	run(joe, t, "a user works", logIn(server, "joe", "s3cret"), polling)
	run(ctx, t, "an admin opens the user", logIn(server, "admin", "changeit"), visit(server, "users", "joe"),
		chromedp.Click(`//td[text()="joe"]`))
	run(ctx, t, "no confirmation", pressed("End all sessions …"), see("End all sessions of joe?"), pressed("Cancel"),
		gone("End all sessions of joe?"))
	run(joe, t, "the session goes on", chromedp.Reload(), see("No durable subscriptions"))
	run(ctx, t, "end the sessions", pressed("End all sessions …"), pressed("End all sessions"),
		see("All sessions of the user have ended."))
	run(joe, t, "the user logs in again", see("The session has ended."), logIn(server, "joe", "s3cret"), polling)

	run(ctx, t, "a weak password", fill(`dialog input[name=password]`, "weak"), pressed("Set the password …"),
		holds(`document.querySelector('dialog input[name=password]:invalid')`))
	run(ctx, t, "set a password", empty(`dialog input[name=password]`), fill(`dialog input[name=password]`, "an0ther"),
		pressed("Set the password …"), see("Set this password for joe?"), pressed("Set the password"),
		see("Set. The sessions of the user have ended."))
	run(joe, t, "the old password", see("The session has ended."), fill(`input[name=username]`, "joe"),
		fill(`input[name=password]`, "s3cret\n"), chromedp.WaitVisible(`.problem`, chromedp.ByQuery))
	run(joe, t, "the new one", logIn(server, "joe", "an0ther"))

	run(ctx, t, "the own account", chromedp.KeyEvent(kb.Escape), holds(`!document.querySelector('dialog')`),
		chromedp.Click(`//td[text()="admin"][1]`), see("This is your own account"),
		holds(`!document.querySelector('dialog input[name=password]')`), pressed("End all sessions …"),
		pressed("End all sessions"), see("All of your sessions have ended. Log in again."))
}

// contest saves once for a seat, and conflicts count times.
func contest(t *testing.T, server *servertest.Server, seat string, count int) {
	t.Helper()
	store := orisunpb.NewEventStoreClient(server.Dial(t))
	for i := range count + 1 {
		_, err := store.SaveEvents(t.Context(), &orisunpb.SaveEventsRequest{
			Boundary: "orisun_test_1",
			Query: &orisunpb.SaveQuery{Criteria: []*orisunpb.Criterion{
				{Tags: []*orisunpb.Tag{{Key: "event_type", Value: "SeatTaken"}, {Key: "seat", Value: seat}}},
			}},
			Events: []*orisunpb.EventToSave{{
				EventId: fmt.Sprint(seat, i), EventType: "SeatTaken", Data: fmt.Sprintf(`{"seat": %q}`, seat),
			}},
		})
		if want := codes.AlreadyExists; i > 0 && status.Code(err) != want {
			t.Fatalf("save %d: %v", i, err)
		} else if i == 0 && err != nil {
			t.Fatal(err)
		}
	}
}

func TestConflictsShowTheContestedContext(t *testing.T) {
	server := servertest.Start(t)
	ctx := browser(t)
	run(ctx, t, "no conflicts", logIn(server, "admin", "changeit"),
		visit(server, "conflicts?boundary=orisun_test_1", "No conflicts in the last hour"))
	contest(t, server, "12A", 7)
	contest(t, server, "12B", 2)
	var first string
	run(ctx, t, "conflicts appear", see("seat = 12B"), gone("No conflicts"),
		chromedp.Text(`tbody tr:first-child`, &first, chromedp.ByQuery))
	if !strings.Contains(first, "type: SeatTaken and seat = 12A") || !strings.Contains(first, "7") {
		t.Errorf("the most contested context is %q", first)
	}
	run(ctx, t, "its context", chromedp.Click(`//a[contains(., "12A")]`), see("How it is found"), see("seat = 12A"))
}

func TestTheGraphLeadsFromAnEventToItsEffect(t *testing.T) {
	server := servertest.Start(t)
	store := orisunpb.NewEventStoreClient(server.Dial(t))
	for _, events := range [][]*orisunpb.EventToSave{
		{{EventId: "order", EventType: "OrderPlaced", Metadata: `{"correlation_id": "c1"}`}, {
			EventId:   "seat",
			EventType: "SeatTaken",
		}},
		{{EventId: "stranger", EventType: "Stranger"}},
		{{EventId: "paid", EventType: "OrderPaid", Metadata: `{"correlation_id": "c1", "causation_id": "order"}`}},
		{{EventId: "sent", EventType: "OrderSent", Metadata: `{"causation_id": "paid"}`, Data: `{"parcel": 7}`}},
	} {
		if _, err := store.SaveEvents(t.Context(), &orisunpb.SaveEventsRequest{
			Boundary: "orisun_test_1",
			Events:   events,
		}); err != nil {
			t.Fatal(err)
		}
	}
	ctx := browser(t)
	var nodes, command string
	run(ctx, t, "the graph of the cause", logIn(server, "admin", "changeit"),
		visit(server, "events?boundary=orisun_test_1", "OrderSent"), chromedp.Click(`//td[text()="OrderPlaced"]`),
		chromedp.WaitVisible(`.graph svg`, chromedp.ByQuery),
		chromedp.Evaluate(`[...document.querySelectorAll('.graph g text:first-of-type')]
			.map(e => e.textContent).join(' ')`, &nodes),
		chromedp.Evaluate(`[...document.querySelectorAll('dialog .command pre')].map(e => e.textContent).join(' ')`,
			&command))
	if nodes != "OrderPlaced SeatTaken OrderPaid OrderSent" {
		t.Errorf("the graph has %s", nodes)
	}
	if !strings.Contains(command, "http://"+server.HTTP+"/") || strings.Count(command, server.Address) != 2 {
		t.Errorf("the commands call another address than %s and %s: %s", server.HTTP, server.Address, command)
	}
	run(ctx, t, "to the effect", chromedp.Click(`g[aria-label="OrderSent at 4"]`, chromedp.ByQuery), see(`"parcel": 7`),
		chromedp.WaitVisible(`g.own[aria-label="OrderSent at 4"]`, chromedp.ByQuery))
}

// A user with the role user has a name of a boundary to type: the roles do not name all that it reads.
func TestTheRoleUserReadsBoundariesThatNoOtherRoleNames(t *testing.T) {
	server := servertest.Start(t)
	save(t, server, "1", "Everywhere", `{}`)
	if _, err := orisunpb.NewAdminClient(server.Dial(t)).CreateUser(t.Context(), &orisunpb.CreateUserRequest{
		Name: "Joe", Username: "joe", Password: "s3cret", Roles: []string{"user", "read:orisun_test_2"},
	}); err != nil {
		t.Fatal(err)
	}
	ctx := browser(t)
	run(ctx, t, "another boundary", logIn(server, "joe", "s3cret"), visit(server, "events", "Which boundary?"),
		fill(`input[name=boundary]`, "orisun_test_1\n"), see("Everywhere"))
}

func TestAllParkedEventsAreSkippedAfterAConfirmation(t *testing.T) {
	server := servertest.Start(t)
	park(t, server)
	ctx := browser(t)
	calls := `test.calls.filter(c => c === 'SkipParked' || c === 'ReplayParked').length`
	run(ctx, t, "parked events", logIn(server, "admin", "changeit"), chromedp.Evaluate(`void (() => {
		window.test = {calls: []};
		const real = fetch;
		window.fetch = (path, options) => { test.calls.push(path.split('/').at(-1)); return real(path, options); };
		location.hash = '#/subscriptions?boundary=orisun_test_1';
	})()`, nil), chromedp.Click(`//td/button[text()="3"]`), see("3 parked in all; 1 to"))
	run(ctx, t, "a confirmation", click("Skip all …"), see("Skip all 3 parked events? They are never delivered again."),
		click("Cancel"), click("Replay all …"), see("Replay all 3 parked events?"), click("Cancel"), see("MailAsked0"),
		equals(t, calls, 0))
	run(ctx, t, "skip", click("Skip all …"), click("Skip 3 parked events"), see("3 events are skipped."),
		see("Nothing is parked."), equals(t, calls, 1))
	list, err := orisunpb.NewSubscriptionsClient(server.Dial(t)).ListParked(t.Context(), &orisunpb.ListParkedRequest{
		Boundary: "orisun_test_1", Subscription: "mailer",
	})
	if err != nil || len(list.GetEvents()) != 0 {
		t.Errorf("parked: %v, %v", list.GetEvents(), err)
	}
}

func TestTheConflictsOfAnExpectedPositionAreListed(t *testing.T) {
	server := servertest.Start(t)
	for i := range 4 {
		save(t, server, fmt.Sprint(i), []string{"Counted", "Other"}[i/3], fmt.Sprintf(`{"n": %d}`, i))
	}
	ctx := browser(t)
	expect := func(position, text string) chromedp.Action {
		return chromedp.Tasks{
			empty(`input[name=expected]`), fill(`input[name=expected]`, position+"\n"), see(text),
		}
	}
	listed := `[...document.querySelectorAll('[aria-label="Conflicting events"] .muted')].map(e => e.innerText).join()`
	run(ctx, t, "the context", logIn(server, "admin", "changeit"),
		visit(server, "playground?boundary=orisun_test_1&c=event_type%3DCounted", "What a save would conflict with"),
		holds(`document.querySelector('input[name=expected]').value === '3/2'`))
	run(ctx, t, "the last position", click("Check"), see("A save that expects 3/2 would not conflict"))
	run(ctx, t, "an older one", expect("1/0", "A save that expects 1/0 would conflict with these 2 events."),
		equals(t, listed, "2/1,3/2"))
	run(ctx, t, "none", expect("-1/-1", "A save that expects -1/-1 would conflict with these 3 events."))
	run(ctx, t, "no position", expect("soon", "Write a position such as 12/3"))
}

func TestAStoreWithoutABoundarySaysWhatToDo(t *testing.T) {
	server := servertest.Start(t)
	ctx := browser(t)
	run(ctx, t, "a fake server", logIn(server, "admin", "changeit"), chromedp.Evaluate(`void (() => {
		const real = fetch;
		window.fetch = async (path, options) => path.endsWith('/ListBoundaries')
			? new Response(JSON.stringify({boundaries: [{name: 'orisun_admin'}]})) : real(path, options);
	})()`, nil))
	for _, page := range []string{"events", "playground", "conflicts", "indexes", "subscriptions"} {
		run(ctx, t, page, chromedp.Evaluate(`void (location.hash = '#/`+page+`')`, nil),
			holds(`document.querySelector('nav [aria-current]').hash === '#/`+page+`'`), see("No boundary yet"),
			chromedp.WaitVisible(`//main//a[@href="#/boundaries" and text()="Create the first one"]`))
	}
}

func TestTheChosenBoundaryStaysOnOtherPages(t *testing.T) {
	server := servertest.Start(t)
	ctx := browser(t)
	chosen := holds(`document.querySelector('select[name=boundary]')?.value === 'orisun_test_2'`)
	page := func(title string) chromedp.Action {
		return chromedp.Tasks{
			chromedp.Click(`//nav//a[text()="` + title + `"]`), chromedp.WaitVisible(`//h1[text()="` + title + `"]`),
		}
	}
	run(ctx, t, "choose it", logIn(server, "admin", "changeit"),
		visit(server, "events?boundary=orisun_test_2", "No events yet"), chosen)
	for _, title := range []string{"Indexes", "Conflicts", "Playground", "Subscriptions"} {
		run(ctx, t, title, page(title), chosen)
	}
	run(ctx, t, "a page of all", page("Users"), page("Events"), chosen)
}
