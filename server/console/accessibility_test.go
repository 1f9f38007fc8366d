package console_test

import (
	"context"
	"os"
	"slices"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"github.com/oexza/orisun/server/servertest"
)

// withAxe runs axe-core in every document of a tab. The pages themselves may not load it: their policy forbids it.
func withAxe(t *testing.T) chromedp.Action {
	t.Helper()
	axe, err := os.ReadFile("testdata/axe.min.js")
	if err != nil {
		t.Fatal(err)
	}
	return chromedp.ActionFunc(func(ctx context.Context) error {
		_, err := page.AddScriptToEvaluateOnNewDocument(string(axe)).Do(ctx)
		return err
	})
}

// checkWithAxe reports the issues that axe finds in what a tab shows.
func checkWithAxe(ctx context.Context, t *testing.T, what string) {
	t.Helper()
	var found struct {
		Passed []string
		Issues []string
	}
	run(ctx, t, "axe on "+what, chromedp.Evaluate(`axe.run().then(({passes, violations}) => ({
		passed: passes.map(p => p.id),
		issues: violations.flatMap(v => v.nodes.map(n =>
			[v.impact, v.id, n.target.join(' '), n.html.slice(0, 160), n.failureSummary].join(' | '))),
	}))`, &found, awaitPromise))
	for _, issue := range found.Issues {
		t.Errorf("%s: %s", what, issue)
	}
	if !slices.Contains(found.Passed, "color-contrast") {
		t.Errorf("%s: axe has not compared colours: %q", what, found.Passed)
	}
}

func TestNoPageHasAnIssueOfAccessibility(t *testing.T) {
	server := servertest.Start(t)
	fillForPictures(t, server)
	ctx := browser(t)
	run(ctx, t, "the login", withAxe(t), chromedp.Navigate("http://"+server.HTTP+"/"), see("Password"))
	schemes := func(what string) {
		t.Helper()
		for _, scheme := range []string{"light", "dark"} {
			features := []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}
			run(ctx, t, what, emulation.SetEmulatedMedia().WithFeatures(features))
			checkWithAxe(ctx, t, what+", "+scheme)
		}
	}
	schemes("login")
	run(ctx, t, "an empty page", logIn(server, "admin", "changeit"),
		visit(server, "subscriptions?boundary=orisun_test_2", "No durable subscriptions"))
	schemes("no subscriptions")
	for _, view := range pictured {
		run(ctx, t, view.name, visit(server, view.path, view.text), chromedp.Reload(), see(view.text), view.open)
		schemes(view.name)
	}
	run(ctx, t, "help", visit(server, "events?boundary=orisun_test_1", "OrderPaid"), chromedp.KeyEvent("?"),
		chromedp.WaitVisible(`dialog[open] .keys`, chromedp.ByQuery))
	schemes("help")
}
