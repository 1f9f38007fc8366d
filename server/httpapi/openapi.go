package httpapi

import (
	"net/http"
	"slices"
	"strings"
	"sync"

	"google.golang.org/protobuf/reflect/protoreflect"

	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/server/version"
)

// object is a node of a JSON document.
type object map[string]any

func serveOpenAPI(w http.ResponseWriter, _ *http.Request) {
	description, err := openAPI()
	if err != nil {
		writeError(w, http.StatusInternalServerError, "internal", err.Error())
		return
	}
	answerJSON(w, http.StatusOK, description)
}

// openAPI describes every RPC as it is called by HTTP. Names and types come from the descriptors of the .proto files,
// texts from their comments. A field of a request is required where its comment begins with "Required.".
var openAPI = sync.OnceValues(func() (object, error) {
	files, err := orisunpb.CommentedFiles()
	if err != nil {
		return nil, err
	}
	d := &document{
		schemas:   object{"Error": errorSchema},
		paths:     object{},
		requested: make(map[protoreflect.FullName]bool),
	}
	for _, service := range services(files) {
		for i := range service.Methods().Len() {
			d.addRequested(service.Methods().Get(i).Input())
		}
	}
	var tags []object
	for _, service := range services(files) {
		tags = append(tags, object{"name": string(service.Name()), "description": comment(service)})
		for i := range service.Methods().Len() {
			if method := service.Methods().Get(i); !method.IsStreamingClient() { // which takes gRPC
				d.add(service, method)
			}
		}
	}
	return object{
		"openapi": "3.1.0",
		"info": object{
			"title": "Orisun", "version": version.Read().Version,
			"description": "Every RPC of Orisun as JSON over HTTP. Numbers of 64 bits are strings in answers, and strings or " +
				"numbers in requests. The header x-auth-token of an answer replaces the password in later calls.",
			"license": object{"name": "MIT", "identifier": "MIT"},
		},
		"servers":  []object{{"url": "/", "description": "This server"}},
		"security": []object{{"password": []string{}}, {"token": []string{}}},
		"tags":     tags,
		"paths":    d.paths,
		"components": object{"schemas": d.schemas, "securitySchemes": object{
			"password": object{"type": "http", "scheme": "basic", "description": "Username and password"},
			"token": object{
				"type": "apiKey", "in": "header", "name": "x-auth-token", "description": "The token of an earlier answer",
			},
		}},
	}, nil
})

var errorSchema = object{
	"type": "object", "required": []string{"code"}, "description": "Why a call failed.",
	"properties": object{
		"code":    object{"type": "string", "description": "The code of gRPC, such as already_exists"},
		"message": object{"type": "string", "description": "What is wrong, for people"},
		"details": object{"type": "array", "items": object{"type": "object", "properties": object{
			"type":  object{"type": "string", "description": "Such as google.rpc.ErrorInfo"},
			"value": object{"type": "string", "contentEncoding": "base64", "description": "The protobuf message"},
			"debug": object{"type": "object", "description": "The message as JSON"},
		}}},
	},
}

// document collects the description. Paths come from methods, schemas from messages.
type document struct {
	schemas, paths object
	requested      map[protoreflect.FullName]bool // messages that are part of a request
}

func services(files []protoreflect.FileDescriptor) (all []protoreflect.ServiceDescriptor) {
	for _, file := range files {
		for i := range file.Services().Len() {
			all = append(all, file.Services().Get(i))
		}
	}
	return all
}

// addRequested records a message of a request, and the messages in it.
func (d *document) addRequested(message protoreflect.MessageDescriptor) {
	if d.requested[message.FullName()] {
		return
	}
	d.requested[message.FullName()] = true
	for i := range message.Fields().Len() {
		if of := message.Fields().Get(i).Message(); of != nil {
			d.addRequested(of)
		}
	}
}

