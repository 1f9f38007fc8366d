package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"

	orisunpb "github.com/oexza/orisun/proto"
)

func newBoundaryCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "boundary",
		Short: "Create boundaries and list them",
	}
	command.AddCommand(newBoundaryCreateCommand(), newBoundaryListCommand(), newBoundaryGetCommand())
	return command
}

// withAdmin gives a command the client of the server that its flags name.
func withAdmin(server *connection, do func(orisunpb.AdminClient) error) (err error) {
	conn, err := server.dial()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	return do(orisunpb.NewAdminClient(conn))
}

func newBoundaryCreateCommand() *cobra.Command {
	var schema, description string
	var adopt, asJSON bool
	command := &cobra.Command{
		Use:   "create BOUNDARY --schema SCHEMA",
		Short: "Create a boundary, which every node knows at once",
		Long: `Create a boundary, which every node knows at once. The same definition again changes nothing.

With --adopt it takes over the tables that SCHEMA holds for a boundary of this name, with their events: after a restore into another database, say.`,
		Example: `  orisun boundary create orders --schema sales --description "Orders of the shop"
  orisun boundary create orders --schema sales --adopt`,
		Args: exactly("BOUNDARY"),
	}
	flags := command.Flags()
	flags.StringVar(&schema, "schema", "", "the PostgreSQL schema of its tables, created where it is missing")
	flags.StringVar(&description, "description", "", "what it is for")
	flags.BoolVar(&adopt, "adopt", false, "take over the tables that are there, and refuse where there are none")
	flags.BoolVar(&asJSON, "json", false, "print the server's answer as JSON")
	server := addConnectionFlags(flags)
	hideServerFlags(command)
	command.RunE = func(command *cobra.Command, args []string) error {
		if schema == "" {
			return usageError{errors.New("--schema is missing: name the PostgreSQL schema of the boundary's tables, such as --schema public")}
		}
		return withAdmin(server, func(admin orisunpb.AdminClient) error {
			created, err := admin.CreateBoundary(command.Context(), &orisunpb.CreateBoundaryRequest{
				Name: args[0], Description: description, ExistedBeforeCatalog: adopt,
				Placement: &orisunpb.BoundaryPlacementInput{Backend: "postgres", Namespace: schema},
			})
			if err != nil {
				return explain(err)
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
	command.Flags().BoolVar(&asJSON, "json", false, "print one JSON object a line")
	server := addConnectionFlags(command.Flags())
	hideServerFlags(command)
	command.RunE = func(command *cobra.Command, _ []string) error {
		return withAdmin(server, func(admin orisunpb.AdminClient) error {
			list, err := admin.ListBoundaries(command.Context(), &orisunpb.ListBoundariesRequest{})
			if err != nil {
				return explain(err)
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
	command.Flags().BoolVar(&asJSON, "json", false, "print the server's answer as JSON")
	server := addConnectionFlags(command.Flags())
	hideServerFlags(command)
	command.RunE = func(command *cobra.Command, args []string) error {
		return withAdmin(server, func(admin orisunpb.AdminClient) error {
			got, err := admin.GetBoundary(command.Context(), &orisunpb.GetBoundaryRequest{Name: args[0]})
			if err != nil {
				return explain(err)
			}
			return writeBoundaries(command.OutOrStdout(), asJSON, got.GetBoundary())
		})
	}
	return command
}

func writeBoundaries(out io.Writer, asJSON bool, boundaries ...*orisunpb.BoundaryInfo) error {
	var text strings.Builder
	if asJSON {
		for _, boundary := range boundaries {
			line, err := protojson.Marshal(boundary)
			if err != nil {
				return err
			}
			text.Write(append(line, '\n'))
		}
		_, err := io.WriteString(out, text.String())
		return err
	}
	text.WriteString("NAME\tSCHEMA\tSTATUS\tDESCRIPTION\n")
	for _, boundary := range boundaries {
		status := strings.TrimPrefix(boundary.GetStatus().String(), "BOUNDARY_LIFECYCLE_STATUS_")
		if boundary.GetLastError() != "" {
			status += " (" + boundary.GetLastError() + ")"
		}
		fmt.Fprintf(&text, "%s\t%s\t%s\t%s\n", boundary.GetName(), boundary.GetPlacement().GetNamespace(), oneLine(status), oneLine(cmp.Or(boundary.GetDescription(), "-")))
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	if _, err := io.WriteString(table, text.String()); err != nil {
		return err
	}
	return table.Flush()
}
