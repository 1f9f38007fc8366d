package main

import (
	"strings"
	"testing"

	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/server/eventtest"
	"github.com/oexza/orisun/server/servertest"
)

// TestSubscriptionsFromTheCommandLine manages a subscription by its commands.
func TestSubscriptionsFromTheCommandLine(t *testing.T) {
	n := servertest.Start(t)
	eventtest.Save(t, orisunpb.NewEventStoreClient(n.Dial(t)), "w", 0, 3)
	run := func(args ...string) string {
		t.Helper()
		var out output
		line := append([]string{"subscription"}, append(args, "--server", n.Address)...)
		if err := runClient(t.Context(), &out, line...); err != nil {
			t.Fatalf("orisun %s: %v", strings.Join(line, " "), err)
		}
		return out.String()
	}
	const b = eventtest.Boundary
	run("create", b, "mailer", "--max-refusals", "1", "--start", "beginning")
	if got := run("list", b); !strings.Contains(got, "mailer") {
		t.Errorf("list: %s", got)
	}
	if got := run("show", b, "mailer"); !strings.Contains(got, "PARTITION") {
		t.Errorf("show: %s", got)
	}
	run("reset", b, "mailer", "--to", "beginning", "--yes")
	if got := run("replay", b, "mailer", "--all"); got != "0 parked events are delivered again\n" {
		t.Errorf("replay: %s", got)
	}
	var out output
	if err := runClient(t.Context(), &out, "subscription", "delete", b, "mailer", "--server", n.Address); err == nil {
		t.Error("delete without --yes and a terminal succeeded")
	}
	if got := run("delete", b, "mailer", "--yes"); !strings.HasPrefix(got, "deleted subscription mailer") {
		t.Errorf("delete: %s", got)
	}
}
