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
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/fullstorydev/grpcurl"
	"github.com/jackc/pgx/v5"
	"github.com/jhump/protoreflect/grpcreflect"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"mvdan.cc/sh/v3/expand"
	"mvdan.cc/sh/v3/interp"
	"mvdan.cc/sh/v3/syntax"
)

// programs run commands as documentation prints them, at the addresses of a test's server.
type programs struct {
	addresses *strings.Replacer
	root      string // of the repository
	built     string // folder of the built examples
	code      codes.Code
}

// run runs a script, which ends at its first command that fails.
func (p *programs) run(t *testing.T, script string) (output string, failure error) {
	t.Helper()
	file, err := syntax.NewParser().Parse(strings.NewReader("set -e\n"+script), "docs")
	if err != nil {
		t.Fatalf("%v\n%s", err, script)
	}
	var out bytes.Buffer
	environment := append(os.Environ(), p.addresses.Replace("ORISUN_URL=grpc://admin:changeit@localhost:5005"))
	shell, err := interp.New(interp.StdIO(nil, &out, &out), interp.Dir(t.TempDir()),
		interp.Env(expand.ListEnviron(environment...)),
		interp.ExecHandlers(func(next interp.ExecHandlerFunc) interp.ExecHandlerFunc {
			return func(ctx context.Context, args []string) error { return p.exec(ctx, args, next) }
		}))
	if err != nil {
		t.Fatal(err)
	}
	failure = shell.Run(t.Context(), file)
	return out.String(), failure
}

// exec runs one command. A command that it does not know fails: the page has to mark its block as not run.
func (p *programs) exec(ctx context.Context, args []string, next interp.ExecHandlerFunc) error {
	handler := interp.HandlerCtx(ctx)
	for i, arg := range args {
		args[i] = p.addresses.Replace(arg)
	}
	line := strings.Join(args, " ")
	switch args[0] {
	case "orisun", "bin/orisun":
		return runDocumented(ctx, args[1:], handler)
	case "curl":
		if slices.ContainsFunc(args, isUnbuffered) { // a stream, which does not end by itself
			ctx, cancel := context.WithTimeout(ctx, startTimeout)
			defer cancel()
			return firstLine(exec.CommandContext(ctx, args[0], args[1:]...), handler.Stdout)
		}
		return next(ctx, args)
	case "grpcurl":
		code, err := callWithGrpcurl(ctx, args[1:], handler.Stdin, handler.Stdout)
		p.code = code
		if err == nil && code != codes.OK {
			return interp.ExitStatus(64 + code) // as grpcurl does
		}
		return err
	case "psql":
		return connectOnce(ctx, args[1])
	case "make":
		return next(ctx, append([]string{"make", "--dry-run", "-C", p.root}, args[1:]...))
	case ".ci/run": // these tests are a part of it
		_, err := exec.LookPath(filepath.Join(p.root, args[0]))
		return err
	case "cat", "echo":
		return next(ctx, args)
	}
	if example, found := strings.CutPrefix(line, "go run -C examples ./"); found {
		return p.runExample(ctx, strings.Fields(example)[0], args[5:], next)
	}
	return fmt.Errorf("the test does not know how to run %q: mark the block <!-- test: not run, REASON -->", line)
}

// isUnbuffered finds curl's -N, which may stand among other letters.
func isUnbuffered(arg string) bool {
	return strings.HasPrefix(arg, "-") && !strings.HasPrefix(arg, "--") && strings.Contains(arg, "N")
}

func environmentOf(handler interp.HandlerContext) []string {
	all := map[string]string{}
	for name, value := range handler.Env.Each {
		if value.Exported {
			all[name] = value.String()
		}
	}
	var list []string
	for _, name := range slices.Sorted(maps.Keys(all)) {
		list = append(list, name+"="+all[name])
	}
	return list
}

