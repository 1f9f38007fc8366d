package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"

	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/service/auth"
)

// The page in docs/ is what its sources generate, and it has every RPC with its right and errors, every field, and
// every value.
func TestThePageIsCurrentAndComplete(t *testing.T) {
	text, err := os.ReadFile("../../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	commented, err := orisunpb.CommentedFiles()
	if err != nil {
		t.Fatal(err)
	}
	if string(text) != page(commented) {
		t.Error("docs/api.md is not what its sources generate: run make generate")
	}
	// What the server serves, not what the comments were taken from.
	for _, file := range []protoreflect.FileDescriptor{
		orisunpb.File_eventstore_proto, orisunpb.File_admin_proto, orisunpb.File_subscriptions_proto,
	} {
		for i := range file.Services().Len() {
			service := file.Services().Get(i)
			for j := range service.Methods().Len() {
				name := service.Methods().Get(j).Name()
				_, section, found := strings.Cut(string(text), fmt.Sprintf("\n### %s/%s\n", service.Name(), name))
				section, _, _ = strings.Cut(section, "\n##")
				if !found || !strings.Contains(section, "\nErrors:\n") || !strings.Contains(section, "\nRight: ") {
					t.Errorf("%s/%s has no section with its right and errors: its comment needs a paragraph \"Errors: …\"",
						service.Name(), name)
				}
				if _, found := auth.RightOf(fmt.Sprintf("/%s/%s", service.FullName(), name)); !found {
					t.Errorf("%s/%s needs no right: service/auth/rights.go has no row", service.Name(), name)
				}
			}
		}
		for i := range file.Messages().Len() {
			message := file.Messages().Get(i)
			_, section, _ := strings.Cut(string(text), fmt.Sprintf("\n### %s\n", message.Name()))
			section, _, _ = strings.Cut(section, "\n##")
			for j := range message.Fields().Len() {
				field := message.Fields().Get(j)
				_, meaning, found := strings.Cut(section, fmt.Sprintf("| %d | `%s` | ", field.Number(), field.Name()))
				meaning, _, _ = strings.Cut(meaning, "\n")
				if _, meaning, _ = strings.Cut(meaning, " | "); !found || len(strings.TrimSuffix(meaning, " |")) < 2 {
					t.Errorf("%s.%s is not described", message.Name(), field.Name())
				}
			}
		}
		for i := range file.Enums().Len() {
			enum := file.Enums().Get(i)
			for j := range enum.Values().Len() {
				if row := fmt.Sprintf("| %d | `%s` |",
					enum.Values().Get(j).Number(), enum.Values().Get(j).Name()); !strings.Contains(string(text), row) {
					t.Errorf("%s has no row %s", enum.Name(), row)
				}
			}
		}
	}
}
