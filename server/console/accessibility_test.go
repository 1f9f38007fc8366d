package console_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"testing"

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

// covered is whether the header of a dialog covers what follows it.
const covered = `[...document.querySelectorAll('dialog[open]')].some(dialog => dialog.scrollTop === 0 &&
	dialog.children[0].getBoundingClientRect().bottom > dialog.children[1].getBoundingClientRect().top + 1)`

func TestNoPageHasAnIssueOfAccessibility(t *testing.T) {
	server := servertest.Start(t)
	fillForAllPictures(t, server)
	ctx := browser(t)
	check := func(what string) {
		t.Helper()
		inEachLook(ctx, t, what, func(scheme string, width int64) {
			t.Helper()
			checkWithAxe(ctx, t, fmt.Sprint(what, ", ", scheme, ", ", width))
			run(ctx, t, "the layout of "+what, equals(t, `document.documentElement.scrollWidth <= innerWidth`, true),
				equals(t, covered, false))
		})
	}
	run(ctx, t, "the login", withAxe(t), chromedp.Navigate("http://"+server.HTTP+"/"), see("Password"))
	check("login")
	run(ctx, t, "log in", logIn(server, "admin", "changeit"))
	for _, view := range slices.Concat(pictured, others) {
		run(ctx, t, view.name, visit(server, view.path, view.text), chromedp.Reload(), see(view.text), view.open)
		check(view.name)
	}
}
