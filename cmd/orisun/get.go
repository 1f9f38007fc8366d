package main

import (
	"context"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	orisunpb "github.com/oexza/orisun/proto"
)

const (
	defaultCount = 100
	// allCount is the page size of --all.
	allCount = 1000
)

func newGetCommand() *cobra.Command {
	var asJSON, all bool
	command := &cobra.Command{
		Use:   "get BOUNDARY [--where KEY=VALUE]...",
		Short: "Print a page of a boundary's events, or all of them",
		Long: `Print a page of a boundary's events, in the order of their positions. The
position of the last one, given to --after, selects the next page; --all prints
one page after the other, to the end.

With --json an event is a JSON object on a line, which orisun save reads.`,
		Example: `  orisun get orders
  orisun get orders --where user_id=7 --or --where user_id=8 --desc --count 10
  orisun get orders --after 42/41 --json | jq .data
  orisun get orders --all --json > orders.jsonl`,
		Args: exactly("BOUNDARY"),
	}
	flags := command.Flags()
	page := addPageFlags(flags)
	flags.BoolVar(&all, "all", false, "print all pages instead of one")
	command.MarkFlagsMutuallyExclusive("all", "count")
	addJSONFlag(flags, &asJSON)
	server := addConnectionFlags(flags)
	completeBoundary(command, server)
	command.RunE = func(command *cobra.Command, args []string) error {
		request := page.request(args[0])
		if all {
			request.Count = allCount
		}
		out := newEventWriter(command.OutOrStdout(), asJSON)
		return withEventStore(command.Context(), server, func(ctx context.Context, store orisunpb.EventStoreClient) error {
			if all {
				return getAll(ctx, store, request, out)
			}
			page, err := store.GetEvents(ctx, request)
			if err != nil {
				return err
			}
			return out.write(page.GetEvents())
		})
	}
	return command
}

// getAll writes one page after the other. Where events are too large for a page of this size, it reads smaller pages.
func getAll(
	ctx context.Context, store orisunpb.EventStoreClient, request *orisunpb.GetEventsRequest, out *eventWriter,
) error {
	for {
		page, err := store.GetEvents(ctx, request)
		if status.Code(err) == codes.ResourceExhausted && request.GetCount() > 1 {
			request.Count /= 2
			continue
		}
		if err != nil {
			return err
		}
		if err := out.write(page.GetEvents()); err != nil {
			return err
		}
		if len(page.GetEvents()) < int(request.GetCount()) {
			return nil
		}
		request.AfterPosition = page.GetEvents()[len(page.GetEvents())-1].GetPosition()
	}
}
