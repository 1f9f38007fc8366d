package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"unicode"

	orisunpb "github.com/oexza/orisun/proto"
)

// eventWriter prints pages of events, as one table or one JSON object a line.
type eventWriter struct {
	out    io.Writer
	asJSON bool
	begun  bool
}

func newEventWriter(out io.Writer, asJSON bool) *eventWriter {
	return &eventWriter{out: out, asJSON: asJSON}
}

func (w *eventWriter) write(events []*orisunpb.Event) error {
	if w.asJSON {
		return writeMessages(w.out, events...)
	}
	var text strings.Builder
	if !w.begun {
		text.WriteString("POSITION\tTIME\tTYPE\tID\tDATA\n")
		w.begun = true
	}
	for _, event := range events {
		text.WriteString(eventRow(event) + "\n")
	}
	return writeTable(w.out, text.String())
}

// writeTable aligns what has tabs between its columns.
func writeTable(out io.Writer, text string) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	if _, err := io.WriteString(table, text); err != nil {
		return err
	}
	return table.Flush()
}

func eventRow(event *orisunpb.Event) string {
	return fmt.Sprintf("%s\t%s\t%s\t%s\t%s",
		formatPosition(event.GetPosition()), event.GetDateCreated().AsTime().Format("2006-01-02T15:04:05.000Z"),
		printable(event.GetEventType()), printable(event.GetEventId()), printable(event.GetData()))
}

func writeEventLine(out io.Writer, event *orisunpb.Event) error {
	_, err := fmt.Fprintln(out, strings.ReplaceAll(eventRow(event), "\t", "  "))
	return err
}

// printable escapes control sequences for the terminal, since an event's text is not trusted.
func printable(text string) string {
	if strings.IndexFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) < 0 {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		if unicode.IsPrint(r) {
			b.WriteRune(r)
		} else {
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
		}
	}
	return b.String()
}

// counted is a number and what it counts: 1 event, 2 events.
func counted(n int, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, more)
}

// warningLines are the warnings of a server, for standard error.
func warningLines(warnings []string) string {
	var text strings.Builder
	for _, warning := range warnings {
		fmt.Fprintf(&text, "warning: %s\n", oneLine(warning))
	}
	return text.String()
}
