package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	orisunpb "github.com/oexza/orisun/proto"
)

// completionTimeout is how long a shell waits for the server at most.
const completionTimeout = 2 * time.Second

// lookup reads names that complete an argument, given the arguments before it.
type lookup func(ctx context.Context, conn *grpc.ClientConn, before []string) ([]cobra.Completion, error)

// completeArguments sets up shell completion: for each argument a shell offers the result of its lookup. Without a
// server it offers nothing.
func completeArguments(command *cobra.Command, server *connection, lookups ...lookup) {
	command.ValidArgsFunction = func(command *cobra.Command, args []string, begun string) (names []cobra.Completion,
		_ cobra.ShellCompDirective,
	) {
		if len(args) >= len(lookups) || server.ask { // completion cannot prompt
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		server.timeout = completionTimeout
		err := server.call(command.Context(), func(ctx context.Context, conn *grpc.ClientConn) (err error) {
			names, err = lookups[len(args)](ctx, conn, args)
			return err
		})
		if err != nil {
			cobra.CompDebugln(err.Error(), false)
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return slices.DeleteFunc(names, func(name string) bool { return !strings.HasPrefix(name, begun) }),
			cobra.ShellCompDirectiveNoFileComp
	}
}

func completeBoundary(command *cobra.Command, server *connection) {
	completeArguments(command, server, boundaryNames)
}

func boundaryNames(ctx context.Context, conn *grpc.ClientConn, _ []string) (names []cobra.Completion, _ error) {
	list, err := orisunpb.NewAdminClient(conn).ListBoundaries(ctx, &orisunpb.ListBoundariesRequest{})
	for _, boundary := range list.GetBoundaries() {
		names = append(names, cobra.CompletionWithDesc(boundary.GetName(), boundary.GetDescription()))
	}
	return names, err
}

func indexNames(ctx context.Context, conn *grpc.ClientConn, before []string) (names []cobra.Completion, _ error) {
	list, err := orisunpb.NewEventStoreClient(conn).ListIndexes(ctx, &orisunpb.ListIndexesRequest{Boundary: before[0]})
	for _, index := range list.GetIndexes() {
		names = append(names, index.GetName())
	}
	return names, err
}

func usernames(ctx context.Context, conn *grpc.ClientConn, _ []string) (names []cobra.Completion, _ error) {
	list, err := orisunpb.NewAdminClient(conn).ListUsers(ctx, &orisunpb.ListUsersRequest{})
	for _, user := range list.GetUsers() {
		names = append(names, cobra.CompletionWithDesc(user.GetUsername(), user.GetName()))
	}
	return names, err
}
