package console_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/server/servertest"
)

// calls are the RPCs that pages call, each with a request about the boundary %s or about the user %s.
var calls = map[string]string{
	"Admin/ListBoundaries":                `{}`,
	"Admin/CreateBoundary":                `{"name": "mine", "placement": {"namespace": "mine"}}`,
	"Admin/ListConflicts":                 `{"boundary": "%s"}`,
	"Admin/ListNodes":                     `{"with_history": true}`,
	"Admin/ListSubscribers":               `{"boundary": "%s"}`,
	"Admin/ListUsers":                     `{}`,
	"Admin/CreateUser":                    `{"name": "x", "username": "eve", "password": "s3cret", "roles": ["admin"]}`,
	"Admin/DeleteUser":                    `{"user_id": "%s"}`,
	"Admin/ChangePassword":                `{"user_id": "%s", "current_password": "s3cret", "new_password": "an0ther"}`,
	"Admin/SetUserPassword":               `{"user_id": "%s", "new_password": "an0ther"}`,
	"Admin/EndUserSessions":               `{"user_id": "%s"}`,
	"Admin/ChangeUserRoles":               `{"user_id": "%s", "roles": ["user"]}`,
	"EventStore/GetEvents":                `{"boundary": "%s"}`,
	"EventStore/CatchUpSubscribeToEvents": `{"boundary": "%s"}`,
	"EventStore/Explain":                  `{"get_events": {"boundary": "%s"}}`,
	"EventStore/ListIndexes":              `{"boundary": "%s"}`,
	"EventStore/CreateIndex":              `{"boundary": "%s", "name": "x", "fields": [{"json_key": "x"}]}`,
	"EventStore/DropIndex":                `{"boundary": "%s", "name": "x"}`,
	"EventStore/SaveEvents":               `{"boundary": "%s", "events": [{"event_id": "x", "event_type": "X"}]}`,
	"Subscriptions/ListSubscriptions":     `{"boundary": "%s"}`,
	"Subscriptions/GetSubscription":       `{"boundary": "%s", "name": "x", "with_lag_history": true}`,
	"Subscriptions/ListParked":            `{"boundary": "%s", "subscription": "x"}`,
	"Subscriptions/ReplayParked":          `{"boundary": "%s", "subscription": "x"}`,
	"Subscriptions/SkipParked":            `{"boundary": "%s", "subscription": "x", "all": true}`,
}

// readersCalls are those that a reader of the boundary may make.
var readersCalls = []string{
	"Admin/ListConflicts", "Admin/ListSubscribers", "EventStore/CatchUpSubscribeToEvents", "EventStore/Explain",
	"EventStore/GetEvents", "Subscriptions/GetSubscription", "Subscriptions/ListParked", "Subscriptions/ListSubscriptions",
}

