package service_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/service/auth"
)

// BenchmarkAGoodCallerWhilePasswordsAreGuessed saves one event after the other with a token, first alone, then while 64 callers guess passwords, each as fast as it is
// answered, and tells the medians. Guessers, server and PostgreSQL share the machine.
func BenchmarkAGoodCallerWhilePasswordsAreGuessed(b *testing.B) {
	pool := userDatabase(b)
	node := guard(b, pool)
	ctx := with(b, node.logIn(firstAdmin))
	saved := 0
	median := func() time.Duration {
		times := make([]time.Duration, 500)
		for i := range times {
			saved++
			begin := time.Now()
			_, err := node.events().SaveEvents(ctx, &orisunpb.SaveEventsRequest{Boundary: boundary, Events: []*orisunpb.EventToSave{event(fmt.Sprint(saved), `{}`)}})
			if err != nil {
				b.Fatal(err)
			}
			times[i] = time.Since(begin)
		}
		slices.Sort(times)
		return times[len(times)/2]
	}
	for range b.N {
		b.ReportMetric(float64(median().Microseconds()), "µs-quiet")
		guessing, stop := context.WithCancel(b.Context())
		refused := make(chan struct{})
		first := sync.OnceFunc(func() { close(refused) })
		var guesses atomic.Int64
		var guessers sync.WaitGroup
		for range 64 {
			client := orisunpb.NewEventStoreClient(node.connect())
			guessers.Go(func() {
				for guessing.Err() == nil {
					wrong := auth.Credentials{Username: "admin", Password: fmt.Sprint(guesses.Add(1))}
					_, err := client.Ping(by(b, wrong), &orisunpb.PingRequest{})
					switch status.Code(err) {
					case codes.ResourceExhausted:
						first()
					case codes.Unauthenticated:
					default:
						b.Error(err)
					}
				}
			})
		}
		<-refused
		b.ReportMetric(float64(median().Microseconds()), "µs-guessed")
		stop()
		guessers.Wait()
	}
}

// BenchmarkCalls tells what a call costs by its credentials: a token, the password every time, and nobody who looks at either.
func BenchmarkCalls(b *testing.B) {
	node := guard(b, userDatabase(b))
	for name, ctx := range map[string]context.Context{"token": with(b, node.logIn(firstAdmin)), "basic": by(b, firstAdmin)} {
		b.Run(name, func(b *testing.B) {
			b.RunParallel(func(p *testing.PB) {
				for p.Next() {
					var header metadata.MD
					if _, err := node.events().Ping(ctx, &orisunpb.PingRequest{}, grpc.Header(&header)); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}
