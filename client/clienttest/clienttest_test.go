package clienttest_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/oexza/orisun/client"
	"github.com/oexza/orisun/client/clienttest"
	"github.com/oexza/orisun/client/internal/testserver"
)

var server *testserver.Server

func TestMain(m *testing.M) {
	// Each check creates a boundary in PostgreSQL, so few checks make many calls each.
	if err := errors.Join(flag.Set("rapid.checks", "15"), flag.Set("rapid.steps", "100")); err != nil {
		panic(err)
	}
	os.Exit(testserver.Run(func(start func(...string) (*testserver.Server, error)) int {
		var err error
		if server, err = start(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return m.Run()
	}))
}

// exampleT stands for the t of a test.
type exampleT struct {
	testing.TB
	cleanups []func()
}

func (*exampleT) Helper() {}

func (*exampleT) Fatal(args ...any) { panic(fmt.Sprint(args...)) }

func (t *exampleT) Cleanup(f func()) { t.cleanups = append(t.cleanups, f) }

func (t *exampleT) end() {
	for _, f := range slices.Backward(t.cleanups) {
		f()
	}
}

func ExampleNew() {
	t := new(exampleT) // in a test its own: func TestUsernames(t *testing.T)
	defer t.end()

	c := clienttest.New(t, "users")
	register := func(username string) error {
		_, err := client.Decide(context.Background(), c, "users", client.Any(client.Where("username", username)),
			client.Count, func(events int) ([]client.NewEvent, error) {
				if events > 0 {
					return nil, fmt.Errorf("the username %s is taken", username)
				}
				return client.One("UserRegistered", map[string]string{"username": username}), nil
			})
		return err
	}
	fmt.Println(register("carol"))
	fmt.Println(register("carol"))
	// Output:
	// <nil>
	// the username carol is taken
}

// Small alphabets, so that ids repeat and contexts overlap. Most saves succeed, so that there is something to find.
var (
	drawID = rapid.Custom(func(t *rapid.T) string {
		return fmt.Sprint("id", rapid.IntRange(0, 39).Draw(t, "id"))
	})
	drawType  = rapid.SampledFrom([]string{"T", "U"})
	drawKey   = rapid.SampledFrom([]string{"a", "b", "event_type", "eventType"})
	drawValue = rapid.SampledFrom(
		[]string{"1", "1.0", "100", "0.015", "true", "x", "T", "U", `{"k": [1, 2]}`, "tab\there", "ü<&>"},
	)
	drawStored = rapid.SampledFrom([]string{
		`{}`, ``, `null`, `{"a":1}`, `{"a": 1.0}`, `{"a": 1e2, "b": true}`, `{"a": 1.5e-2}`, `{"a": null, "b": "x"}`,
		`{"a": -0, "b": -0.0}`,
		`{"b": {"k":[1,2]}, "a": "x"}`, `{"a": "tab\there", "bb": 1, "b": "\u00fc<&>"}`, `{"a": 1, "a": 2}`,
		`{"a": "\u0001\"\\/"}`, `{"b": 12345678901234567890, "a": 0.10E1}`,
	})
	drawRefused = rapid.SampledFrom([]string{`[1]`, `{`, `"x"`, `{"a": "\u0000"}`, `{} {}`})
	drawData    = rapid.Custom(func(t *rapid.T) string {
		if rapid.IntRange(0, 19).Draw(t, "refused") == 19 {
			return drawRefused.Draw(t, "data")
		}
		return drawStored.Draw(t, "data")
	})
	drawCriterion = rapid.Custom(func(t *rapid.T) client.Criterion {
		var criterion client.Criterion
		for range rapid.IntRange(0, 2).Draw(t, "tags") {
			criterion = criterion.Where(drawKey.Draw(t, "key"), drawValue.Draw(t, "value"))
		}
		return criterion
	})
	drawCriteria = rapid.Custom(func(t *rapid.T) client.Criteria {
		var criteria client.Criteria
		for range rapid.IntRange(0, 2).Draw(t, "criteria") {
			criteria = append(criteria, drawCriterion.Draw(t, "criterion"))
		}
		return criteria
	})
	drawEvent = rapid.Custom(func(t *rapid.T) client.NewEvent {
		return client.NewEvent{
			ID: drawID.Draw(t, "id"), Type: drawType.Draw(t, "type"),
			Data: json.RawMessage(drawData.Draw(t, "data")), Metadata: json.RawMessage(drawData.Draw(t, "metadata")),
		}
	})
)

// The memory and the real server answer the same calls alike.
func TestTheMemoryAgreesWithTheServer(t *testing.T) {
	actual, err := client.Dial(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := actual.Close(); err != nil {
			t.Error(err)
		}
	}()
	rapid.Check(t, func(rt *rapid.T) {
		boundary := "m" + strings.ToLower(rand.Text()[:12])
		if _, err := actual.CreateBoundary(t.Context(), client.Boundary{Name: boundary, Schema: "public"}); err != nil {
			t.Fatal(err)
		}
		memory := clienttest.New(t, boundary)
		positions := []client.Position{{}, {TransactionID: 1, GlobalID: 1}, {TransactionID: 9, GlobalID: 2}}
		both := func(do func(c *client.Client) string) string {
			want, got := do(actual), do(memory)
			if want != got {
				rt.Fatalf("the server: %s\nthe memory: %s", want, got)
			}
			return got
		}
		rt.Repeat(map[string]func(*rapid.T){
			"save": func(rt *rapid.T) {
				condition := client.Always
				if rapid.Bool().Draw(rt, "conditional") {
					condition = client.IfUnchanged(drawCriteria.Draw(rt, "context"), rapid.SampledFrom(positions).Draw(rt, "seen"))
				}
				events := rapid.SliceOfN(drawEvent, 0, 3).Draw(rt, "events")
				both(func(c *client.Client) string {
					at, err := c.Save(t.Context(), boundary, condition, events...)
					if err == nil && c == memory {
						positions = append(positions, at)
					}
					return fmt.Sprint(at, describe(err))
				})
			},
			"get": func(rt *rapid.T) {
				criteria := drawCriteria.Draw(rt, "criteria")
				options := []client.GetOption{client.PageSize(rapid.IntRange(1, 3).Draw(rt, "page"))}
				at := rapid.SampledFrom(positions).Draw(rt, "position")
				options = append(options, rapid.SampledFrom([]client.GetOption{
					client.After(at), client.From(at), client.Limit(2), client.Backward(),
				}).Draw(rt, "option"))
				if rapid.Bool().Draw(rt, "backward") {
					options = append(options, client.Backward())
				}
				both(func(c *client.Client) string {
					var all []string
					for event, err := range c.Get(t.Context(), boundary, criteria, options...) {
						all = append(
							all,
							fmt.Sprint(event.ID, event.Type, event.Position, string(event.Data), string(event.Metadata), describe(err)),
						)
					}
					return strings.Join(all, "\n")
				})
			},
			"latest": func(rt *rapid.T) {
				criteria := drawCriteria.Draw(rt, "criteria")
				both(func(c *client.Client) string {
					latest, err := c.Latest(t.Context(), boundary, criteria)
					text := fmt.Sprint(latest.Position, describe(err))
					for _, event := range latest.Events {
						if event != nil {
							text += " " + event.ID
						}
					}
					return text
				})
			},
		})
	})
}

// describe is what a program can find out about an error.
func describe(err error) string {
	var conflict *client.ConflictError
	var failed *client.Error
	switch {
	case errors.As(err, &conflict):
		return fmt.Sprint(" conflict ", conflict.Expected, conflict.Actual, conflict.EventID, conflict.EventType)
	case errors.As(err, &failed):
		text := fmt.Sprint(" ", failed.Code, failed.Reason, failed.Metadata["taken_global_id"])
		for _, field := range failed.Fields {
			text += " " + field.Path
		}
		return text
	case err != nil:
		return err.Error()
	}
	return ""
}

func TestSubscriptionsBoundariesAndIndexes(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	t.Run("", func(t *testing.T) {
		c := clienttest.New(t, "bank")
		for i := range 3 {
			_, err := c.Save(t.Context(), "bank", client.Always, client.NewEvent{ID: fmt.Sprint(i), Type: "T"})
			if err != nil {
				t.Fatal(err)
			}
		}
		seen, done := "", errors.New("done")
		err := c.Handle(t.Context(), "bank", nil, func(ctx context.Context, event client.Event) error {
			if seen += event.ID; event.ID == "2" {
				_, err := c.Save(ctx, "bank", client.Always, client.NewEvent{ID: "3", Type: "T"})
				return err
			} else if event.ID == "3" {
				return done
			}
			return nil
		}, client.As("one"))
		if !errors.Is(err, done) || seen != "0123" {
			t.Errorf("%v: %s", err, seen)
		}
		if _, err := c.Boundary(t.Context(), "orders"); !errors.Is(err, client.ErrNotFound) {
			t.Error(err)
		}
		if _, err := c.CreateBoundary(t.Context(), client.Boundary{Name: "orders"}); err != nil {
			t.Error(err)
		}
		if all, err := c.Boundaries(t.Context()); err != nil || len(all) != 2 {
			t.Error(all, err)
		}
		if count, err := c.EventCount(t.Context(), "bank"); err != nil || count != 4 {
			t.Error(count, err)
		}
		index := client.Index{Name: "a", Fields: []client.IndexField{{Key: "a"}}}
		if _, err := c.CreateIndex(t.Context(), "bank", index); err != nil {
			t.Error(err)
		}
		if err := c.DropIndex(t.Context(), "bank", "a"); err != nil {
			t.Error(err)
		}
		if err := c.DropIndex(t.Context(), "bank", "a"); !errors.Is(err, client.ErrNotFound) {
			t.Error(err)
		}
		if _, err := c.Users(t.Context()); err == nil {
			t.Error("the memory has users")
		}
	})
}
