package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/fullstorydev/grpcurl"
	"github.com/jhump/protoreflect/grpcreflect"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"mvdan.cc/sh/v3/interp"
	"mvdan.cc/sh/v3/syntax"
)

// TestTheExamplesOfTheREADMERunAsPrinted lets a shell run each example, with grpcurl as a library in the place of the program, against
// the real binary. Only the port differs from what is printed.
func TestTheExamplesOfTheREADMERunAsPrinted(t *testing.T) {
	server := launch(t, environment(t.TempDir(),
		"ORISUN_PG_SCHEMAS=orisun_test_1:public,banking:public,orders:public,orisun_admin:admin",
		`ORISUN_BOUNDARIES=[{"name":"orisun_test_1"},{"name":"banking"},{"name":"orders"},{"name":"orisun_admin"}]`))
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var examples []string
	for _, block := range regexp.MustCompile("(?s)```bash\n(.*?)```").FindAllStringSubmatch(string(readme), -1) {
		examples = append(examples, block[1])
	}
	wants := []struct {
		code codes.Code
		text string // in the answer
	}{
		{codes.OK, `"latestTransactionId": "1"`},
		{codes.OK, `"latestGlobalId": "2"`},
		{codes.OK, `"eventId": "email-001"`},
		{codes.OK, `"eventId": "email-001"`},
		{codes.OK, `"eventId": "user-001"`},
		{codes.OK, `{}`},
		{codes.AlreadyExists, `CONTEXT_CHANGED`},
		{codes.OK, `{}`},
		{codes.OK, `{}`},
		{codes.OK, `{}`},
		{codes.OK, `{}`},
		{codes.OK, `"username": "janedoe"`},
		{codes.OK, `"username": "janedoe"`},
		{codes.OK, `"success": true`},
		{codes.OK, `"count": "3"`},
		{codes.OK, `"status": "BOUNDARY_LIFECYCLE_STATUS_ACTIVE"`},
	}
	if len(examples) != len(wants) {
		t.Fatalf("README.md has %d examples in bash, the test knows %d", len(examples), len(wants))
	}
	for i, want := range wants {
		code, output := runShell(t, examples[i], server.address)
		if code != want.code || !strings.Contains(output, want.text) {
			t.Errorf("%s\nanswers %v %s\nwant %v with %s", examples[i], code, output, want.code, want.text)
		}
	}
}

// runShell runs a script in which grpcurl calls the server at address.
func runShell(t *testing.T, script, address string) (code codes.Code, output string) {
	t.Helper()
	file, err := syntax.NewParser().Parse(strings.NewReader(script), "README.md")
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	shell, err := interp.New(interp.StdIO(nil, &out, &out), interp.ExecHandlers(func(interp.ExecHandlerFunc) interp.ExecHandlerFunc {
		return func(ctx context.Context, args []string) (err error) {
			if args[0] != "grpcurl" {
				t.Fatalf("the example runs %s", args[0])
			}
			handler := interp.HandlerCtx(ctx)
			code, err = callWithGrpcurl(ctx, args[1:], address, handler.Stdin, handler.Stdout)
			return err
		}
	}))
	if err != nil {
		t.Fatal(err)
	}
	if err := shell.Run(t.Context(), file); err != nil {
		t.Fatalf("%s\n%v", script, err)
	}
	return code, out.String()
}

// callWithGrpcurl does what the program does with these arguments, but at another address.
func callWithGrpcurl(ctx context.Context, args []string, address string, stdin io.Reader, stdout io.Writer) (code codes.Code, err error) {
	flags := flag.NewFlagSet("grpcurl", flag.ContinueOnError)
	plaintext := flags.Bool("plaintext", false, "")
	header := flags.String("H", "", "")
	data := flags.String("d", "", "")
	if err := flags.Parse(args); err != nil {
		return codes.Unknown, err
	}
	transport := credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS12})
	if *plaintext {
		transport = insecure.NewCredentials()
	}
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(transport))
	if err != nil {
		return codes.Unknown, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	reflection := grpcreflect.NewClientAuto(ctx, conn)
	defer reflection.Reset()
	source := grpcurl.DescriptorSourceFromServer(ctx, reflection)

	input := stdin
	if *data != "@" {
		input = strings.NewReader(*data)
	}
	parser, formatter, err := grpcurl.RequestParserAndFormatter(grpcurl.FormatJSON, source, input, grpcurl.FormatOptions{})
	if err != nil {
		return codes.Unknown, err
	}
	handler := &grpcurl.DefaultEventHandler{Out: stdout, Formatter: formatter}
	if err := grpcurl.InvokeRPC(ctx, source, conn, flags.Arg(1), []string{*header}, handler, parser.Next); err != nil {
		return codes.Unknown, err
	}
	if handler.Status.Code() != codes.OK {
		grpcurl.PrintStatus(stdout, handler.Status, formatter)
	}
	return handler.Status.Code(), nil
}
