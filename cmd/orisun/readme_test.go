package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/fullstorydev/grpcurl"
	"github.com/jackc/pgx/v5"
	"github.com/jhump/protoreflect/grpcreflect"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"mvdan.cc/sh/v3/interp"
	"mvdan.cc/sh/v3/syntax"
)

// TestTheExamplesOfTheREADMERunAsPrinted runs each block in bash and SQL against a server with the default settings, in the order of the page.
// grpcurl is a library in the place of the program, and so is psql. Only ports differ from what is printed.
func TestTheExamplesOfTheREADMERunAsPrinted(t *testing.T) {
	port := freePort(t)
	server := launch(t, environment(t.TempDir(), "ORISUN_PG_PORT="+strconv.Itoa(port)))
	database, err := pgx.Connect(t.Context(), fmt.Sprintf("postgres://postgres:postgres@localhost:%d/orisun", port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := database.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	examples := regexp.MustCompile("(?s)```(bash|sql)\n(.*?)```").FindAllStringSubmatch(readDoc(t, "README.md"), -1)
	wants := []struct {
		code  codes.Code
		text  string // in the answer
		never string // in the answer
	}{
		{text: `"latestTransactionId": "1"`},
		{text: `"latestGlobalId": "2"`},
		{text: `"eventId": "user-001"`},
		{text: `"eventId": "profile-001"`, never: `"eventId": "user-001"`},
		{text: `"eventId": "user-001"`, never: `"eventId": "email-001"`},
		{text: `"status": "BOUNDARY_LIFECYCLE_STATUS_ACTIVE"`},
		{text: `{}`},
		{code: codes.AlreadyExists, text: `CONTEXT_CHANGED`},
		{text: `user-001`, never: `email-001`}, // tail
		{text: `ACTIVE`},
		{text: `{}`},
		{text: `{}`},
		{text: `{}`},
		{text: `user_id`, never: `TABLE`}, // advise and explain
		{text: `{}`},
		{text: `"username": "janedoe"`},
		{text: `"username": "janedoe"`},
		{text: `"success": true`},
		{text: `"count": "3"`},
		{text: "[4 3]"}, // the position of what the last statement stored
	}
	if len(examples) != len(wants) {
		t.Fatalf("README.md has %d examples in bash and SQL, the test knows %d", len(examples), len(wants))
	}
	for i, want := range wants {
		var code codes.Code
		var output string
		if script := examples[i][2]; examples[i][1] == "sql" {
			output = runSQL(t, script, database)
		} else {
			code, output = runShell(t, script, server.address)
		}
		if code != want.code || !strings.Contains(output, want.text) || want.never != "" && strings.Contains(output, want.never) {
			t.Errorf("%s\nanswers %v %s\nwant %v with %s, without %s", examples[i][2], code, output, want.code, want.text, want.never)
		}
	}
}

// runSQL runs statements as psql does, and returns the text of their last rows.
func runSQL(t *testing.T, script string, database *pgx.Conn) string {
	t.Helper()
	results, err := database.PgConn().Exec(t.Context(), script).ReadAll()
	if err != nil {
		t.Fatalf("%s\n%v", script, err)
	}
	var text strings.Builder
	for _, result := range results {
		if result.Err != nil || len(result.Rows) == 0 {
			t.Errorf("%s\none of the statements answers %d rows: %v", script, len(result.Rows), result.Err)
		}
		for _, row := range result.Rows {
			fmt.Fprintf(&text, "%s\n", row)
		}
	}
	return text.String()
}

// runShell runs a script in which grpcurl and orisun call the server at address.
func runShell(t *testing.T, script, address string) (code codes.Code, output string) {
	t.Helper()
	file, err := syntax.NewParser().Parse(strings.NewReader(script), "README.md")
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	shell, err := interp.New(interp.StdIO(nil, &out, &out), interp.ExecHandlers(func(interp.ExecHandlerFunc) interp.ExecHandlerFunc {
		return func(ctx context.Context, args []string) (err error) {
			handler := interp.HandlerCtx(ctx)
			switch args[0] {
			case "grpcurl":
				code, err = callWithGrpcurl(ctx, args[1:], address, handler.Stdin, handler.Stdout)
				return err
			case "bin/orisun":
				return runCommand(ctx, args[1:], address, handler.Stdout)
			}
			return fmt.Errorf("the test cannot run %s", args[0])
		}
	}))
	if err != nil {
		t.Fatal(err)
	}
	if err := shell.Run(t.Context(), file); err != nil {
		t.Fatalf("%s\n%v\n%s", script, err, out.String())
	}
	return code, out.String()
}

// runCommand runs a command of the binary. tail, which would go on for ever, is interrupted after its first line.
func runCommand(ctx context.Context, args []string, address string, stdout io.Writer) error {
	command := exec.CommandContext(ctx, binary, args...)
	command.Env = append(os.Environ(), "ORISUN_URL=grpc://"+address)
	if args[0] != "tail" {
		command.Stdout, command.Stderr = stdout, stdout
		return command.Run()
	}
	pipe, err := command.StdoutPipe()
	if err != nil {
		return err
	}
	if err := command.Start(); err != nil {
		return err
	}
	line, err := bufio.NewReader(pipe).ReadString('\n')
	_, written := io.WriteString(stdout, line)
	return errors.Join(err, written, command.Process.Signal(os.Interrupt), command.Wait())
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
