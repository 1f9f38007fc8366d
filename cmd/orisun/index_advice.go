package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	orisunpb "github.com/oexza/orisun/proto"
)

// Thresholds of advice: fewer queries are no reason for an index, and a younger index may not have had its first
// query yet.
const (
	defaultMinQueries = 10
	defaultMinAge     = 24 * time.Hour
)

func newIndexAdviseCommand() *cobra.Command {
	var minQueries uint64
	var minAge time.Duration
	var asJSON bool
	command := &cobra.Command{
		Use:   "advise BOUNDARY",
		Short: "Show which indexes are missing or unused, as commands to copy",
		Long: `Show which indexes are missing or unused, with the commands to copy.

An index is missing where criteria of --min-queries queries or more, that this
node has served since it started, have none: all events are read for them. An
index is unused that PostgreSQL has not used for --min-age or longer; every save
pays for it. Uses on standbys of PostgreSQL are not counted.

What is below these limits is named, without a command.`,
		Example: `  orisun index advise orders
  orisun index advise orders --min-queries 100 --min-age 168h`,
		Args: exactly("BOUNDARY"),
	}
	flags := command.Flags()
	flags.Uint64Var(&minQueries, "min-queries", defaultMinQueries, "queries without an index that are a reason for one")
	flags.DurationVar(&minAge, "min-age", defaultMinAge, "`TIME` without use after which an index is unused")
	addJSONFlag(flags, &asJSON)
	server := addConnectionFlags(flags)
	completeBoundary(command, server)
	command.RunE = func(command *cobra.Command, args []string) error {
		return withEventStore(command.Context(), server, func(ctx context.Context, store orisunpb.EventStoreClient) error {
			list, err := store.ListIndexes(ctx, &orisunpb.ListIndexesRequest{Boundary: args[0]})
			if err != nil {
				return err
			}
			return writeAdvice(command.OutOrStdout(), asJSON, advise(args[0], list, minQueries, minAge, time.Now()))
		})
	}
	return command
}

// advice is what to do about an index: create, drop or wait.
type advice struct {
	Advice  string `json:"advice"`
	Reason  string `json:"reason"`
	Command string `json:"command,omitempty"`
}

// advise returns advice for a listing. Each piece of advice includes how often and over which time.
func advise(
	boundary string, list *orisunpb.ListIndexesResponse, minQueries uint64, minAge time.Duration, now time.Time,
) (all []advice) {
	since := func(at *timestamppb.Timestamp) (time.Duration, string) {
		elapsed := max(0, now.Sub(at.AsTime()))
		return elapsed, fmt.Sprintf("in %s, since %s UTC", elapsed.Round(time.Second), at.AsTime().Format(time.DateTime))
	}
	for _, missing := range list.GetAdvice() {
		_, period := since(missing.GetSince())
		reason := fmt.Sprintf("no index for criteria on %s: %s on this node %s",
			oneLine(strings.Join(missing.GetKeys(), ", ")), counted(int(missing.GetCount()), "query", "queries"), period)
		if uint64(missing.GetCount()) < minQueries {
			all = append(all, advice{
				Advice: "wait", Reason: fmt.Sprintf("%s; too few to advise one (--min-queries %d)", reason, minQueries),
			})
			continue
		}
		command := "orisun index create " + quoteShell(boundary) + " " + missing.GetCreate().GetName()
		for _, field := range missing.GetCreate().GetFields() {
			command += " --field " + quoteShell(formatField(field))
		}
		all = append(all, advice{"create", reason, command})
	}
	for _, usage := range list.GetUsage() {
		if usage.GetScans() > 0 {
			continue
		}
		unused, period := since(usage.GetCountedSince())
		reason := fmt.Sprintf("index %s (%s) was not used %s", usage.GetName(), formatBytes(usage.GetSizeBytes()), period)
		if unused < minAge {
			all = append(all, advice{
				Advice: "wait", Reason: fmt.Sprintf("%s; too early to call it unused (--min-age %s)", reason, minAge),
			})
			continue
		}
		all = append(all, advice{"drop", reason, "orisun index drop " + quoteShell(boundary) + " " + usage.GetName()})
	}
	return all
}

func writeAdvice(out io.Writer, asJSON bool, all []advice) error {
	var text strings.Builder
	for _, one := range all {
		if asJSON {
			if err := writeJSON(out, one); err != nil {
				return err
			}
			continue
		}
		fmt.Fprintf(&text, "# %s\n", one.Reason)
		if one.Command != "" {
			text.WriteString(one.Command + "\n")
		}
	}
	if len(all) == 0 && !asJSON {
		text.WriteString("# every criterion that this node has served since it started has an index, and every index is " +
			"used\n")
	}
	_, err := io.WriteString(out, text.String())
	return err
}

// quoteShell quotes a text as one word of a shell command, for people to copy.
func quoteShell(text string) string {
	if text != "" && strings.IndexFunc(text, func(r rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.:/", r)
	}) < 0 {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}
