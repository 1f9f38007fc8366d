// Command conformance puts a server of the protocol through its rules, by gRPC alone: saving, conditions, races,
// retries, reading, subscriptions, durable subscriptions, indexes, errors, limits and users. Messages are matched by
// their numbers, so servers whose names differ are tested, too. It prints a table, or JSON, and its exit code is the
// number of checks that failed, at most 125.
//
// A check of durable subscriptions is "not supported" where the server answers one of its calls with UNIMPLEMENTED, as
// the original v0.10 does, and so is one of SetUserBoundaryPermissions. That is no failure; the methods are named. Any
// other missing method is a failure.
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
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

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
	flag.Usage = usage
	flag.Parse()
	if flag.NArg() > 0 || strings.Contains(*server, "://") || *each <= 0 {
		usage()
		os.Exit(maxExit)
	}
	results, err := run(context.Background(), *server, *user, *boundary, *only, *each)
	if err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(maxExit)
	}
	failures, err := report(os.Stdout, results, *asJSON)
	if err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(maxExit)
	}
	os.Exit(min(failures, maxExit))
}

func usage() {
	fmt.Fprint(os.Stderr, `Puts an Orisun server through the rules of its protocol, by gRPC alone.

  go run ./cmd/conformance -server localhost:5005 -user admin:changeit
  go run ./cmd/conformance -only "races "

The exit code is the number of checks that failed, at most 125; 125 also where
nothing could be checked. Without -boundary, the kit creates a boundary and
deletes it in the end.

`)
	flag.PrintDefaults()
}

type verdict string

const (
	passed       verdict = "passed"
	failed       verdict = "failed"
	notSupported verdict = "not supported"
)

type result struct {
	Section string  `json:"section"`
	Name    string  `json:"name"`
	Verdict verdict `json:"verdict"`
	// Details are errors or, where a check is not supported, the methods that the server does not have.
	Details []string `json:"details,omitempty"`
}

func run(ctx context.Context, server, user, boundary, only string, each time.Duration) (results []result, err error) {
	conn, err := grpc.NewClient(server, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithPerRPCCredentials(basic(user)), grpc.WithStatsHandler(unimplemented{}))
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
		user:     basic(user),
		address:  server,
		store:    orisunpb.NewEventStoreClient(conn),
		admin:    orisunpb.NewAdminClient(conn),
		durable:  orisunpb.NewSubscriptionsClient(conn),
		boundary: boundary,
	}
	if boundary == "" {
		k.boundary = "conf_" + strings.ToLower(rand.Text()[:12])
		limited, cancel := context.WithTimeout(ctx, each)
		defer cancel()
		_, err := k.admin.CreateBoundary(limited, &orisunpb.CreateBoundaryRequest{
			Name: k.boundary, Placement: &orisunpb.BoundaryPlacementInput{Backend: "postgres", Namespace: "public"},
		}, grpc.WaitForReady(true))
		if err != nil {
			return nil, fmt.Errorf("create the boundary %s (-boundary names one that exists): %w", k.boundary, err)
		}
		defer func() {
			if err := k.deleteBoundary(ctx, each); err != nil {
				fmt.Fprintf(os.Stderr, "conformance: the boundary %s stays: %v\n", k.boundary, err)
			}
		}()
	}
	for _, section := range sections {
		for _, c := range section.checks() {
			if !strings.Contains(section.name+" "+c.name, only) {
				continue
			}
			limited, cancel := context.WithTimeout(ctx, each)
			results = append(results, k.put(limited, section.name, c))
			cancel()
		}
	}
	if len(results) == 0 {
		return nil, fmt.Errorf("-only %q: no check has that in its section or name", only)
	}
	return results, nil
}

// deleteBoundary leaves the boundary where the server cannot delete one.
func (k *kit) deleteBoundary(ctx context.Context, timeout time.Duration) error {
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	in := &orisunpb.DeleteBoundaryRequest{Name: k.boundary, ConfirmName: k.boundary}
	_, err := k.admin.DeleteBoundary(limited, in)
	if status.Code(err) == codes.Unimplemented {
		return nil
	}
	return err
}

func report(out io.Writer, results []result, asJSON bool) (failures int, err error) {
	count := map[verdict]int{}
	for _, r := range results {
		count[r.Verdict]++
	}
	if asJSON {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		return count[failed], encoder.Encode(map[string]any{
			"checks": len(results), "passed": count[passed], "failed": count[failed],
			"not_supported": count[notSupported], "results": results,
		})
	}
	// What failed stands last, above the sum.
	rank := map[verdict]int{passed: 0, notSupported: 1, failed: 2}
	sorted := slices.SortedStableFunc(slices.Values(results), func(a, b result) int {
		return rank[a.Verdict] - rank[b.Verdict]
	})
	var text strings.Builder
	for _, r := range sorted {
		fmt.Fprintf(&text, "%-*s  %-*s  %s\n", len(passed), r.Verdict, sectionWidth, r.Section, r.Name)
		for _, detail := range r.Details {
			fmt.Fprintf(&text, "    %s\n", strings.ReplaceAll(detail, "\n", " "))
		}
	}
	fmt.Fprintf(&text, "%d checks: %d passed, %d failed, %d not supported\n",
		len(results), count[passed], count[failed], count[notSupported])
	_, err = io.WriteString(out, text.String())
	return count[failed], err
}

// sectionWidth is that of the longest name of a section.
const sectionWidth = len("subscriptions")

// basic is username:password, sent with every call.
type basic string

// GetRequestMetadata is Basic authentication.
func (b basic) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": b.header()}, nil
}

func (b basic) header() string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(b)) }

// RequireTransportSecurity is false: the kit tests servers without TLS.
func (basic) RequireTransportSecurity() bool { return false }
