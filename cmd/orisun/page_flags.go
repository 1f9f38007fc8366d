package main

import (
	"github.com/spf13/pflag"

	orisunpb "github.com/oexza/orisun/proto"
)

// pageFlags are those that select a page of events.
type pageFlags struct {
	criteria   *criteria
	after      positionFlag
	descending bool
	count      uint32
}

func addPageFlags(flags *pflag.FlagSet) *pageFlags {
	p := &pageFlags{
		criteria: addCriteriaFlags(flags, "the events"),
		after:    positionFlag{words: map[string]*orisunpb.Position{"start": beforeFirst()}},
	}
	flags.Var(&p.after, "after",
		"begin after this `POSITION`, such as 42/41, or start (default: the beginning; with --desc the end)")
	flags.BoolVar(&p.descending, "desc", false, "from the end back")
	flags.Uint32Var(&p.count, "count", defaultCount, "events of the page, at most 10,000")
	return p
}

func (p *pageFlags) request(boundary string) *orisunpb.GetEventsRequest {
	request := &orisunpb.GetEventsRequest{
		Boundary: boundary, Count: p.count, AfterPosition: p.after.position,
		Query: &orisunpb.Query{Criteria: p.criteria.list},
	}
	if p.descending {
		request.Direction = orisunpb.Direction_DESC
	}
	return request
}