// runDocumented runs a command of the binary. tail, which would not end, is ended after its first line.
func runDocumented(ctx context.Context, args []string, handler interp.HandlerContext) error {
	if len(args) == 0 || strings.HasPrefix(args[0], "--") {
		return errors.New("a server that the page starts would not end: mark the block <!-- test: not run, REASON -->")
	}
	command := exec.CommandContext(ctx, binary, args...)
	command.Env, command.Dir, command.Stdin, command.Stderr = environmentOf(handler), handler.Dir, handler.Stdin,
		handler.Stderr
	if args[0] == "user" && (args[1] == "create" || args[1] == "password") {
		command.Stdin = strings.NewReader("changeit\n") // they read a password; the admin's stays the same
	}
	if args[0] == "tail" {
		return firstLine(command, handler.Stdout)
	}
	command.Stdout = handler.Stdout
	return exitStatus(command.Run())
}

// firstLine ends a command after the first line that it prints: by SIGTERM, since a job in the background of a shell
// inherits that SIGINT is ignored.
func firstLine(command *exec.Cmd, stdout io.Writer) error {
	command.Stderr = nil // stdout may be the same buffer
	pipe, err := command.StdoutPipe()
	if err != nil {
		return err
	}
	if err := command.Start(); err != nil {
		return err
	}
	lines := bufio.NewReader(pipe)
	line, err := "\n", error(nil)
	for err == nil && strings.TrimSpace(line) == "" {
		line, err = lines.ReadString('\n')
	}
	_, written := io.WriteString(stdout, line)
	signalled := command.Process.Signal(syscall.SIGTERM)
	ended := command.Wait()
	if status, ok := command.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signal() == syscall.SIGTERM {
		ended = nil
	}
	return errors.Join(err, written, signalled, ended)
}

func TestACommandThatIgnoresSIGINTEndsAfterItsFirstLine(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	for script, want := range map[string]string{
		"trap '' INT; echo x; exec sleep 600":                     "",
		"trap 'exit 7' TERM; echo x; while :; do sleep 0.1; done": "exit status 7",
	} {
		var out strings.Builder
		err := firstLine(exec.CommandContext(ctx, "sh", "-c", script), &out)
		if out.String() != "x\n" || want == "" && err != nil || want != "" && (err == nil || err.Error() != want) {
			t.Errorf("%s: prints %q and ends with %v, want %q", script, &out, err, want)
		}
	}
}

func exitStatus(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return interp.ExitStatus(exit.ExitCode())
	}
	return err
}

// connectOnce is psql without statements: the page's blocks in SQL are run by themselves.
func connectOnce(ctx context.Context, url string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	return conn.Close(ctx)
}

// runExample builds a program of examples/ once, and runs it instead of go run.
func (p *programs) runExample(ctx context.Context, name string, args []string, next interp.ExecHandlerFunc) error {
	program := filepath.Join(p.built, name)
	if _, err := os.Stat(program); err != nil {
		build := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-o", program, "./"+name)
		build.Dir = filepath.Join(p.root, "examples") // a module of its own
		if out, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("%w\n%s", err, out)
		}
	}
	args = append([]string{"-url", p.addresses.Replace(defaultURL[name])}, args...)
	return next(ctx, append([]string{program}, args...))
}

// defaultURL is the server that an example uses when no flag names one.
var defaultURL = map[string]string{
	"transfer": "grpc://admin:changeit@localhost:5005", "enrolment": "grpc://admin:changeit@localhost:5005",
	"follow": "nats://admin:changeit@localhost:4224",
}

// callWithGrpcurl does what the program does with these arguments.
func callWithGrpcurl(
	ctx context.Context, args []string, stdin io.Reader, stdout io.Writer,
) (code codes.Code, err error) {
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
	conn, err := grpc.NewClient(flags.Arg(0), grpc.WithTransportCredentials(transport))
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

// runShell runs a script that calls the server at address with grpcurl, and returns the code of the last call.
func runShell(t *testing.T, script, address string) (codes.Code, string) {
	t.Helper()
	p := &programs{addresses: strings.NewReplacer("localhost:5005", address)}
	output, err := p.run(t, script)
	if err != nil && p.code == codes.OK {
		t.Fatalf("%v\n%s", err, script)
	}
	return p.code, output
}
