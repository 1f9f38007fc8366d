package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	orisunpb "github.com/oexza/orisun/proto"
)

// An event has one key, as its field a, or two, as its fields a and b, like a transfer between accounts.
type eventData struct {
	A string `json:"a"`
	B string `json:"b,omitempty"`
}

func keyName(group, key int) string { return fmt.Sprintf("g%d-k%d", group, key) }

// documentOf is the JSON of an event with one or two keys of a group.
func documentOf(group int, k keys) string {
	data := eventData{A: keyName(group, firstOf(k))}
	if rest := k & (k - 1); rest != 0 {
		data.B = keyName(group, firstOf(rest))
	}
	text, err := json.Marshal(data)
	if err != nil {
		panic(err) // two strings have a JSON form
	}
	return string(text)
}

// criteriaOf is the context: all events that have one of the keys in either field.
func criteriaOf(group int, context keys) (criteria []*orisunpb.Criterion) {
	for key := range keysPerGroup {
		if context&(1<<key) == 0 {
			continue
		}
		for _, field := range []string{"a", "b"} {
			criteria = append(criteria, &orisunpb.Criterion{Tags: []*orisunpb.Tag{{Key: field, Value: keyName(group, key)}}})
		}
	}
	return criteria
}

// matches reports whether an event matches the criteria. It is independent of the server's code.
func matches(event *orisunpb.Event, group int, context keys) bool {
	var data eventData
	if err := json.Unmarshal([]byte(event.GetData()), &data); err != nil {
		return false
	}
	for key := range keysPerGroup {
		if name := keyName(group, key); context&(1<<key) != 0 && (data.A == name || data.B == name) {
			return true
		}
	}
	return false
}

func byTime(operations []*operation, at func(*operation) time.Duration) {
	slices.SortFunc(operations, func(a, b *operation) int { return cmp.Compare(at(a), at(b)) })
}
