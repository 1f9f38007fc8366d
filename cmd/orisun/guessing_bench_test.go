package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/oexza/orisun/migrations/pgtest"
	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/server/eventtest"
)

const (
	// offeredRate is how many calls a second come, whatever becomes of those before.
	offeredRate = 10_000
	// mostInFlight bounds what waits for answers at the crowd's side, far above what comes within a second.
	mostInFlight = 3 * offeredRate
	crowdEnv     = "ORISUN_TEST_CROWD"
)

// crowd is who makes those calls: a process of its own, as it costs the good caller's nothing but what it takes of the
// machine.
type crowd struct {
	Address   string // of the server
	Token     string // with it they are valid; else each shows a wrong password
	Usernames int    // that are guessed at: 1 is the good caller's, more mostly belong to no user
	Sources   int    // addresses that they come from
	Yields    bool   // the machine to other processes, much like a crowd on machines of its own
}

// toll is what became of a crowd's calls, by their codes.
type toll struct {
	Seconds  float64
	Answered map[string]int
	Unsent   int // beyond mostInFlight
}

func (t toll) rate() float64 {
	sum := 0
	for _, answered := range t.Answered {
		sum += answered
	}
	return float64(sum) / t.Seconds
}

// crowdMain is the crowd's process: it calls until its standard input ends, and then writes its toll to its standard
// output.
func crowdMain(settings string) error {
	var c crowd
	if err := json.Unmarshal([]byte(settings), &c); err != nil {
		return err
	}
	var clients []orisunpb.EventStoreClient
	for i := range 16 {
		source := &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(1+i%c.Sources))}
		conn, err := grpc.NewClient(c.Address, grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
				return (&net.Dialer{LocalAddr: source}).DialContext(ctx, "tcp", address)
			}))
		if err != nil {
			return err
		}
		clients = append(clients, orisunpb.NewEventStoreClient(conn))
	}
	ended := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, os.Stdin)
		ended <- err
	}()
	var answers [codes.Unauthenticated + 1]atomic.Int64
	var inFlight atomic.Int64
	call := func(i int) {
		defer inFlight.Add(-1)
		given := basicHeader("admin", fmt.Sprint("wrong", i))
		if c.Usernames > 1 {
			given = basicHeader(fmt.Sprint("user", rand.IntN(c.Usernames)), fmt.Sprint("wrong", i))
		}
		ctx := metadata.AppendToOutgoingContext(context.Background(), "authorization", given)
		if c.Token != "" {
			ctx = metadata.AppendToOutgoingContext(context.Background(), "x-auth-token", c.Token)
		}
		_, err := clients[i%len(clients)].Ping(ctx, &orisunpb.PingRequest{})
		answers[status.Code(err)].Add(1)
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	t := toll{Answered: map[string]int{}}
	for start, sent := time.Now(), 0; ; {
		select {
		case <-tick.C:
			for due := int(time.Since(start).Seconds() * offeredRate); sent < due; sent++ {
				if inFlight.Load() >= mostInFlight {
					t.Unsent++
					continue
				}
				inFlight.Add(1)
				go call(sent)
			}
		case err := <-ended:
			t.Seconds = time.Since(start).Seconds()
			for code := range answers {
				if n := answers[code].Load(); n > 0 {
					t.Answered[codes.Code(code).String()] = int(n)
				}
			}
			return errors.Join(err, json.NewEncoder(os.Stdout).Encode(t))
		}
	}
}

// come starts the crowd; what it returns ends it.
func (c crowd) come(b *testing.B) (leave func() toll) {
	b.Helper()
	settings, err := json.Marshal(c)
	if err != nil {
		b.Fatal(err)
	}
	itself, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.CommandContext(b.Context(), itself)
	if c.Yields {
		cmd = exec.CommandContext(b.Context(), "nice", "-n", "19", itself)
	}
	cmd.Env = append(os.Environ(), crowdEnv+"="+string(settings))
	cmd.Stderr = os.Stderr
	input, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	output, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	return func() (t toll) {
		b.Helper()
		err := input.Close()
		if err := errors.Join(err, json.NewDecoder(output).Decode(&t), cmd.Wait()); err != nil {
			b.Fatal(err)
		}
		return t
	}
}

// goodCaller has a token, and makes one call after the other.
type goodCaller struct {
	ctx   context.Context
	calls orisunpb.EventStoreClient
	saved int
}

// latencies are how long its calls took.
type latencies struct{ saves, pings []time.Duration }

