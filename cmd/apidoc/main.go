// Command apidoc prints docs/api.md: every RPC and every field, from the comments of the .proto files, with the right
// that each RPC needs from service/auth. `make generate` runs it.
package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/service/auth"
)

func main() {
	files, err := orisunpb.CommentedFiles()
	if err == nil {
		_, err = io.WriteString(os.Stdout, page(files))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "apidoc:", err)
		os.Exit(1)
	}
}

// introduction has ~ where the page has `.
const introduction = `# API

Generated from the comments in [proto/](../proto) by ~make generate~: change them there.

gRPC on ~ORISUN_GRPC_PORT~ (5005), with reflection; the same calls as JSON over [HTTP](http.md). Package ~orisun~.
Numbers and names of fields never change. Fields from number 100 up are this server's own, and unknown to clients of the
original protocol.

**Credentials.** Each call has basic credentials in the header ~authorization~, or the token of an earlier response in
~x-auth-token~. Each authenticated response has ~x-auth-token~ in its header: it replaces the password in later calls.
Health and reflection need no credentials.

**Limits** of all calls, and their variables, are in [limits](limits.md). Those of a field stand beside it.

**Errors** of every call. [Errors](errors.md) has what to do about each:

| code | when |
|---|---|
| ~UNAUTHENTICATED~ | credentials are missing, wrong or expired |
| ~PERMISSION_DENIED~ | the user does not have the right, which the message names (reason ~RIGHT_MISSING~) |
| ~RESOURCE_EXHAUSTED~ | a request or response is larger than its limit, the caller's share of bytes in flight ` +
	`is used up, or too many wrong passwords came |
| ~UNAVAILABLE~ | PostgreSQL does not answer or has no room, or the server drains; with ~RetryInfo~ |
| ~DEADLINE_EXCEEDED~, ~CANCELLED~ | the caller's deadline or ~ORISUN_PG_STATEMENT_TIMEOUT~; the caller went away |
| ~INTERNAL~ | a fault of the server; its log has the cause |
`

// page is docs/api.md.
func page(files []protoreflect.FileDescriptor) string {
	var b strings.Builder
	b.WriteString(strings.ReplaceAll(introduction, "~", "`"))
	var messages []protoreflect.MessageDescriptor
	var enums []protoreflect.EnumDescriptor
	for _, file := range files {
		for i := range file.Services().Len() {
			writeService(&b, file.Services().Get(i))
		}
		for i := range file.Messages().Len() {
			messages = append(messages, file.Messages().Get(i))
		}
		for i := range file.Enums().Len() {
			enums = append(enums, file.Enums().Get(i))
		}
	}
	b.WriteString("\n## Messages\n")
	for _, message := range messages {
		writeMessage(&b, message)
	}
	b.WriteString("\n## Enums\n")
	for _, enum := range enums {
		writeEnum(&b, enum)
	}
	return b.String()
}

func writeService(b *strings.Builder, service protoreflect.ServiceDescriptor) {
	fmt.Fprintf(b, "\n## %s\n", service.Name())
	writeText(b, paragraphs(service))
	for i := range service.Methods().Len() {
		method := service.Methods().Get(i)
		response := link(method.Output())
		if method.IsStreamingServer() {
			response = "stream of " + response
		}
		fmt.Fprintf(b, "\n### %s/%s\n\n%s\n→ %s\n", service.Name(), method.Name(), link(method.Input()), response)
		for _, paragraph := range paragraphs(method) {
			errors, found := strings.CutPrefix(paragraph, "Errors: ")
			if !found {
				writeText(b, []string{paragraph})
				continue
			}
			writeRight(b, fmt.Sprintf("/%s/%s", service.FullName(), method.Name()))
			b.WriteString("\nErrors:\n\n")
			for item := range strings.SplitSeq(strings.TrimSuffix(errors, "."), "; ") {
				b.WriteString(wrap("- "+item, "  "))
			}
		}
	}
}

func writeRight(b *strings.Builder, method string) {
	right, _ := auth.RightOf(method)
	if right == auth.Anyone {
		b.WriteString("\nRight: any user.\n")
		return
	}
	fmt.Fprintf(b, "\nRight: %s. Roles: `%s`.\n", right, strings.Join(auth.RolesWith(right), "`, `"))
}

func writeMessage(b *strings.Builder, message protoreflect.MessageDescriptor) {
	fmt.Fprintf(b, "\n### %s\n", message.Name())
	writeText(b, paragraphs(message))
	if message.Fields().Len() == 0 {
		b.WriteString("\nNo fields.\n")
		return
	}
	b.WriteString("\n| number | field | type | |\n|--:|---|---|---|\n")
	for i := range message.Fields().Len() {
		field := message.Fields().Get(i)
		text := strings.Join(paragraphs(field), " ")
		if rest, required := strings.CutPrefix(text, "Required."); required {
			text = "**Required.**" + rest
		}
		fmt.Fprintf(b, "| %d | `%s` | %s | %s |\n",
			field.Number(), field.Name(), typeOf(field), strings.ReplaceAll(text, "|", `\|`))
	}
}

func writeEnum(b *strings.Builder, enum protoreflect.EnumDescriptor) {
	fmt.Fprintf(b, "\n### %s\n", enum.Name())
	writeText(b, paragraphs(enum))
	b.WriteString("\n| number | value |\n|--:|---|\n")
	for i := range enum.Values().Len() {
		fmt.Fprintf(b, "| %d | `%s` |\n", enum.Values().Get(i).Number(), enum.Values().Get(i).Name())
	}
}

func typeOf(field protoreflect.FieldDescriptor) string {
	name := field.Kind().String()
	switch {
	case field.Message() != nil:
		name = link(field.Message())
	case field.Enum() != nil:
		name = link(field.Enum())
	}
	if field.IsList() {
		name = "repeated " + name
	}
	return name
}

// link leads to the section of a message or an enum of ours.
func link(of protoreflect.Descriptor) string {
	if of.ParentFile().Package() != orisunpb.File_eventstore_proto.Package() {
		return string(of.FullName())
	}
	return fmt.Sprintf("[%s](#%s)", of.Name(), strings.ToLower(string(of.Name())))
}

// columns is how long the lines of the page may be, tables aside.
const columns = 120

func writeText(b *strings.Builder, paragraphs []string) {
	for _, paragraph := range paragraphs {
		b.WriteString("\n" + wrap(paragraph, ""))
	}
}

// wrap breaks text into lines. Each line but the first begins with indent.
func wrap(text, indent string) string {
	var b strings.Builder
	line := ""
	for word := range strings.FieldsSeq(text) {
		switch {
		case line == "":
			line = word
		case len(line)+1+len(word) > columns:
			b.WriteString(line + "\n")
			line = indent + word
		default:
			line += " " + word
		}
	}
	return b.String() + line + "\n"
}

// paragraphs are those of the comment above a declaration, each in one line.
func paragraphs(of protoreflect.Descriptor) (all []string) {
	text := of.ParentFile().SourceLocations().ByDescriptor(of).LeadingComments
	for paragraph := range strings.SplitSeq(text, "\n\n") {
		if line := strings.Join(strings.Fields(paragraph), " "); line != "" {
			all = append(all, line)
		}
	}
	return all
}
