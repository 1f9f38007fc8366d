package console_test

import (
	"fmt"
	"testing"

	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/oexza/orisun/server/servertest"
)

// press is a key as keyboards send it: the key and its character are one event, so that the character goes where the
// key went, and nowhere if the page prevents it. chromedp.KeyEvent sends the character later.
func press(key string) chromedp.Action {
	if key == "Enter" {
		return input.DispatchKeyEvent(input.KeyDown).WithKey(key).WithText("\r").WithWindowsVirtualKeyCode(13)
	}
	return input.DispatchKeyEvent(input.KeyDown).WithKey(key).WithText(key)
}

// escape closes the dialog in front.
func escape() chromedp.Action { return chromedp.KeyEvent(kb.Escape) }

// focusedIn waits until the row of a list has the focus, with a ring around it.
func focusedIn(list string, row int) chromedp.Action {
	return holds(fmt.Sprintf(`(() => {
		const rows = document.querySelector(%q)?.querySelectorAll('tbody tr, .row') || [], own = rows[%d];
		if (!own || own !== document.activeElement) return false;
		const {outlineStyle, outlineWidth} = getComputedStyle(own);
		return outlineStyle === 'solid' && parseFloat(outlineWidth) >= 2;
	})()`, list, row))
}

func TestKeysMoveInEveryList(t *testing.T) {
	server := servertest.Start(t)
	fillForPictures(t, server)
	ctx := browser(t)
	run(ctx, t, "log in", logIn(server, "admin", "changeit"))
	for _, page := range []struct{ path, list string }{
		{"boundaries", "[aria-label=Boundaries]"},
		{"events?boundary=orisun_test_1", "[aria-label=Events]"},
		{"conflicts?boundary=orisun_test_1", "[aria-label=Contexts]"},
		{"playground?boundary=orisun_test_1&c=username%3Duser1", `[aria-label="The context"]`},
		{"indexes?boundary=orisun_test_1", "[aria-label=Indexes]"},
		{"subscriptions?boundary=orisun_test_1", "[aria-label=Subscriptions]"},
		{"users", "[aria-label=Users]"},
	} {
		row := fmt.Sprintf(`document.querySelector('%s tbody tr, %s .row') !== null`, page.list, page.list)
		run(ctx, t, page.path, visit(server, page.path, "Log out"), holds(row), press("j"), focusedIn(page.list, 0))
	}
	run(ctx, t, "down and up", visit(server, "playground?boundary=orisun_test_1&c=username%3Duser1", "How it is found"),
		press("j"), press("j"), focusedIn(`[aria-label="The context"]`, 1), press("k"),
		focusedIn(`[aria-label="The context"]`, 0), press("Enter"), see("Read it from a shell"), escape(),
		holds(`!document.querySelector('dialog')`), focusedIn(`[aria-label="The context"]`, 0))
	run(ctx, t, "a context of conflicts", visit(server, "conflicts?boundary=orisun_test_1", "seat = 12A"), press("j"),
		press("Enter"), see("How it is found"))
}

// Keys act on the dialog in front, and the focus returns to where it was.
func TestKeysInDialogs(t *testing.T) {
	server := servertest.Start(t)
	fillForPictures(t, server)
	ctx := browser(t)
	noDialog := holds(`!document.querySelector('dialog')`)
	label := func(text string) chromedp.Action {
		return holds(fmt.Sprintf(`document.activeElement.getAttribute('aria-label') === %q`, text))
	}
	run(ctx, t, "parked events", logIn(server, "admin", "changeit"),
		visit(server, "subscriptions?boundary=orisun_test_1", "mailer"), press("j"),
		chromedp.KeyEvent(kb.Tab), label("3 parked of mailer"), press("Enter"), see("MailAsked0"), label("Close"),
		press("j"), focusedIn(".parked", 0), press("j"), focusedIn(".parked", 1))
	run(ctx, t, "one of them", press("Enter"), see("user1@example.com"), escape(), focusedIn(".parked", 1),
		escape(), noDialog, label("3 parked of mailer"))
	run(ctx, t, "a subscription", visit(server, "subscriptions?boundary=orisun_test_1", "mailer"), press("j"),
		press("Enter"), see("Partitions"), escape(), noDialog, focusedIn("[aria-label=Subscriptions]", 0))
	run(ctx, t, "dropping an index", visit(server, "indexes?boundary=orisun_test_1", "customer"), press("j"),
		chromedp.KeyEvent(kb.Tab), label("Drop customer"), press("Enter"),
		holds(`document.activeElement.closest('dialog') && document.activeElement.name === 'name'`), press("?"),
		holds(`document.activeElement.value === '?'`), escape(), noDialog, label("Drop customer"))
	run(ctx, t, "a user", visit(server, "users", "Create a user"), waitFor(`[aria-label=Users] tbody tr`),
		press("j"), press("Enter"), see("This is your own account"), escape(), noDialog, focusedIn("[aria-label=Users]", 0))
	run(ctx, t, "help", press("?"), see(", not on this page"), see("previous row"), press("?"),
		holds(`document.querySelectorAll('dialog').length === 1`), escape(), noDialog,
		focusedIn("[aria-label=Users]", 0))
}
