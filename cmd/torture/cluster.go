package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/oexza/orisun/server/postgres"
)

const (
	boundary = "torture"
	nodes    = 3
	database = "orisun"
	password = "postgres"
)

// cluster is three nodes with one PostgreSQL. Each node reaches PostgreSQL and each other node through proxies of its
// own.
type cluster struct {
	dir      string
	nodes    []*node
	pg       *postgres.Server
	pgBinDir string
	pgPort   int

	clock      *clock     // PostgreSQL's; nil where it is the machine's
	toPostgres []*proxy   // of each node
	routes     [][]*proxy // from each node to each other one; nil to itself

	ours, theirs *authority // of the nodes' certificates, and one that no node trusts
	foreign      *foreign

	// admin is a pool that connects to PostgreSQL directly.
	admin *pgxpool.Pool
}

// clusterConfig describes the cluster to start in dir.
type clusterConfig struct {
	dir    string
	binary string
	env    []string
	// pgBinDir is the folder of PostgreSQL's programs; empty is the newest found.
	pgBinDir string
	// prepareStore creates the store directory of a node, before its first start. If it is nil, the node creates it.
	prepareStore func(dir string) error
}

// startCluster starts PostgreSQL and proxies, and returns nodes that are not started yet.
func startCluster(ctx context.Context, config clusterConfig) (_ *cluster, err error) {
	c := &cluster{dir: config.dir, pgBinDir: config.pgBinDir}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.close())
		}
	}()
	if c.ours, err = newAuthority("ours"); err != nil {
		return nil, err
	}
	if c.theirs, err = newAuthority("theirs"); err != nil {
		return nil, err
	}
	if c.clock, err = newClock(ctx, config.dir); err != nil {
		return nil, err
	}
	if err := c.startPostgres(ctx, config.pgBinDir); err != nil {
		return nil, err
	}
	if err := c.connectAdmin(ctx); err != nil {
		return nil, err
	}
	ports, err := freePorts(ctx, 3*nodes+nodes)
	if err != nil {
		return nil, err
	}
	grpcPorts, natsPorts, routePorts, closed := ports[:nodes], ports[nodes:2*nodes], ports[2*nodes:3*nodes],
		ports[3*nodes:]
	for i := range nodes {
		toPostgres, err := newProxy(ctx, "127.0.0.1:"+strconv.Itoa(c.pgPort))
		if err != nil {
			return nil, err
		}
		c.toPostgres = append(c.toPostgres, toPostgres)
		row := make([]*proxy, nodes)
		for j := range nodes {
			if i == j {
				continue
			}
			if row[j], err = newProxy(ctx, "127.0.0.1:"+strconv.Itoa(routePorts[j])); err != nil {
				return nil, err
			}
		}
		c.routes = append(c.routes, row)
	}
	for i := range nodes {
		n := &node{
			name: "node-" + strconv.Itoa(i+1), binary: config.binary, dir: fmt.Sprintf("%s/node-%d", config.dir, i+1),
			grpcPort: grpcPorts[i], natsPort: natsPorts[i],
		}
		if err := os.MkdirAll(n.storeDir(), 0o700); err != nil {
			return nil, err
		}
		if config.prepareStore != nil {
			if err := config.prepareStore(n.storeDir()); err != nil {
				return nil, err
			}
		}
		var routes []string
		for _, route := range c.routes[i] {
			if route != nil {
				routes = append(routes, "nats://127.0.0.1:"+strconv.Itoa(route.port()))
			}
		}
		n.env = append(c.environment(n.name, database, c.toPostgres[i].port(), routePorts[i], closed[i], routes),
			"ORISUN_GRPC_PORT="+strconv.Itoa(n.grpcPort), "ORISUN_NATS_PORT="+strconv.Itoa(n.natsPort))
		if err := c.secure(n); err != nil {
			return nil, err
		}
		n.env = append(n.env, config.env...)
		if err := n.dial(); err != nil {
			return nil, err
		}
		c.nodes = append(c.nodes, n)
	}
	return c, c.makeForeign(ctx, config.binary, routePorts)
}