func (d *document) add(service protoreflect.ServiceDescriptor, method protoreflect.MethodDescriptor) {
	content := func(kind string, schema object) object { return object{kind: object{"schema": schema}} }
	answer, answered := "The answer", content(jsonType, d.message(method.Output()))
	if method.IsStreamingServer() {
		answer = "One object a line, until the caller or the server ends the stream; with the header Accept: " +
			serverSentType + " one for each server-sent event"
		answered = content(ndjsonType, d.message(method.Output()))
		answered[serverSentType] = object{"schema": object{"type": "string"}}
	}
	failure := func(description string) object {
		return object{"description": description, "content": content(jsonType, object{"$ref": "#/components/schemas/Error"})}
	}
	description := comment(method)
	summary, _, _ := strings.Cut(strings.ReplaceAll(description, "\n", " "), ". ")
	input := d.message(method.Input())
	d.paths["/"+string(service.FullName())+"/"+string(method.Name())] = object{"post": object{
		"operationId": string(service.Name()) + "_" + string(method.Name()),
		"summary":     strings.TrimSuffix(summary, "."),
		"description": description,
		"tags":        []string{string(service.Name())},
		"requestBody": object{"required": len(required(method.Input())) > 0, "content": content(jsonType, input)},
		"responses": object{
			"200": object{"description": answer, "content": answered},
			"4XX": failure("The call is wrong, not allowed, or meets a state in which it cannot succeed"),
			"5XX": failure("The server cannot answer; 503 is worth a retry"),
		},
	}}
}

// message refers to the schema of a message, which is made once.
func (d *document) message(message protoreflect.MessageDescriptor) object {
	switch message.FullName() {
	case "google.protobuf.Timestamp":
		return object{"type": "string", "format": "date-time"}
	case "google.protobuf.Duration":
		return object{"type": "string", "pattern": `^-?[0-9]+(\.[0-9]+)?s$`, "description": "Seconds, such as 1.5s"}
	}
	name := string(message.Name())
	if d.schemas[name] == nil {
		properties := object{}
		schema := object{"type": "object", "properties": properties, "additionalProperties": false}
		d.schemas[name] = schema
		describe(schema, message)
		for i := range message.Fields().Len() {
			field := message.Fields().Get(i)
			properties[field.JSONName()] = d.field(field)
		}
		fields := required(message)
		if !d.requested[message.FullName()] {
			fields = alwaysAnswered(message)
		}
		if len(fields) > 0 {
			schema["required"] = fields
		}
	}
	return object{"$ref": "#/components/schemas/" + name}
}

const requiredMark = "Required."

// required are the fields without which a request is rejected.
func required(message protoreflect.MessageDescriptor) (names []string) {
	for i := range message.Fields().Len() {
		if field := message.Fields().Get(i); strings.HasPrefix(comment(field), requiredMark) {
			names = append(names, field.JSONName())
		}
	}
	return names
}

// alwaysAnswered are the fields that every answer has: all but messages that may be unset.
func alwaysAnswered(message protoreflect.MessageDescriptor) (names []string) {
	for i := range message.Fields().Len() {
		if field := message.Fields().Get(i); !field.HasPresence() {
			names = append(names, field.JSONName())
		}
	}
	return names
}

func (d *document) field(field protoreflect.FieldDescriptor) object {
	schema := d.scalar(field)
	if field.IsList() {
		schema = object{"type": "array", "items": schema}
	}
	describe(schema, field)
	return schema
}

func (d *document) scalar(field protoreflect.FieldDescriptor) object {
	switch field.Kind() {
	case protoreflect.MessageKind, protoreflect.GroupKind:
		return d.message(field.Message())
	case protoreflect.EnumKind:
		var names []string
		for i := range field.Enum().Values().Len() {
			names = append(names, string(field.Enum().Values().Get(i).Name()))
		}
		return object{"type": "string", "enum": names}
	case protoreflect.BoolKind:
		return object{"type": "boolean"}
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		return object{"type": "number"}
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind, protoreflect.Uint64Kind,
		protoreflect.Fixed64Kind:
		return object{"type": []string{"string", "integer"}, "format": field.Kind().String()}
	case protoreflect.BytesKind:
		return object{"type": "string", "contentEncoding": "base64"}
	case protoreflect.StringKind:
		return object{"type": "string"}
	default:
		return object{"type": "integer", "format": field.Kind().String()}
	}
}

// describe adds a comment to a schema where there is one.
func describe(schema object, of protoreflect.Descriptor) {
	if text := strings.TrimSpace(strings.TrimPrefix(comment(of), requiredMark)); text != "" {
		schema["description"] = text
	}
}

// comment is the text above a declaration in its .proto file, with one line for each paragraph.
func comment(of protoreflect.Descriptor) string {
	text := of.ParentFile().SourceLocations().ByDescriptor(of).LeadingComments
	paragraphs := strings.Split(strings.TrimSpace(text), "\n\n")
	for i, paragraph := range paragraphs {
		paragraphs[i] = strings.Join(strings.Fields(paragraph), " ")
	}
	return strings.Join(slices.DeleteFunc(paragraphs, func(p string) bool { return p == "" }), "\n\n")
}
