package httpapi

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"

	orisunpb "github.com/oexza/orisun/proto"
)

type describedOperation struct {
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

type describedDocument struct {
	Paths      map[string]map[string]describedOperation
	Components struct {
		Schemas map[string]struct {
			Required   []string
			Properties map[string]struct{ Description string }
		}
	}
}

func TestTheOpenAPIDocumentDescribesEveryCall(t *testing.T) {
	description, err := openAPI()
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(description)
	if err != nil {
		t.Fatal(err)
	}
	var document describedDocument
	if err := json.Unmarshal(text, &document); err != nil {
		t.Fatal(err)
	}
	ids := map[string]bool{}
	for _, service := range services([]protoreflect.FileDescriptor{
		orisunpb.File_eventstore_proto, orisunpb.File_admin_proto, orisunpb.File_subscriptions_proto,
	}) {
		for i := range service.Methods().Len() {
			method := service.Methods().Get(i)
			path := fmt.Sprintf("/%s/%s", service.FullName(), method.Name())
			operation, found := document.Paths[path]["post"]
			if method.IsStreamingClient() {
				if found {
					t.Errorf("%s streams requests, so it cannot be called with JSON", path)
				}
				continue
			}
			if !found || operation.Summary == "" || operation.Description == "" || operation.OperationID == "" ||
				ids[operation.OperationID] {
				t.Errorf("%s is described by %+v: a summary, a description and an operationId of its own are needed",
					path, operation)
			}
			ids[operation.OperationID] = true
		}
	}
	for _, reference := range strings.Split(string(text), `"$ref":"`)[1:] {
		name, _, _ := strings.Cut(strings.TrimPrefix(reference, "#/components/schemas/"), `"`)
		if _, found := document.Components.Schemas[name]; !found {
			t.Errorf("nothing is called %s", name)
		}
	}
	if text := document.Components.Schemas["SaveEventsRequest"].Properties["events"].Description; text != "1 to 10,000." {
		t.Errorf("events of a save are described as %q", text)
	}
	if fields := document.Components.Schemas["GetEventsResponse"].Required; !slices.Equal(fields, []string{"events"}) {
		t.Errorf("a page always has %q", fields)
	}
}
