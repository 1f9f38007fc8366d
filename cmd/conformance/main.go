// Command conformance puts a server of the protocol through its rules, by gRPC alone: saving, conditions, races,
// retries, reading, subscriptions, indexes, errors and limits. Messages are matched by their numbers, so servers
// whose names differ are tested, too. It prints a table, or JSON, and its exit code is the number of checks that
// failed, at most 125.
//
//	go run ./cmd/conformance -server localhost:5005 -user admin:changeit
//
// It creates a boundary of its own, unless -boundary names one; that must be empty, and nothing else may write to it.
package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	orisunpb "github.com/oexza/orisun/proto"
)

// maxExit is the largest exit code that a shell does not read as a signal or as its own.
const maxExit = 125

func main() {
	server := flag.String("server", "localhost:5005", "host:port of the server; without TLS")
	user := flag.String("user", "admin:changeit", "username:password of an admin")
	boundary := flag.String("boundary", "", "an empty boundary; without it the kit creates one in the schema public")
	asJSON := flag.Bool("json", false, "print JSON in place of a table")
	only := flag.String("only", "", "run the checks whose section or name contains this")
	each := flag.Duration("timeout", 30*time.Second, "time of one check")
	flag.Parse()
	results, err := run(context.Background(), *server, *user, *boundary, *only, *each)
	if err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(maxExit)
	}
	failed, err := report(os.Stdout, results, *asJSON)
	if err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(maxExit)
	}
	os.Exit(min(failed, maxExit))
}

type result struct {
	Section string   `json:"section"`
	Name    string   `json:"name"`
	Passed  bool     `json:"passed"`
	Errors  []string `json:"errors,omitempty"`
}

func run(ctx context.Context, server, user, boundary, only string, each time.Duration) (results []result, err error) {
	conn, err := grpc.NewClient(server, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithPerRPCCredentials(basic(user)))
	if err != nil {
		return nil, err
	}
	defer func() {
		if closed := conn.Close(); err == nil {
			err = closed
		}
	}()
	k := &kit{
		conn:     conn,
		address:  server,
		store:    orisunpb.NewEventStoreClient(conn),
		admin:    orisunpb.NewAdminClient(conn),
		boundary: boundary,
	}
	if boundary == "" {
		k.boundary = "conf_" + strings.ToLower(rand.Text()[:12])
		_, err := k.admin.CreateBoundary(ctx, &orisunpb.CreateBoundaryRequest{
			Name: k.boundary, Placement: &orisunpb.BoundaryPlacementInput{Backend: "postgres", Namespace: "public"},
		}, grpc.WaitForReady(true))
		if err != nil {
			return nil, fmt.Errorf("create the boundary %s: %w", k.boundary, err)
		}
	}
	for _, section := range sections {
		for _, c := range section.checks() {
			if !strings.Contains(section.name+" "+c.name, only) {
				continue
			}
			limited, cancel := context.WithTimeout(ctx, each)
			t := &trial{kit: k, ctx: limited}
			c.run(t)
			cancel()
			results = append(results, result{section.name, c.name, len(t.errors) == 0, t.errors})
		}
	}
	return results, nil
}

func report(out io.Writer, results []result, asJSON bool) (failed int, err error) {
	for _, r := range results {
		if !r.Passed {
			failed++
		}
	}
	if asJSON {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		return failed, encoder.Encode(map[string]any{"checks": len(results), "failed": failed, "results": results})
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	var text strings.Builder
	for _, r := range results {
		verdict := "ok"
		if !r.Passed {
			verdict = "FAILED"
		}
		fmt.Fprintf(&text, "%s\t%s\t%s\n", verdict, r.Section, r.Name)
		for _, e := range r.Errors {
			fmt.Fprintf(&text, "\t\t  %s\n", strings.ReplaceAll(e, "\n", " "))
		}
	}
	if _, err := io.WriteString(table, text.String()); err != nil {
		return failed, err
	}
	if err := table.Flush(); err != nil {
		return failed, err
	}
	_, err = fmt.Fprintf(out, "%d checks, %d failed\n", len(results), failed)
	return failed, err
}

// basic is username:password, sent with every call.
type basic string

// GetRequestMetadata is Basic authentication.
func (b basic) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Basic " + base64.StdEncoding.EncodeToString([]byte(b))}, nil
}

// RequireTransportSecurity is false: the kit tests servers without TLS.
func (basic) RequireTransportSecurity() bool { return false }
