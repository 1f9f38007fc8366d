package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	orisunpb "github.com/oexza/orisun/proto"
)

func newBoundaryCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "boundary",
		Short: "Create boundaries, list and delete them",
	}
	command.AddCommand(newBoundaryCreateCommand(), newBoundaryListCommand(), newBoundaryGetCommand(),
		newBoundaryDeleteCommand())
	return command
}

func newBoundaryCreateCommand() *cobra.Command {
	var schema, description string
	var adopt, asJSON bool
	command := &cobra.Command{
		Use:   "create BOUNDARY --schema SCHEMA",
		Short: "Create a boundary, which every node knows at once",
		Long: `Create a boundary, which every node knows at once. The same definition again
changes nothing.

With --adopt it takes over the tables that SCHEMA holds for a boundary of this
name, with their events: after a restore into another database, for example.`,
		Example: `  orisun boundary create orders --schema sales --description "The shop's orders"
  orisun boundary create orders --schema sales --adopt`,
		Args: exactly("BOUNDARY"),
	}
	flags := command.Flags()
	flags.StringVar(&schema, "schema", "", "the PostgreSQL `SCHEMA` of its tables, created where it is missing")
	flags.StringVar(&description, "description", "", "what it is for, as `TEXT`")
	flags.BoolVar(&adopt, "adopt", false, "take over existing tables; without any it fails")
	addJSONFlag(flags, &asJSON)
	server := addConnectionFlags(flags)
	command.RunE = func(command *cobra.Command, args []string) error {
		if schema == "" {
			return usageError{
				errors.New("--schema is missing: name the PostgreSQL schema of the boundary's tables, such as --schema public"),
			}
		}
		return withAdmin(command.Context(), server, func(ctx context.Context, admin orisunpb.AdminClient) error {
			created, err := admin.CreateBoundary(ctx, &orisunpb.CreateBoundaryRequest{
				Name: args[0], Description: description, ExistedBeforeCatalog: adopt,
				Placement: &orisunpb.BoundaryPlacementInput{Backend: "postgres", Namespace: schema},
			})
			if err != nil {
				return err
			}
			return writeBoundaries(command.OutOrStdout(), asJSON, created.GetBoundary())
		})
	}
	return command
}

func newBoundaryListCommand() *cobra.Command {
	var asJSON bool
	command := &cobra.Command{
		Use:     "list",
		Short:   "List all boundaries",
		Example: `  orisun boundary list`,
		Args:    cobra.NoArgs,
	}
	addJSONFlag(command.Flags(), &asJSON)
	server := addConnectionFlags(command.Flags())
	command.RunE = func(command *cobra.Command, _ []string) error {
		return withAdmin(command.Context(), server, func(ctx context.Context, admin orisunpb.AdminClient) error {
			list, err := admin.ListBoundaries(ctx, &orisunpb.ListBoundariesRequest{})
			if err != nil {
				return err
			}
			return writeBoundaries(command.OutOrStdout(), asJSON, list.GetBoundaries()...)
		})
	}
	return command
}

func newBoundaryGetCommand() *cobra.Command {
	var asJSON bool
	command := &cobra.Command{
		Use:     "get BOUNDARY",
		Short:   "Show one boundary",
		Example: `  orisun boundary get orders`,
		Args:    exactly("BOUNDARY"),
	}
	addJSONFlag(command.Flags(), &asJSON)
	server := addConnectionFlags(command.Flags())
	completeBoundary(command, server)
	command.RunE = func(command *cobra.Command, args []string) error {
		return withAdmin(command.Context(), server, func(ctx context.Context, admin orisunpb.AdminClient) error {
			got, err := admin.GetBoundary(ctx, &orisunpb.GetBoundaryRequest{Name: args[0]})
			if err != nil {
				return err
			}
			return writeBoundaries(command.OutOrStdout(), asJSON, got.GetBoundary())
		})
	}
	return command
}

func newBoundaryDeleteCommand() *cobra.Command {
	var again string
	command := &cobra.Command{
		Use:   "delete BOUNDARY",
		Short: "Delete a boundary with all of its events",
		Long: `Delete a boundary with all of its events, tables, indexes and its stream,
on every node. Only a backup brings it back. Its PostgreSQL schema stays.
The name is typed twice: as the argument, and at the prompt or with --confirm.

A boundary of the configuration is refused, since the next start would create
it again: remove it from ORISUN_BOUNDARIES and ORISUN_PG_SCHEMAS first.`,
		Example: `  orisun boundary delete orders
  orisun boundary delete orders --confirm orders`,
		Args: exactly("BOUNDARY"),
	}
	command.Flags().StringVar(&again, "confirm", "", "the name again, instead of being asked for it")
	server := addConnectionFlags(command.Flags())
	command.RunE = func(command *cobra.Command, args []string) error {
		if !command.Flags().Changed("confirm") {
			if _, err := fmt.Fprintf(command.ErrOrStderr(), "This deletes all events of boundary %s. Type its name again: ",
				oneLine(args[0])); err != nil {
				return err
			}
			line, err := interruptible(command.Context(), func() (string, error) {
				return readLine(bytewise{command.InOrStdin()})
			})
			if err != nil {
				return err
			}
			again = strings.TrimSpace(line)
		}
		if again != args[0] {
			return usageError{fmt.Errorf("%q is not %q: nothing is deleted", again, args[0])}
		}
		return withAdmin(command.Context(), server, func(ctx context.Context, admin orisunpb.AdminClient) error {
			deleted, err := admin.DeleteBoundary(ctx, &orisunpb.DeleteBoundaryRequest{Name: args[0], ConfirmName: again})
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(command.OutOrStdout(), "deleted boundary %s with %d events\n", args[0], deleted.GetEvents())
			return err
		})
	}
	return command
}

func writeBoundaries(out io.Writer, asJSON bool, boundaries ...*orisunpb.BoundaryInfo) error {
	if asJSON {
		return writeMessages(out, boundaries...)
	}
	text := "NAME\tSCHEMA\tSTATUS\tDESCRIPTION\n"
	for _, boundary := range boundaries {
		status := strings.TrimPrefix(boundary.GetStatus().String(), "BOUNDARY_LIFECYCLE_STATUS_")
		if boundary.GetLastError() != "" {
			status += " (" + boundary.GetLastError() + ")"
		}
		text += fmt.Sprintf("%s\t%s\t%s\t%s\n", boundary.GetName(), boundary.GetPlacement().GetNamespace(), oneLine(status),
			oneLine(cmp.Or(boundary.GetDescription(), "-")))
	}
	return writeTable(out, text)
}
