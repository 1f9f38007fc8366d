package main

import (
	"context"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"

	orisunpb "github.com/oexza/orisun/proto"
)

func access() []check {
	// as calls Ping with other credentials than the kit's.
	as := func(t *trial, pairs ...string) (header metadata.MD, err error) {
		conn := t.connect()
		defer conn.Close() //nolint:errcheck // a connection for one call
		ctx := metadata.AppendToOutgoingContext(t.ctx, pairs...)
		_, err = orisunpb.NewEventStoreClient(conn).Ping(ctx, &orisunpb.PingRequest{}, grpc.Header(&header))
		return header, err
	}
	return []check{
		{"no credentials are UNAUTHENTICATED", func(t *trial) {
			_, err := as(t)
			t.wantCode("Ping", err, codes.Unauthenticated)
		}},
		{"a wrong password is UNAUTHENTICATED", func(t *trial) {
			_, err := as(t, "authorization", basic(unique()+":wrong").header())
			t.wantCode("Ping", err, codes.Unauthenticated)
		}},
		{"a wrong token is UNAUTHENTICATED", func(t *trial) {
			_, err := as(t, "x-auth-token", "no token")
			t.wantCode("Ping", err, codes.Unauthenticated)
		}},
		{"an answer has a token, which stands for the password", func(t *trial) {
			var header metadata.MD
			_, err := t.store.Ping(t.ctx, &orisunpb.PingRequest{}, grpc.Header(&header))
			t.wantCode("Ping", err, codes.OK)
			if len(header.Get("x-auth-token")) != 1 {
				t.errorf("x-auth-token is missing in the header")
				return
			}
			header, err = as(t, "x-auth-token", header.Get("x-auth-token")[0])
			t.wantCode("Ping with the token", err, codes.OK)
			if len(header.Get("x-auth-token")) != 1 {
				t.errorf("the answer to the token has none")
			}
		}},
	}
}

func server() []check {
	return []check{
		{"GetServerInfo", func(t *trial) {
			info, err := t.store.GetServerInfo(t.ctx, &orisunpb.GetServerInfoRequest{})
			if err != nil || info.GetVersion() == "" || len(info.GetCapabilities()) == 0 {
				t.errorf("%v, %v", info, err)
			}
		}},
		{"health knows the services", func(t *trial) {
			for _, service := range []string{"", "orisun.EventStore", "orisun.Admin"} {
				answer, err := healthpb.NewHealthClient(t.conn).Check(t.ctx, &healthpb.HealthCheckRequest{Service: service})
				if err != nil || answer.GetStatus() != healthpb.HealthCheckResponse_SERVING {
					t.errorf("%q: %v, %v", service, answer, err)
				}
			}
		}},
		{"the boundary is listed and active", func(t *trial) {
			list, err := t.admin.ListBoundaries(t.ctx, &orisunpb.ListBoundariesRequest{})
			active := slices.ContainsFunc(list.GetBoundaries(), func(b *orisunpb.BoundaryInfo) bool {
				return b.GetName() == t.boundary &&
					b.GetStatus() == orisunpb.BoundaryLifecycleStatus_BOUNDARY_LIFECYCLE_STATUS_ACTIVE
			})
			if err != nil || !active {
				t.errorf("%v, %v", list, err)
			}
		}},
		{"GetBoundary finds it, and an unknown one is NOT_FOUND", func(t *trial) {
			found, err := t.admin.GetBoundary(t.ctx, &orisunpb.GetBoundaryRequest{Name: t.boundary})
			if err != nil || found.GetBoundary().GetName() != t.boundary {
				t.errorf("%v, %v", found, err)
			}
			_, err = t.admin.GetBoundary(t.ctx, &orisunpb.GetBoundaryRequest{Name: "nowhere_" + unique()[:8]})
			t.wantCode("GetBoundary", err, codes.NotFound)
		}},
		{"GetEventCount is exact", func(t *trial) {
			count := func() int64 {
				answer, err := t.admin.GetEventCount(t.ctx, &orisunpb.GetEventCountRequest{Boundary: t.boundary})
				t.wantCode("GetEventCount", err, codes.OK)
				return answer.GetCount()
			}
			before := count()
			t.save(nil, events("x", 3)...)
			if after := count(); after != before+3 {
				t.errorf("%d after %d and three events", after, before)
			}
		}},
		{"hundreds of streams on a connection do not queue", func(t *trial) {
			ctx, cancel := context.WithCancel(t.ctx)
			defer cancel()
			for range 300 {
				stream, err := t.store.CatchUpSubscribeToEvents(
					ctx,
					&orisunpb.CatchUpSubscribeToEventStoreRequest{Boundary: t.boundary},
				)
				if err == nil {
					_, err = stream.Header()
				}
				if err != nil {
					t.errorf("a stream does not begin: %v", err)
					return
				}
			}
			t.save(nil, event("x"))
		}},
	}
}
