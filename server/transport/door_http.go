package transport

import (
	"context"
	"net/http"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/oexza/orisun/service/auth"
	"github.com/oexza/orisun/service/inflight"
)

// httpFactor is how many bytes a byte of a transcoded message takes: as JSON, decoded, and in protobuf's wire format.
const httpFactor = 3

// httpPeer is the origin of a request by HTTP, in place of gRPC's connection.
type httpPeer string

func (httpPeer) Network() string  { return "tcp" }
func (p httpPeer) String() string { return string(p) }

// EnterHTTP authenticates a caller by HTTP before it reads the body, and admits the call when there is room for it.
// The context carries both.
func (d *Door) EnterHTTP(r *http.Request) (ctx context.Context, call *inflight.Call, err error) {
	from := &peer.Peer{Addr: httpPeer(r.RemoteAddr)}
	if r.TLS != nil {
		from.AuthInfo = credentials.TLSInfo{State: *r.TLS}
	}
	ctx = peer.NewContext(r.Context(), from)
	authenticated, err := d.auth.AdmitHTTP(ctx, r.URL.Path, r.Header)
	if err != nil {
		// The log and the metrics count it as a call here, as gRPC does not see it.
		_, err = d.unary(ctx, nil, &grpc.UnaryServerInfo{FullMethod: r.URL.Path},
			func(context.Context, any) (any, error) { return nil, err })
		return nil, nil, err
	}
	if call, err = d.budget.Enter(ctx, auth.CallerOf(authenticated), httpFactor); err != nil {
		return nil, nil, err
	}
	return inflight.NewContext(r.Context(), call), call, nil
}
