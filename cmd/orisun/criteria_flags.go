package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/pflag"

	orisunpb "github.com/oexza/orisun/proto"
)

// criteria are what --where and --or make, in the order of the command line.
type criteria struct {
	list  []*orisunpb.Criterion
	begin bool // the next --where begins another criterion
}

// addCriteriaFlags adds --where and --or. of is what the criteria select.
func addCriteriaFlags(flags *pflag.FlagSet, of string) *criteria {
	c := &criteria{}
	flags.Func("where", "a `KEY=VALUE` of "+of+"; event_type is the type; several must all hold", c.where)
	flags.BoolFunc("or", "begin another criterion", c.or)
	return c
}

func (c *criteria) where(text string) error {
	tag, err := parseTag(text)
	if err != nil {
		return err
	}
	if len(c.list) == 0 || c.begin {
		c.list = append(c.list, &orisunpb.Criterion{})
		c.begin = false
	}
	last := c.list[len(c.list)-1]
	last.Tags = append(last.Tags, tag)
	return nil
}

func (c *criteria) or(string) error {
	if c.begin || len(c.list) == 0 {
		return errors.New("it stands between two --where")
	}
	c.begin = true
	return nil
}

func parseTag(text string) (*orisunpb.Tag, error) {
	key, value, found := strings.Cut(text, "=")
	if !found || key == "" {
		return nil, errors.New("it must be KEY=VALUE, such as event_type=OrderPlaced")
	}
	if err := refuseSpaces(key, "=", value); err != nil {
		return nil, err
	}
	return &orisunpb.Tag{Key: key, Value: value}, nil
}

// refuseSpaces rejects space around a key or a value: it would count, so that nothing matched, without an error.
func refuseSpaces(key, operator, value string) error {
	trimmedKey, trimmedValue := strings.TrimSpace(key), strings.TrimSpace(value)
	if trimmedKey == key && trimmedValue == value {
		return nil
	}
	return fmt.Errorf("space around a key or a value would count, too: write %q", trimmedKey+operator+trimmedValue)
}

func formatCriterion(criterion *orisunpb.Criterion) string {
	tags := make([]string, len(criterion.GetTags()))
	for i, tag := range criterion.GetTags() {
		tags[i] = tag.GetKey() + "=" + tag.GetValue()
	}
	return oneLine(strings.Join(tags, " AND "))
}