func (g *goodCaller) call(b *testing.B, during time.Duration) (l latencies) {
	b.Helper()
	for end := time.Now().Add(during); time.Now().Before(end); {
		g.saved++
		begun := time.Now()
		_, err := g.calls.SaveEvents(g.ctx,
			&orisunpb.SaveEventsRequest{Boundary: eventtest.Boundary, Events: []*orisunpb.EventToSave{
				{EventId: "good-" + strconv.Itoa(g.saved), EventType: "T", Data: `{}`},
			}})
		l.saves = append(l.saves, time.Since(begun))
		if err != nil {
			b.Fatal(err)
		}
		begun = time.Now()
		_, err = g.calls.Ping(g.ctx, &orisunpb.PingRequest{})
		l.pings = append(l.pings, time.Since(begun))
		if err != nil {
			b.Fatal(err)
		}
	}
	return l
}

// BenchmarkAGoodCallerWhilePasswordsAreGuessed measures what 10,000 calls a second with a wrong password, offered
// whatever becomes of them, cost a caller with a token: in each round it calls alone, beside as many cheap valid calls
// (Ping with a token: control), and beside the guesses. The crowd is a process of its own on the same machine, so the
// control separates the cost of guesses from that of any calls at that rate.
func BenchmarkAGoodCallerWhilePasswordsAreGuessed(b *testing.B) {
	const rounds, during = 3, 2 * time.Second
	server := launch(b, environment(b.TempDir(), outside(pgtest.NewEmpty(b))...))
	good := &goodCaller{calls: orisunpb.NewEventStoreClient(dial(b, server.address))}
	var header metadata.MD
	if _, err := good.calls.Ping(login(b, "admin", "changeit"), &orisunpb.PingRequest{},
		grpc.Header(&header)); err != nil {
		b.Fatal(err)
	}
	token := header.Get("x-auth-token")[0]
	good.ctx = metadata.AppendToOutgoingContext(b.Context(), "x-auth-token", token)
	good.call(b, during)

	control, manyUsers := crowd{Token: token, Sources: 1}, crowd{Usernames: 10_000, Sources: 16}
	scenarios := []scenario{
		{name: "alone"},
		{name: "control", crowd: control},
		{name: "one user, one address", crowd: crowd{Usernames: 1, Sources: 1}},
		{name: "one user, 16 addresses", crowd: crowd{Usernames: 1, Sources: 16}},
		{name: "10,000 users, one address", crowd: crowd{Usernames: 10_000, Sources: 1}},
		{name: "10,000 users, 16 addresses", crowd: manyUsers},
		{name: "control that yields", crowd: control.yielding()},
		{name: "10,000 users, 16 addresses, yielding", crowd: manyUsers.yielding()},
	}
	for range rounds {
		for i := range scenarios {
			scenarios[i].measure(b, good, server.address, during)
		}
	}
	for _, s := range scenarios {
		s.report(b, scenarios[0], scenarios[1])
	}
}

func (c crowd) yielding() crowd {
	c.Yields = true
	return c
}

// scenario is a crowd that calls, and what came of it.
type scenario struct {
	name  string
	crowd crowd
	took  latencies
	toll  toll
}

func (s *scenario) measure(b *testing.B, good *goodCaller, address string, during time.Duration) {
	b.Helper()
	leave := func() toll { return toll{} }
	if s.crowd.Sources > 0 {
		s.crowd.Address = address
		leave = s.crowd.come(b)
		good.call(b, during/4) // until the crowd is there
	}
	took := good.call(b, during)
	s.toll = s.toll.plus(leave())
	s.took = latencies{append(s.took.saves, took.saves...), append(s.took.pings, took.pings...)}
}

// report writes latencies, and how many times those of the other scenarios they are.
func (s *scenario) report(b *testing.B, alone, control scenario) {
	b.Helper()
	b.Run(s.name, func(b *testing.B) {
		for b.Loop() { // it has been measured already
		}
		b.ReportMetric(0, "ns/op")
		for _, percent := range []int{50, 99} {
			for call, of := range map[string]func(scenario) []time.Duration{
				"save": func(s scenario) []time.Duration { return s.took.saves },
				"ping": func(s scenario) []time.Duration { return s.took.pings },
			} {
				took, name := percentile(of(*s), percent), fmt.Sprintf("%s-p%d", call, percent)
				b.ReportMetric(took*1e3, name+"-ms")
				b.ReportMetric(took/percentile(of(alone), percent), name+"/alone")
				b.ReportMetric(took/percentile(of(control), percent), name+"/control")
			}
		}
		if s.toll.Seconds > 0 {
			b.ReportMetric(s.toll.rate(), "answered/s")
			b.Logf("the crowd: %+v", s.toll)
		}
	})
}

// percentile is in seconds.
func percentile(took []time.Duration, percent int) float64 {
	took = slices.Sorted(slices.Values(took))
	return took[len(took)*percent/100].Seconds()
}

func (t toll) plus(other toll) toll {
	sum := toll{Seconds: t.Seconds + other.Seconds, Unsent: t.Unsent + other.Unsent, Answered: map[string]int{}}
	for _, answered := range []map[string]int{t.Answered, other.Answered} {
		for code, n := range answered {
			sum.Answered[code] += n
		}
	}
	return sum
}
