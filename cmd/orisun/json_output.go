package main

import (
	"cmp"
	"encoding/json"
	"io"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/pflag"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"

	orisunpb "github.com/oexza/orisun/proto"
)

// addJSONFlag adds --json, which prints any output as one JSON object per line, with the names of the protocol.
func addJSONFlag(flags *pflag.FlagSet, asJSON *bool) {
	flags.BoolVar(asJSON, "json", false, "print JSON, one object on a line")
}

// writeJSON writes a document on a line of its own.
func writeJSON(out io.Writer, document any) error {
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(document)
}

// writeMessages writes each message as a JSON object on a line of its own.
func writeMessages[M proto.Message](out io.Writer, messages ...M) error {
	for _, message := range messages {
		if err := writeJSON(out, messageJSON(message)); err != nil {
			return err
		}
	}
	return nil
}

// messageJSON is a message in the JSON of all commands. Fields are named as in the protocol's files, positions are
// 42/41, numbers are numbers, times are RFC 3339, enums are without their prefix, and JSON in a text (data, metadata,
// plan) becomes JSON.
func messageJSON(message proto.Message) map[string]any {
	m := message.ProtoReflect()
	object := map[string]any{}
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		field := fields.Get(i)
		value := m.Get(field)
		switch {
		case field.IsList():
			list := make([]any, value.List().Len())
			for i := range list {
				list[i] = jsonValue(field, value.List().Get(i))
			}
			object[string(field.Name())] = list
		case field.Message() != nil && !m.Has(field):
			object[string(field.Name())] = nil
		default:
			object[string(field.Name())] = jsonValue(field, value)
		}
	}
	return object
}

func jsonValue(field protoreflect.FieldDescriptor, value protoreflect.Value) any {
	switch field.Kind() {
	case protoreflect.MessageKind:
		switch message := value.Message().Interface().(type) {
		case *orisunpb.Position:
			return formatPosition(message)
		case *timestamppb.Timestamp:
			return message.AsTime().Format(time.RFC3339Nano)
		default:
			return messageJSON(message)
		}
	case protoreflect.EnumKind:
		prefix := screamingSnake(string(field.Enum().Name())) + "_"
		known := field.Enum().Values().ByNumber(value.Enum())
		if known == nil {
			return value.Enum()
		}
		return strings.TrimPrefix(string(known.Name()), prefix)
	case protoreflect.StringKind:
		text := value.String()
		switch field.Name() {
		case "data", "metadata", "plan":
			if text = cmp.Or(text, "{}"); json.Valid([]byte(text)) {
				return json.RawMessage(text)
			}
		}
		return text
	default:
		return value.Interface()
	}
}

// screamingSnake is INDEX_STATE for IndexState.
func screamingSnake(name string) string {
	var b strings.Builder
	for i, r := range name {
		if i > 0 && unicode.IsUpper(r) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToUpper(r))
	}
	return b.String()
}
