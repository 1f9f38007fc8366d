package service_test

import (
	"context"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	orisunpb "github.com/oexza/orisun/proto"
)

// BenchmarkCalls measures a call by its credentials: a token, the password every time, and none that are checked.
func BenchmarkCalls(b *testing.B) {
	node := guard(b, userDatabase(b))
	for name, ctx := range map[string]context.Context{
		"token": with(b, node.logIn(firstAdmin)), "basic": by(b, firstAdmin),
	} {
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
