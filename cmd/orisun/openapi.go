package main

import (
	"net/http"
	"sync"

	"google.golang.org/protobuf/reflect/protoreflect"

	orisunpb "github.com/oexza/orisun/proto"
)

// object is a node of a JSON document.
type object map[string]any

func serveOpenAPI(w http.ResponseWriter, _ *http.Request) { answerJSON(w, http.StatusOK, openAPI()) }

// openAPI describes every RPC as it is called by HTTP, made from the descriptors that the server itself is made of. What fields mean is
// said in the .proto files.
var openAPI = sync.OnceValue(func() object {
	d := &document{schemas: object{"Error": errorSchema}, paths: object{}}
	for _, file := range []protoreflect.FileDescriptor{orisunpb.File_eventstore_proto, orisunpb.File_admin_proto} {
		for i := range file.Services().Len() {
			service := file.Services().Get(i)
			for j := range service.Methods().Len() {
				d.add(service, service.Methods().Get(j))
			}
		}
	}
	build := readBuildInfo()
	return object{
		"openapi": "3.1.0",
		"info": object{
			"title": "Orisun", "version": build.version,
			"description": "Every RPC of Orisun as JSON over HTTP. Numbers of 64 bits are strings in answers, and either in requests. " +
				"The header x-auth-token of an answer takes the place of the password in the calls that follow.",
		},
		"security": []object{{"password": []string{}}, {"token": []string{}}},
		"paths":    d.paths,
		"components": object{"schemas": d.schemas, "securitySchemes": object{
			"password": object{"type": "http", "scheme": "basic"},
			"token":    object{"type": "apiKey", "in": "header", "name": "x-auth-token"},
		}},
	}
})

var errorSchema = object{
	"type": "object", "required": []string{"code"},
	"properties": object{
		"code":    object{"type": "string", "description": "The code of gRPC, such as already_exists"},
		"message": object{"type": "string"},
		"details": object{"type": "array", "items": object{"type": "object", "properties": object{
			"type":  object{"type": "string", "description": "Such as google.rpc.ErrorInfo"},
			"value": object{"type": "string", "contentEncoding": "base64", "description": "The protobuf message"},
			"debug": object{"type": "object", "description": "The message as JSON"},
		}}},
	},
}

type document struct{ schemas, paths object }

func (d *document) add(service protoreflect.ServiceDescriptor, method protoreflect.MethodDescriptor) {
	answerType := jsonType
	if method.IsStreamingServer() {
		answerType = ndjsonType
	}
	content := func(kind string, schema object) object { return object{kind: object{"schema": schema}} }
	d.paths["/"+string(service.FullName())+"/"+string(method.Name())] = object{"post": object{
		"operationId": string(service.Name()) + "_" + string(method.Name()),
		"tags":        []string{string(service.Name())},
		"requestBody": object{"required": true, "content": content(jsonType, d.message(method.Input()))},
		"responses": object{
			"200":     object{"description": "The answer; of a stream, one object a line", "content": content(answerType, d.message(method.Output()))},
			"default": object{"description": "An error", "content": content(jsonType, object{"$ref": "#/components/schemas/Error"})},
		},
	}}
}

// message refers to the schema of a message, which it makes when it is met first.
func (d *document) message(message protoreflect.MessageDescriptor) object {
	if message.FullName() == "google.protobuf.Timestamp" {
		return object{"type": "string", "format": "date-time"}
	}
	name := string(message.Name())
	if d.schemas[name] == nil {
		properties := object{}
		d.schemas[name] = object{"type": "object", "properties": properties, "additionalProperties": false}
		for i := range message.Fields().Len() {
			field := message.Fields().Get(i)
			properties[field.JSONName()] = d.field(field)
		}
	}
	return object{"$ref": "#/components/schemas/" + name}
}

func (d *document) field(field protoreflect.FieldDescriptor) object {
	schema := d.scalar(field)
	if field.IsList() {
		return object{"type": "array", "items": schema}
	}
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
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind, protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return object{"type": []string{"string", "integer"}, "format": field.Kind().String()}
	case protoreflect.BytesKind:
		return object{"type": "string", "contentEncoding": "base64"}
	case protoreflect.StringKind:
		return object{"type": "string"}
	default:
		return object{"type": "integer", "format": field.Kind().String()}
	}
}
