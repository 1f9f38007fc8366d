package httpapi

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	rpc "connectrpc.com/connect"
	"connectrpc.com/vanguard"
	"github.com/go-json-experiment/json/jsontext"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	orisunpb "github.com/oexza/orisun/proto"
)

// jsonCodec reads requests and writes answers as JSON. In requests, data and metadata of an event may be JSON
// objects. In answers they are objects where objects is set, and else texts that hold one, as in the protocol.
type jsonCodec struct {
	vanguard.JSONCodec
	objects bool
}

func newJSONCodec(objects bool) func(vanguard.TypeResolver) vanguard.Codec {
	return func(resolver vanguard.TypeResolver) vanguard.Codec {
		return jsonCodec{vanguard.JSONCodec{
			MarshalOptions:   protojson.MarshalOptions{Resolver: resolver, EmitDefaultValues: true},
			UnmarshalOptions: protojson.UnmarshalOptions{Resolver: resolver},
		}, objects}
	}
}

// Unmarshal reads a request. An unknown field is a caller's error: a misspelled name.
func (c jsonCodec) Unmarshal(data []byte, into proto.Message) error {
	var err error
	if _, saves := into.(*orisunpb.SaveEventsRequest); saves {
		data, err = rewriteDocuments(data, toText)
	}
	if err == nil {
		err = c.JSONCodec.Unmarshal(data, into)
	}
	if err != nil {
		return rpc.NewError(rpc.CodeInvalidArgument,
			fmt.Errorf("the request is not the JSON of a %s: %w", into.ProtoReflect().Descriptor().Name(), err))
	}
	return nil
}

// MarshalAppend writes an answer.
func (c jsonCodec) MarshalAppend(base []byte, message proto.Message) ([]byte, error) {
	switch message.(type) {
	case *orisunpb.Event, *orisunpb.GetEventsResponse, *orisunpb.GetLatestByCriteriaResponse,
		*orisunpb.ConsumeResponse, *orisunpb.ListParkedResponse:
		if c.objects {
			text, err := c.JSONCodec.MarshalAppend(nil, message)
			if err != nil {
				return nil, err
			}
			text, err = rewriteDocuments(text, toObject)
			return append(base, text...), err
		}
	}
	return c.JSONCodec.MarshalAppend(base, message)
}

// toText converts a value of data or metadata to a text. Texts and null do not change.
func toText(value jsontext.Value) (jsontext.Value, error) {
	if kind := value.Kind(); kind == jsontext.KindString || kind == jsontext.KindNull {
		return value, nil
	}
	return jsontext.AppendQuote(nil, value)
}

// toObject extracts data or metadata from its text.
func toObject(value jsontext.Value) (jsontext.Value, error) {
	return jsontext.AppendUnquote(nil, value)
}

// isDocument reports which fields rewriteDocuments rewrites, by path: those of an event alone, of an event in a list,
// of the event of a result or of a parked event in a list, or of a delivery. Tags do not match.
func isDocument(path jsontext.Pointer) bool {
	names := slices.Collect(path.Tokens())
	last := len(names) - 1
	if last < 0 || names[last] != "data" && names[last] != "metadata" {
		return false
	}
	switch last {
	case 0:
		return true
	case 2:
		return names[0] == "events"
	case 3:
		return (names[0] == "results" || names[0] == "events") && names[2] == "event"
	case 4:
		return names[0] == "deliveries" && names[3] == "event"
	}
	return false
}

// rewriteDocuments copies a JSON document and rewrites the data and metadata of its events. Numbers do not change.
func rewriteDocuments(document []byte, rewrite func(jsontext.Value) (jsontext.Value, error)) ([]byte, error) {
	var out bytes.Buffer
	twice := jsontext.AllowDuplicateNames(true) // valid in a data text; the reader of the copy rejects others
	in, to := jsontext.NewDecoder(bytes.NewReader(document), twice), jsontext.NewEncoder(&out, twice)
	for {
		// A name and its value have the same path. A value follows when the count of the object's names and values is
		// odd.
		if kind, count := in.StackIndex(in.StackDepth()); kind == jsontext.KindBeginObject && count%2 == 1 &&
			isDocument(in.StackPointer()) {
			value, err := in.ReadValue()
			if err == nil {
				value, err = rewrite(value)
			}
			if err == nil {
				err = to.WriteValue(value)
			}
			if err != nil {
				return nil, err
			}
			continue
		}
		token, err := in.ReadToken()
		if errors.Is(err, io.EOF) {
			return out.Bytes(), nil
		}
		if err == nil {
			err = to.WriteToken(token)
		}
		if err != nil {
			return nil, err
		}
	}
}

// answersObjects reads the query parameter data of a call by HTTP.
func answersObjects(values []string) (bool, error) {
	switch {
	case len(values) == 0 || slices.Equal(values, []string{"text"}):
		return false, nil
	case slices.Equal(values, []string{"object"}):
		return true, nil
	}
	return false, status.Errorf(codes.InvalidArgument,
		"the query parameter data is %q: it must be object (data and metadata are JSON objects in the answer) or text",
		strings.Join(values, ", "))
}
