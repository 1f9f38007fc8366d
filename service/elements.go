package service

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// elements counts the repeated fields of a request in its wire form. Two bytes of wire become an object of a hundred
// bytes, so a check after unmarshalling would come after the memory is spent.
type elements struct {
	found  map[protoreflect.FieldDescriptor]int
	inside []protoreflect.FieldDescriptor          // the fields around the message that is counted now
	beyond map[string]protoreflect.FieldDescriptor // paths at which a field was beyond its limit for the first time
}

func newElements() *elements {
	return &elements{
		found: make(map[protoreflect.FieldDescriptor]int), beyond: make(map[string]protoreflect.FieldDescriptor),
	}
}

// maxElements is how often a request may have each repeated field. Fields that are not listed may occur defaultElements
// times.
var maxElements = map[protoreflect.FullName]int{
	"orisun.SaveEventsRequest.events": maxEventsPerSave,
	"orisun.Criterion.tags":           maxRequestTags,
}

const defaultElements = 1024

// CheckElements counts the elements of a message in protobuf's wire form. The error is INVALID_ARGUMENT for a field
// with too many. Bytes that are not a message are left to Unmarshal.
func CheckElements(message protoreflect.MessageDescriptor, wire []byte) error {
	counted := newElements()
	if err := counted.countWire(message, wire); err != nil {
		return status.Errorf(codes.InvalidArgument, "the request is not a %s: %v", message.Name(), err)
	}
	return counted.check()
}

// CheckJSONElements is CheckElements for a message in JSON.
func CheckJSONElements(message protoreflect.MessageDescriptor, text []byte) error {
	counted := newElements()
	decoder := jsontext.NewDecoder(bytes.NewBuffer(text), jsontext.AllowDuplicateNames(true),
		jsontext.AllowInvalidUTF8(true))
	if err := counted.countJSON(message, decoder); err != nil {
		return counted.check() // counted up to the error; protojson stops there, too
	}
	return counted.check()
}

// add counts elements of a field.
func (e *elements) add(field protoreflect.FieldDescriptor, n int) {
	before, most := e.found[field], mostElements(field)
	e.found[field] = before + n
	if before <= most && before+n > most {
		e.beyond[e.path(field)] = field
	}
}

// path is the path of a field in the message that is counted now, such as query.criteria.tags.
func (e *elements) path(field protoreflect.FieldDescriptor) string {
	var path strings.Builder
	for _, around := range e.inside {
		path.WriteString(string(around.Name()) + ".")
	}
	return path.String() + string(field.Name())
}

func (e *elements) enter(field protoreflect.FieldDescriptor) { e.inside = append(e.inside, field) }
func (e *elements) leave()                                   { e.inside = e.inside[:len(e.inside)-1] }

func mostElements(field protoreflect.FieldDescriptor) int {
	if most, listed := maxElements[field.FullName()]; listed {
		return most
	}
	return defaultElements
}

func (e *elements) check() error {
	var v violations
	for path, field := range e.beyond {
		v.add(path, "has %d elements in the request, at most %d are allowed", e.found[field], mostElements(field))
	}
	slices.SortFunc(v, func(a, b *errdetails.BadRequest_FieldViolation) int {
		return strings.Compare(a.GetField(), b.GetField())
	})
	return v.err()
}

// repeats caches which messages have repeated fields, in themselves or further down: the others are skipped.
var repeats sync.Map // protoreflect.FullName → bool

func hasElements(message protoreflect.MessageDescriptor) bool {
	if known, found := repeats.Load(message.FullName()); found {
		return known.(bool)
	}
	found := false
	for i := range message.Fields().Len() {
		field := message.Fields().Get(i)
		found = found || field.IsList() ||
			field.Message() != nil && field.Message() != message && hasElements(field.Message())
	}
	repeats.Store(message.FullName(), found)
	return found
}

func (e *elements) countWire(message protoreflect.MessageDescriptor, wire []byte) error {
	if !hasElements(message) {
		return nil
	}
	for len(wire) > 0 {
		number, kind, n := protowire.ConsumeTag(wire)
		if n < 0 {
			return protowire.ParseError(n)
		}
		wire = wire[n:]
		length := protowire.ConsumeFieldValue(number, kind, wire)
		if length < 0 {
			return protowire.ParseError(length)
		}
		field := message.Fields().ByNumber(number)
		if field != nil && field.IsList() {
			n := 1
			if kind == protowire.BytesType && field.IsPacked() {
				n += length // at least as many as its numbers
			}
			e.add(field, n)
		}
		if field != nil && field.Message() != nil && kind == protowire.BytesType {
			value, _ := protowire.ConsumeBytes(wire)
			e.enter(field)
			if err := e.countWire(field.Message(), value); err != nil {
				return err
			}
			e.leave()
		}
		wire = wire[length:]
	}
	return nil
}

// errNotThatMessage says that JSON is not that of the message. protojson reports the reason.
var errNotThatMessage = errors.New("not the JSON of this message")

// countJSON counts the elements of the message that the decoder reads next.
func (e *elements) countJSON(message protoreflect.MessageDescriptor, decoder *jsontext.Decoder) error {
	if decoder.PeekKind() != jsontext.KindBeginObject {
		return skipJSON(decoder)
	}
	if _, err := decoder.ReadToken(); err != nil {
		return err
	}
	for decoder.PeekKind() == jsontext.KindString {
		name, err := decoder.ReadToken()
		if err != nil {
			return err
		}
		field := message.Fields().ByJSONName(name.String())
		if field == nil {
			field = message.Fields().ByTextName(name.String())
		}
		if err := e.countField(field, decoder); err != nil {
			return err
		}
	}
	_, err := decoder.ReadToken()
	return err
}

func (e *elements) countField(field protoreflect.FieldDescriptor, decoder *jsontext.Decoder) error {
	switch {
	case field == nil: // protojson refuses it before it reads its value
		return errNotThatMessage
	case field.IsList() && decoder.PeekKind() == jsontext.KindBeginArray:
		if _, err := decoder.ReadToken(); err != nil {
			return err
		}
		for decoder.PeekKind() != jsontext.KindEndArray {
			e.add(field, 1)
			if err := e.countValue(field, decoder); err != nil {
				return err
			}
		}
		_, err := decoder.ReadToken()
		return err
	default:
		return e.countValue(field, decoder)
	}
}

func (e *elements) countValue(field protoreflect.FieldDescriptor, decoder *jsontext.Decoder) error {
	if field.Message() != nil && hasElements(field.Message()) {
		e.enter(field)
		defer e.leave()
		return e.countJSON(field.Message(), decoder)
	}
	return skipJSON(decoder)
}

func skipJSON(decoder *jsontext.Decoder) error {
	err := decoder.SkipValue()
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
