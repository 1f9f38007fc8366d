package boundary

import (
	"encoding/json"

	orisunpb "github.com/oexza/orisun/proto"
)

// noEvent is a criterion that matches nothing: no event has an empty type.
const noEvent = `{"event_type":""}`

// Criteria encodes criteria as a boundary's functions take them: an object per criterion, {"account":"alice"}, with
// event_type for both names of the event's type. orisun.read_criteria does the same in SQL.
func Criteria(criteria []*orisunpb.Criterion) []string {
	encoded := make([]string, len(criteria))
	for i, criterion := range criteria {
		encoded[i] = encode(criterion.GetTags())
	}
	return encoded
}

func encode(tags []*orisunpb.Tag) string {
	text := make([]byte, 0, 64)
	text = append(text, '{')
	for i, tag := range tags {
		if other := find(tags[:i], keyOf(tag)); other != nil {
			if other.GetValue() != tag.GetValue() {
				return noEvent
			}
			continue
		}
		if len(text) > 1 {
			text = append(text, ',')
		}
		text = appendString(text, keyOf(tag))
		text = append(text, ':')
		text = appendString(text, tag.GetValue())
	}
	return string(append(text, '}'))
}

func find(tags []*orisunpb.Tag, key string) *orisunpb.Tag {
	for _, tag := range tags {
		if keyOf(tag) == key {
			return tag
		}
	}
	return nil
}

func keyOf(tag *orisunpb.Tag) string {
	if tag.GetKey() == "eventType" {
		return "event_type"
	}
	return tag.GetKey()
}

func appendString(to []byte, text string) []byte {
	quoted, err := json.Marshal(text)
	if err != nil {
		panic(err) // a string is always encoded
	}
	return append(to, quoted...)
}
