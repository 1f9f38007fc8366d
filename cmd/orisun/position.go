package main

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	orisunpb "github.com/oexza/orisun/proto"
)

// formatPosition is the one form in which commands print a position, and accept one.
func formatPosition(p *orisunpb.Position) string {
	return fmt.Sprintf("%d/%d", p.GetTransactionId(), p.GetGlobalId())
}

// beforeFirst is the position before the first event.
func beforeFirst() *orisunpb.Position { return &orisunpb.Position{TransactionId: -1, GlobalId: -1} }

// positionFlag is a flag whose value is a position or one of some words.
type positionFlag struct {
	text     string
	position *orisunpb.Position
	words    map[string]*orisunpb.Position
}

// String implements pflag.Value.
func (f *positionFlag) String() string { return f.text }

// Type implements pflag.Value.
func (*positionFlag) Type() string { return "position" }

// Set implements pflag.Value.
func (f *positionFlag) Set(text string) error {
	position, isWord := f.words[text]
	if !isWord {
		transactionID, globalID, found := strings.Cut(text, "/")
		tx, txErr := strconv.ParseInt(transactionID, 10, 64)
		gid, gidErr := strconv.ParseInt(globalID, 10, 64)
		if !found || txErr != nil || gidErr != nil {
			return fmt.Errorf("it must be %s or a position such as 42/41", strings.Join(slices.Sorted(maps.Keys(f.words)), ", "))
		}
		position = &orisunpb.Position{TransactionId: tx, GlobalId: gid}
	}
	f.text, f.position = text, position
	return nil
}
