package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	orisunpb "github.com/oexza/orisun/proto"
)

// foreignDatabase is that of another store on the same PostgreSQL.
const foreignDatabase = "foreign_store"

// foreign is a node of another store that has the cluster's name, routes, password and authority.
type foreign struct {
	*node
	routes []*proxy // to each node
	saves  int
}

func (c *cluster) makeForeign(ctx context.Context, binary string, routePorts []int) error {
	ports, err := freePorts(ctx, 4)
	if err != nil {
		return err
	}
	f := &foreign{
		node: &node{name: "foreign", binary: binary, dir: c.dir + "/foreign", grpcPort: ports[0], natsPort: ports[1]},
	}
	c.foreign = f
	if err := os.MkdirAll(f.storeDir(), 0o700); err != nil {
		return err
	}
	var urls []string
	for _, port := range routePorts {
		route, err := newProxy(ctx, "127.0.0.1:"+strconv.Itoa(port))
		if err != nil {
			return err
		}
		f.routes = append(f.routes, route)
		urls = append(urls, "nats://127.0.0.1:"+strconv.Itoa(route.port()))
	}
	f.env = append(c.environment("foreign", foreignDatabase, c.pgPort, ports[2], ports[3], urls),
		"ORISUN_GRPC_PORT="+strconv.Itoa(f.grpcPort), "ORISUN_NATS_PORT="+strconv.Itoa(f.natsPort))
	if err := c.secure(f.node); err != nil {
		return err
	}
	if _, err := c.admin.Exec(ctx, "CREATE DATABASE "+foreignDatabase); err != nil {
		return err
	}
	return f.dial()
}

// close ends the process and the proxies.
func (f *foreign) close() (err error) {
	if f == nil {
		return nil
	}
	for _, route := range f.routes {
		err = errors.Join(err, route.close())
	}
	if f.conn != nil {
		err = errors.Join(err, f.conn.Close())
	}
	return errors.Join(err, f.kill())
}

// joinForeign lets the node of another store join: at its start, when it finds a node of the cluster and has to end,
// or after it, when it found none and serves its own store. Then it saves events in a boundary of the same name. The
// checks would report events that reached a subscriber or the stream.
func joinForeign(ctx context.Context, f *faults, which int) (func(context.Context) error, error) {
	late := which > 0
	stranger := f.c.foreign
	if late {
		for _, route := range stranger.routes {
			route.sever()
		}
	}
	if err := stranger.start(); err != nil {
		return nil, err
	}
	saving, stop := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { stranger.disturb(saving) })
	return func(context.Context) error {
		stop()
		running.Wait()
		for _, route := range stranger.routes {
			route.heal()
		}
		return stranger.kill()
	}, nil
}

// disturb joins when the process serves, and saves until ctx ends. The process may end by itself, as it should where
// it finds the cluster.
func (f *foreign) disturb(ctx context.Context) {
	if f.awaitServing(ctx) != nil {
		return
	}
	for _, route := range f.routes {
		route.heal()
	}
	for ; ctx.Err() == nil; rest(ctx, 50*time.Millisecond) {
		f.saves++
		_, err := f.store.SaveEvents(ctx, &orisunpb.SaveEventsRequest{
			Boundary: boundary, Events: []*orisunpb.EventToSave{
				{EventId: fmt.Sprint("foreign-", f.saves), EventType: "Foreign", Data: documentOf(0, 1)},
			},
		})
		if err != nil && ctx.Err() == nil {
			rest(ctx, time.Second) // PostgreSQL is away
		}
	}
}

// mistrust gives a node a certificate of an authority that the other nodes do not trust, and cuts its routes, so that
// it cannot connect them again.
func mistrust(_ context.Context, f *faults, victim int) (func(context.Context) error, error) {
	n := f.c.nodes[victim]
	if err := f.c.theirs.certify(n.tlsDir()); err != nil {
		return nil, err
	}
	for _, route := range f.c.proxiesOf(victim) {
		route.sever()
		route.heal()
	}
	return func(context.Context) error { return f.c.ours.certify(n.tlsDir()) }, nil
}

// secure gives a node a certificate, and the settings for it.
func (c *cluster) secure(n *node) error {
	if err := os.MkdirAll(n.tlsDir(), 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(n.tlsDir()+"/ca.crt", c.ours.pem, 0o600); err != nil {
		return err
	}
	n.env = append(n.env, "ORISUN_NATS_TLS_ENABLED=true")
	for variable, file := range map[string]string{"CERT": "node.crt", "KEY": "node.key", "CA": "ca.crt"} {
		n.env = append(n.env, "ORISUN_NATS_TLS_"+variable+"_FILE="+n.tlsDir()+"/"+file)
	}
	return c.ours.certify(n.tlsDir())
}

func (n *node) tlsDir() string { return strings.TrimSuffix(n.dir, "/") + "/tls" }
