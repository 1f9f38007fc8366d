package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"

	orisunpb "github.com/oexza/orisun/proto"
)

type openAPIOperation struct {
	OperationID, Summary, Description string
	RequestBody                       struct {
		Required bool
		Content  map[string]struct {
			Schema struct {
				Ref string `json:"$ref"`
			}
		}
	}
}

type openAPIDocument struct {
	Paths      map[string]map[string]openAPIOperation
	Components struct {
		Schemas map[string]struct {
			Required   []string
			Properties map[string]struct{ Description string }
		}
	}
}

// TestWhatTheOpenAPIDocumentRequiresIsWhatTheServerRefusesToMiss calls each RPC with an empty object.
func TestWhatTheOpenAPIDocumentRequiresIsWhatTheServerRefusesToMiss(t *testing.T) {
	server := launchWith(t)
	_, text := ask(t, http.MethodGet, "http://"+server.http+"/openapi.json", "")
	var document openAPIDocument
	if err := json.Unmarshal([]byte(text), &document); err != nil {
		t.Fatal(err)
	}
	files, err := orisunpb.CommentedFiles()
	if err != nil {
		t.Fatal(err)
	}
	var services []protoreflect.ServiceDescriptor
	for _, file := range files {
		for i := range file.Services().Len() {
			services = append(services, file.Services().Get(i))
		}
	}
	for _, service := range services {
		for i := range service.Methods().Len() {
			method := service.Methods().Get(i)
			path := fmt.Sprintf("/%s/%s", service.FullName(), method.Name())
			if method.IsStreamingClient() {
				continue // it takes gRPC
			}
			body := document.Paths[path]["post"].RequestBody
			required := slices.Clone(document.Components.Schemas[string(method.Input().Name())].Required)
			if body.Required != (len(required) > 0) {
				t.Errorf("%s: its body is required: %t, its fields: %q", path, body.Required, required)
			}
			if method.IsStreamingServer() && len(required) == 0 {
				continue // it would not end
			}
			status, answer := ask(t, http.MethodPost, "http://"+server.http+path, "{}")
			refused := refusedFields(t, answer)
			// needs this field or all, which a list of required fields cannot say
			if path == "/orisun.Subscriptions/SkipParked" {
				required = append(required, "positions")
			}
			slices.Sort(required)
			if !slices.Equal(refused, required) || (status == http.StatusBadRequest) != (len(required) > 0) {
				t.Errorf("%s requires %q, and without them the answer is %d for %q: %s", path, required, status, refused, answer)
			}
		}
	}
}

// refusedFields are the top-level fields, as JSON names them, that an answer finds wrong.
func refusedFields(t *testing.T, answer string) (fields []string) {
	t.Helper()
	var failure struct {
		Details []struct {
			Type  string
			Debug json.RawMessage
		}
	}
	if err := json.Unmarshal([]byte(answer), &failure); err != nil {
		t.Fatalf("%v in %s", err, answer)
	}
	for _, detail := range failure.Details {
		var bad errdetails.BadRequest
		if detail.Type != "google.rpc.BadRequest" || protojson.Unmarshal(detail.Debug, &bad) != nil {
			continue
		}
		for _, violation := range bad.GetFieldViolations() {
			field, _, _ := strings.Cut(violation.GetField(), ".")
			words := strings.Split(field, "_")
			for i, word := range words[1:] {
				words[i+1] = strings.ToUpper(word[:1]) + word[1:]
			}
			if name := strings.Join(words, ""); !slices.Contains(fields, name) {
				fields = append(fields, name)
			}
		}
	}
	slices.Sort(fields)
	return fields
}
