package publisher

import (
	"bytes"
	"slices"
	"strings"
	"sync"
	"unsafe"

	"github.com/go-json-experiment/json/jsontext"

	orisunpb "github.com/oexza/orisun/proto"
)

// filter is a query as subscribers ask it: an event matches when one of the criteria does, a criterion when all of its
// tags do. No criteria match every event, and so does a criterion without tags.
type filter [][]*orisunpb.Tag

func newFilter(criteria []*orisunpb.Criterion) filter {
	f := make(filter, 0, len(criteria))
	for _, c := range criteria {
		if len(c.GetTags()) == 0 {
			return nil
		}
		f = append(f, c.GetTags())
	}
	return f
}

// matches answers as orisun.criterion_predicate does. The error is that of the event's fields: only PostgreSQL knows.
func (f filter) matches(e *entry) (bool, error) {
	if len(f) == 0 {
		return true, nil
	}
	for _, tags := range f {
		if all, err := matchesAll(tags, e); all || err != nil {
			return all, err
		}
	}
	return false, nil
}

func matchesAll(tags []*orisunpb.Tag, e *entry) (bool, error) {
	for _, tag := range tags {
		switch tag.GetKey() {
		case "event_type", "eventType":
			if tag.GetValue() != e.event.GetEventType() {
				return false, nil
			}
		default:
			value, found, err := e.fields.get(e.event.GetData(), tag.GetKey())
			if !found || value != tag.GetValue() || err != nil {
				return false, err
			}
		}
	}
	return true, nil
}

// fields are the top-level fields of a JSON object as data->>key returns them. They are read when first asked for, and
// once.
type fields struct {
	once  sync.Once
	known []field
	err   error
}

type field struct {
	name, text string
	null       bool
}

// get is data->>key. Not found is a field that is missing or null, and every field of what is not an object.
func (f *fields) get(data, key string) (text string, found bool, err error) {
	f.once.Do(func() { f.known, f.err = readFields(data) })
	if f.err != nil {
		return "", false, f.err
	}
	// From the end: of a repeated name, the last one counts.
	for i := len(f.known) - 1; i >= 0; i-- {
		if f.known[i].name == key {
			return f.known[i].text, !f.known[i].null, nil
		}
	}
	return "", false, nil
}

// Field returns a top-level field of an event's data as data->>key does, and event_type as filters know it. It is empty
// where the event has none, and for nesting beyond 10,000 levels.
func Field(event *orisunpb.Event, key string) string {
	if key == "event_type" || key == "eventType" {
		return event.GetEventType()
	}
	text, _, err := new(fields).get(event.GetData(), key)
	if err != nil {
		return ""
	}
	return text
}

// fieldsSize is the most that the fields of data, as PostgreSQL prints it, take in bytes beside data itself: their
// texts are parts of it unless they hold escapes.
func fieldsSize(data string) int {
	size := int(unsafe.Sizeof(field{})) * strings.Count(data, `":`)
	if strings.Contains(data, `\`) {
		size += len(data)
	}
	return size
}

// maxPooledDocument is the largest buffer held for later documents.
const maxPooledDocument = 1 << 20

// fieldReader is a JSON decoder, the buffer that it reads in place, and room for what it finds.
type fieldReader struct {
	buffer  bytes.Buffer
	decoder *jsontext.Decoder
	found   []field
}

var fieldReaders = sync.Pool{New: func() any {
	r := new(fieldReader)
	r.decoder = jsontext.NewDecoder(&r.buffer)
	return r
}}

// readFields cuts a document into its top-level fields. It fails on what is not JSON, and on nesting beyond 10,000
// levels: there the decoder gives up, and PostgreSQL with a large max_stack_depth does not.
func readFields(data string) ([]field, error) {
	r := fieldReaders.Get().(*fieldReader)
	defer r.release()
	r.buffer.WriteString(data)
	r.decoder.Reset(&r.buffer, jsontext.AllowDuplicateNames(true))
	err := r.read(data)
	return slices.Clone(r.found), err
}

func (r *fieldReader) release() {
	if r.buffer.Cap() > maxPooledDocument {
		return
	}
	r.buffer.Reset()
	clear(r.found)
	r.found = r.found[:0]
	fieldReaders.Put(r)
}

func (r *fieldReader) read(data string) error {
	if r.decoder.PeekKind() != jsontext.KindBeginObject {
		return r.decoder.SkipValue() // which has no fields
	}
	if _, err := r.decoder.ReadToken(); err != nil {
		return err
	}
	for r.decoder.PeekKind() == jsontext.KindString {
		name, err := r.next(data)
		if err != nil {
			return err
		}
		null := r.decoder.PeekKind() == jsontext.KindNull
		text, err := r.next(data)
		if err != nil {
			return err
		}
		r.found = append(r.found, field{name, text, null})
	}
	_, err := r.decoder.ReadToken()
	return err
}

// next is the next value as ->> prints it: a string without quotes and escapes, anything else as it is written.
func (r *fieldReader) next(data string) (string, error) {
	value, err := r.decoder.ReadValue()
	if err != nil {
		return "", err
	}
	end := int(r.decoder.InputOffset())
	text := data[end-len(value) : end]
	switch {
	case value.Kind() != jsontext.KindString:
		return text, nil
	case strings.IndexByte(text, '\\') < 0:
		return text[1 : len(text)-1], nil
	}
	unquoted, err := jsontext.AppendUnquote(nil, value)
	return string(unquoted), err
}
