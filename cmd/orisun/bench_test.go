package main

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	orisunpb "github.com/oexza/orisun/proto"
)

// brokenStore lets everybody in and saves nothing.
type brokenStore struct {
	orisunpb.UnimplementedEventStoreServer
}

func (brokenStore) Ping(ctx context.Context, _ *orisunpb.PingRequest) (*orisunpb.PingResponse, error) {
	return &orisunpb.PingResponse{}, grpc.SetHeader(ctx, metadata.Pairs("x-auth-token", "t"))
}

func (brokenStore) SaveEvents(context.Context, *orisunpb.SaveEventsRequest) (*orisunpb.WriteResult, error) {
	return nil, status.Error(codes.Internal, "broken")
}

func runBenchCommand(t *testing.T, args ...string) (output string, err error) {
	t.Helper()
	var out bytes.Buffer
	command := &cobra.Command{Use: "orisun", SilenceErrors: true, SilenceUsage: true}
	addConfigFlags(command.PersistentFlags())
	command.AddCommand(newBenchCommand())
	command.SetArgs(append([]string{"bench"}, args...))
	command.SetOut(&out)
	err = command.ExecuteContext(t.Context())
	return out.String(), err
}

func TestBenchFailsWhenRequestsFailAndStillPrintsItsNumbers(t *testing.T) {
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	orisunpb.RegisterEventStoreServer(server, brokenStore{})
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	defer func() {
		server.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	}()
	csvFile := filepath.Join(t.TempDir(), "results.csv")
	args := []string{
		"--server", listener.Addr().String(), "--clients", "2", "--duration", "100ms", "--warm-up", "0s", "--seed-events",
		"0", "--csv", csvFile,
	}
	output, err := runBenchCommand(t, append(args, "--workload", "append-1-unconditional")...)
	var misused usageError
	if err == nil || errors.As(err, &misused) ||
		!strings.Contains(err.Error(), "INTERNAL, such as in append-1-unconditional with 2 clients") {
		t.Errorf("error %v", err)
	}
	if !strings.Contains(output, "INTERNAL=") {
		t.Errorf("output\n%s", output)
	}
	if table, err := os.ReadFile(csvFile); err != nil || !strings.Contains(string(table), "INTERNAL=") {
		t.Errorf("--csv: %v\n%s", err, table)
	}
	if output, err := runBenchCommand(t, append(args, "--workload", "ping", "--out", "json")...); err != nil ||
		!strings.Contains(output, `"workload": "ping"`) {
		t.Errorf("a run without failures: %v\n%s", err, output)
	}
}

func TestBenchRefusesAWrongCommandLine(t *testing.T) {
	for _, args := range [][]string{
		{"--out", "xml"},
		{"--clients", "0"},
		{"--workload", "append-7"},
		{"--duration", "0s"},
		{"--auth", "none"},
		{"--cert", "only.pem"},
	} {
		var misused usageError
		if output, err := runBenchCommand(t, args...); !errors.As(err, &misused) ||
			!strings.Contains(err.Error(), args[len(args)-2]) {
			t.Errorf("%v: %v\n%s", args, err, output)
		}
	}
}