// callsOfAssets are the RPCs that the pages name.
func callsOfAssets(t *testing.T) []string {
	t.Helper()
	found := map[string]bool{}
	rpc := regexp.MustCompile(`'((?:EventStore|Admin|Subscriptions)/\w+)'`)
	assets := os.DirFS("assets")
	err := fs.WalkDir(assets, ".", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".js") || strings.HasPrefix(path, "vendor/") {
			return err
		}
		text, err := fs.ReadFile(assets, path)
		for _, match := range rpc.FindAllSubmatch(text, -1) {
			found[string(match[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return slices.Sorted(maps.Keys(found))
}

// post makes a call as a page does, with the cookie of a session, and returns the status of the answer.
func post(t *testing.T, server *servertest.Server, session, rpc, body string) int {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL()+"/orisun."+rpc,
		strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("X-Orisun-Console", "1")
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Cookie", "orisun_session="+session)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	if err := response.Body.Close(); err != nil && !errors.Is(err, io.EOF) { // a stream goes on until then
		t.Fatal(err)
	}
	return response.StatusCode
}

func TestNoCallOfThePagesAnswersWithoutTheRight(t *testing.T) {
	if found := callsOfAssets(t); !slices.Equal(found, slices.Sorted(maps.Keys(calls))) {
		t.Fatalf("the pages call %q; the table of this test has others", found)
	}
	server := servertest.Start(t)
	admin := orisunpb.NewAdminClient(server.Dial(t))
	logIn := func(username, role string) (session, id string) {
		t.Helper()
		created, err := admin.CreateUser(t.Context(), &orisunpb.CreateUserRequest{
			Name: username, Username: username, Password: "s3cret", Roles: []string{role},
		})
		if err != nil {
			t.Fatal(err)
		}
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL()+"/orisun.EventStore/Ping", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.SetBasicAuth(username, "s3cret")
		login := get(t, server, http.MethodPost, "/orisun.EventStore/Ping", "X-Orisun-Console", "1",
			"Authorization", request.Header.Get("Authorization"))
		if len(login.cookies) != 1 {
			t.Fatalf("the login answers %d", login.status)
		}
		return login.cookies[0].Value, created.GetUser().GetUserId()
	}
	nothing, victim := logIn("nothing", "read:elsewhere")
	reader, _ := logIn("reader", "read:orisun_test_1")
	for rpc, body := range calls {
		about := func(boundary string) string {
			if strings.Contains(body, `"user_id"`) {
				return fmt.Sprintf(body, victim)
			}
			if strings.Contains(body, "%s") {
				return fmt.Sprintf(body, boundary)
			}
			return body
		}
		for _, boundary := range []string{"orisun_test_1", "orisun_test_2", "orisun_admin"} {
			mayRead := boundary == "orisun_test_1" && slices.Contains(readersCalls, rpc)
			if status := post(t, server, reader, rpc, about(boundary)); (status != http.StatusForbidden) != mayRead ||
				mayRead && status != http.StatusOK && status != http.StatusNotFound {
				t.Errorf("%s of %s answers %d to a reader of orisun_test_1", rpc, boundary, status)
			}
			if rpc == "Admin/ChangePassword" {
				continue // the user's own
			}
			if status := post(t, server, nothing, rpc, about(boundary)); status != http.StatusForbidden {
				t.Errorf("%s of %s answers %d to a user without rights", rpc, boundary, status)
			}
		}
	}
	users, err := admin.ListUsers(t.Context(), &orisunpb.ListUsersRequest{})
	if err != nil || len(users.GetUsers()) != 3 {
		t.Errorf("after all that the users are %v, %v", users, err)
	}
}

// A page that a user may not see is not shown by its address either.
func TestNoPageIsShownByItsAddressWithoutTheRight(t *testing.T) {
	server := servertest.Start(t)
	save(t, server, "1", "Secret", `{"username": "alice"}`)
	contest(t, server, "12A", 1)
	admin := orisunpb.NewAdminClient(server.Dial(t))
	pages := []string{
		"overview", "boundaries", "events", "playground", "conflicts", "indexes", "subscriptions", "users", "account",
	}
	for _, user := range []struct {
		username, role string
		shown          map[string]string // the title of a page's address
	}{
		{"nothing", "read:elsewhere", map[string]string{
			"events": "Events", "playground": "Playground", "conflicts": "Conflicts", "subscriptions": "Subscriptions",
			"account": "Account",
		}},
		{"writer", "write:orisun_test_1", map[string]string{"account": "Account"}},
		{"reader", "read:orisun_test_2", map[string]string{
			"events": "Events", "playground": "Playground", "conflicts": "Conflicts", "subscriptions": "Subscriptions",
			"account": "Account",
		}},
	} {
		if _, err := admin.CreateUser(t.Context(), &orisunpb.CreateUserRequest{
			Name: user.username, Username: user.username, Password: "s3cret", Roles: []string{user.role},
		}); err != nil {
			t.Fatal(err)
		}
		ctx := browser(t)
		run(ctx, t, "log in", logIn(server, user.username, "s3cret"))
		for _, page := range pages {
			want := user.shown[page]
			switch {
			case want == "" && user.role == "write:orisun_test_1":
				want = "Account"
			case want == "":
				want = "Events"
			}
			run(ctx, t, page, visit(server, page+"?boundary=orisun_test_1&c=username%3Dalice", want),
				holds(fmt.Sprintf(`document.querySelector('main h1').innerText === %q`, want)),
				holds(`!document.querySelector('.busy')`),
				equals(t, `/Secret|12A/.test(document.querySelector('main').innerText)`, false))
			if want != "Account" {
				run(ctx, t, page, chromedp.WaitVisible(`.problem`, chromedp.ByQuery), see("has no right"))
			}
		}
	}
}
