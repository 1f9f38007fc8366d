package main

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"
)

// proxy stands between two processes and disturbs their traffic. (Toxiproxy would do. As a Go module it has not been
// released for years.)
type proxy struct {
	listener net.Listener
	target   string
	running  sync.WaitGroup

	mu      sync.Mutex
	cut     bool
	closed  bool
	flowing chan struct{} // closed while bytes flow
	conns   map[net.Conn]struct{}
}

// newProxy forwards connections to its address, a free one, to target.
func newProxy(ctx context.Context, target string) (*proxy, error) {
	return newProxyAt(ctx, "127.0.0.1:0", target)
}

func newProxyAt(ctx context.Context, address, target string) (*proxy, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	p := &proxy{listener: listener, target: target, flowing: make(chan struct{}), conns: map[net.Conn]struct{}{}}
	close(p.flowing)
	p.running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			p.running.Go(func() { p.forward(conn) })
		}
	})
	return p, nil
}

func (p *proxy) port() int { return p.listener.Addr().(*net.TCPAddr).Port }

// sever closes all connections, and those to come, until heal.
func (p *proxy) sever() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = true
	for conn := range p.conns {
		p.forget(conn)
	}
}

// freeze leaves connections open and holds back every byte until heal. Neither side is notified.
func (p *proxy) freeze() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.flowing:
		p.flowing = make(chan struct{})
	default: // it is frozen already, and readers wait for this channel
	}
}

// heal ends the effect of sever and freeze.
func (p *proxy) heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = p.closed
	select {
	case <-p.flowing:
	default:
		close(p.flowing)
	}
}

func (p *proxy) close() error {
	err := p.listener.Close()
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.sever()
	p.heal()
	p.running.Wait()
	return err
}

func (p *proxy) forward(from net.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	to, err := new(net.Dialer).DialContext(ctx, "tcp", p.target)
	if err != nil {
		to = nil
	}
	if !p.keep(from, to) {
		return
	}
	var both sync.WaitGroup
	both.Go(func() { p.copy(from, to) })
	both.Go(func() { p.copy(to, from) })
	both.Wait()
}

// keep registers the pair, or closes it.
func (p *proxy) keep(from, to net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns[from] = struct{}{}
	if to != nil {
		p.conns[to] = struct{}{}
	}
	if p.cut || to == nil {
		p.forget(from)
		if to != nil {
			p.forget(to)
		}
		return false
	}
	return true
}

// forget closes a connection. That it may be closed already is no error. The caller holds the lock.
func (p *proxy) forget(conn net.Conn) {
	delete(p.conns, conn)
	if err := conn.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return
	}
}

// copy ends both connections when one ends: half-open ones are of no use to PostgreSQL or NATS.
func (p *proxy) copy(from, to net.Conn) {
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.forget(from)
		p.forget(to)
	}()
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		p.mu.Lock()
		flowing := p.flowing
		p.mu.Unlock()
		<-flowing
		if n > 0 {
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
