package transport

import (
	"context"
	"net"
	"sync"

	"golang.org/x/sync/semaphore"
	"google.golang.org/grpc/peer"

	"github.com/oexza/orisun/service/inflight"
)

// connections are those that gRPC's listener has accepted, each with the resources that its calls hold.
type connections struct {
	budget   *inflight.Budget
	maxCalls int64
	open     sync.Map // by the pointer that is the connection's remote address, its *clientConnection
}

// clientConnection is one of them.
type clientConnection struct {
	net.Conn

	answers *inflight.Connection
	calls   *semaphore.Weighted // those that are no subscriptions
	closed  func()
}

// on returns a listener whose connections are registered.
func (c *connections) on(listener net.Listener) net.Listener { return &acceptor{listener, c} }

type acceptor struct {
	net.Listener
	noted *connections
}

// Accept implements net.Listener.
func (a *acceptor) Accept() (net.Conn, error) {
	conn, err := a.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return a.noted.note(conn), nil
}

func (c *connections) note(conn net.Conn) *clientConnection {
	address := conn.RemoteAddr()
	noted := &clientConnection{Conn: conn, answers: c.budget.NewConnection(), calls: semaphore.NewWeighted(c.maxCalls)}
	noted.closed = sync.OnceFunc(func() {
		c.open.Delete(address)
		noted.answers.Close()
	})
	c.open.Store(address, noted)
	return noted
}

// of is the connection of a call. It is nil where the call came by HTTP.
func (c *connections) of(ctx context.Context) *clientConnection {
	if caller, known := peer.FromContext(ctx); known {
		if noted, found := c.open.Load(caller.Addr); found {
			return noted.(*clientConnection)
		}
	}
	return nil
}

// Close implements net.Conn.
func (c *clientConnection) Close() error {
	defer c.closed()
	return c.Conn.Close()
}

// IsLoopback reports whether only this machine can reach an address.
func IsLoopback(address net.Addr) bool {
	tcp, ok := address.(*net.TCPAddr)
	return !ok || tcp.IP.IsLoopback()
}