// environment is that of a node. It advertises a port without a listener, so that the other nodes reach it by their
// proxies alone.
func (c *cluster) environment(name, database string, pgPort, routePort, closedPort int, routes []string) []string {
	n := strconv.Itoa
	return []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), //nolint:forbidigo // what a child needs of ours
		"ORISUN_PG_HOST=127.0.0.1", "ORISUN_PG_PORT=" + n(pgPort),
		"ORISUN_PG_USER=postgres", "ORISUN_PG_PASSWORD=" + password, "ORISUN_PG_NAME=" + database,
		"ORISUN_PG_SCHEMAS=" + boundary + ":public,orisun_admin:admin",
		`ORISUN_BOUNDARIES=[{"name":"` + boundary + `","description":""},{"name":"orisun_admin","description":""}]`,
		"ORISUN_GRPC_HOST=127.0.0.1", "ORISUN_ADMIN_HOST=127.0.0.1", "ORISUN_ADMIN_PORT=0", "ORISUN_OTEL_ENABLED=false",
		"ORISUN_NATS_CLUSTER_ENABLED=true", "ORISUN_NATS_CLUSTER_NAME=torture", "ORISUN_NATS_CLUSTER_HOST=127.0.0.1",
		"ORISUN_NATS_CLUSTER_USERNAME=routes", "ORISUN_NATS_CLUSTER_PASSWORD=secret",
		"ORISUN_NATS_CLUSTER_PORT=" + n(routePort), "ORISUN_NATS_CLUSTER_ADVERTISE=127.0.0.1:" + n(closedPort),
		"ORISUN_NATS_CLUSTER_ROUTES=" + strings.Join(routes, ","),
		"ORISUN_NATS_SERVER_NAME=" + name, "ORISUN_NATS_STORE_DIR=nats", "ORISUN_SHUTDOWN_TIMEOUT=10s",
	}
}

// serve starts all nodes at once and returns when all serve.
func (c *cluster) serve(ctx context.Context) error {
	for _, n := range c.nodes {
		if err := n.start(); err != nil {
			return err
		}
	}
	for _, n := range c.nodes {
		if err := n.awaitServing(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (c *cluster) startPostgres(ctx context.Context, binDir string) (err error) {
	c.pg, err = postgres.Start(ctx, postgres.Config{
		DataDir: c.dir + "/pg", BinDir: binDir, Port: c.pgPort, User: "postgres", Password: password, Database: database,
		Durable:  true,
		Settings: map[string]string{"max_connections": "200", "shared_buffers": "32MB"},
		Env:      c.clock.environment(),
		Logger:   slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return err
	}
	c.pgPort = c.pg.Port()
	return c.promote(ctx)
}

// promote makes the role a superuser, as operators that run PostgreSQL for several nodes may do.
func (c *cluster) promote(ctx context.Context) error {
	conn, err := pgx.Connect(ctx,
		fmt.Sprintf("host=%s port=%d user=%s dbname=%s sslmode=disable", c.pg.Host(), c.pgPort, c.pg.Superuser(), database))
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, "ALTER ROLE postgres SUPERUSER")
	return errors.Join(err, conn.Close(ctx))
}

// crashPostgres ends PostgreSQL in the same way as a crash.
func (c *cluster) crashPostgres(ctx context.Context) error {
	if err := syscall.Kill(c.pg.PID(), syscall.SIGQUIT); err != nil {
		return err
	}
	select {
	case <-c.pg.Done():
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return c.pg.Stop(ctx)
}

func (c *cluster) connectAdmin(ctx context.Context) (err error) {
	config, err := pgxpool.ParseConfig(fmt.Sprintf("host=127.0.0.1 port=%d user=postgres password=%s dbname=%s "+
		"application_name=torture", c.pgPort, password, database))
	if err != nil {
		return err
	}
	config.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeExec // connections come and go
	c.admin, err = pgxpool.NewWithConfig(ctx, config)
	return err
}

// proxiesOf are those between a node and the others, in both directions.
func (c *cluster) proxiesOf(i int) (proxies []*proxy) {
	for j := range c.nodes {
		if j != i {
			proxies = append(proxies, c.routes[i][j], c.routes[j][i])
		}
	}
	return proxies
}

// close ends everything immediately.
func (c *cluster) close() (err error) {
	for _, n := range c.nodes {
		err = errors.Join(err, n.kill())
		if n.conn != nil {
			err = errors.Join(err, n.conn.Close())
		}
	}
	err = errors.Join(err, c.foreign.close())
	if c.admin != nil {
		c.admin.Close()
	}
	for _, p := range slices.Concat(append(c.routes, c.toPostgres)...) {
		if p != nil {
			err = errors.Join(err, p.close())
		}
	}
	if c.pg != nil {
		err = errors.Join(err, c.pg.Stop(context.Background()))
	}
	return err
}
