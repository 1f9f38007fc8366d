package client

import (
	"fmt"
	"slices"

	"github.com/oexza/orisun/client/internal/wire"
)

// Criteria match an event when one of them does. Nil criteria match every event of the boundary.
type Criteria []Criterion

// Criterion matches an event when all of its tags do. One without tags matches every event.
type Criterion []Tag

// Tag matches an event whose data has a top-level field Key that equals Value as text: "45" matches the number 45, and
// "true" the boolean. The keys event_type and eventType match the event's type.
type Tag struct{ Key, Value string }

// Any returns criteria that match what one of its arguments matches:
//
//	client.Any(client.Where("account", "alice"), client.Type("AccountOpened").Where("account", "bob"))
func Any(criteria ...Criterion) Criteria { return criteria }

// AnyField returns criteria that match what has one of the values in one of the fields, such as every event about two
// accounts:
//
//	client.AnyField([]string{"account", "from", "to"}, "alice", "bob")
//
// A request holds at most 256 criteria: fields × values. Without a field or without a value, the call that uses the
// criteria returns [ErrInvalid]; nil criteria would match every event.
func AnyField(fields []string, values ...string) Criteria {
	if len(fields) == 0 || len(values) == 0 {
		return Any(Where("", "")) // wire refuses the key
	}
	var criteria Criteria
	for _, value := range values {
		for _, field := range fields {
			criteria = append(criteria, Where(field, value))
		}
	}
	return criteria
}

// Where returns a criterion with one tag.
func Where(key, value string) Criterion { return Criterion{{key, value}} }

// Type returns a criterion that matches the events of a type.
func Type(eventType string) Criterion { return Where("event_type", eventType) }

// Where returns a criterion that needs one tag more.
func (c Criterion) Where(key, value string) Criterion {
	return append(slices.Clip(c), Tag{key, value})
}

// Type returns a criterion that needs the event to have a type.
func (c Criterion) Type(eventType string) Criterion { return c.Where("event_type", eventType) }

// wire returns a query always: one without criteria matches every event, in the condition of a save, too.
func (c Criteria) wire() (*wire.Query, error) {
	query := &wire.Query{Criteria: make([]*wire.Criterion, len(c))}
	for i, criterion := range c {
		tags := make([]*wire.Tag, len(criterion))
		for j, tag := range criterion {
			if tag.Key == "" {
				return nil, fmt.Errorf("%w: criteria[%d].tags[%d].key: is required (AnyField needs a field and a value)",
					ErrInvalid, i, j)
			}
			tags[j] = &wire.Tag{Key: tag.Key, Value: tag.Value}
		}
		query.Criteria[i] = &wire.Criterion{Tags: tags}
	}
	return query, nil
}
