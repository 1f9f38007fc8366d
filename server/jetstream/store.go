package jetstream

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"time"
)

// routeTimeout is how long a start waits for the greeting of a server at a route.
const routeTimeout = 2 * time.Second

// fullName is the cluster's name in NATS. NATS rejects routes between clusters of different names.
func (c *ClusterConfig) fullName() string { return c.Name + "-" + c.StoreID }

// checkStore fails where the servers that listen at the routes serve another store, and none of them serves this one.
// It ignores servers that do not answer: NATS handles them.
func (c *ClusterConfig) checkStore(ctx context.Context) error {
	if c == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, routeTimeout)
	defer cancel()
	names := make([]string, len(c.Routes))
	var requests sync.WaitGroup
	for i, route := range c.Routes {
		requests.Go(func() { names[i], _ = c.clusterAt(ctx, route) }) // NATS connects there, too, and logs errors
	}
	requests.Wait()
	var problems []error
	for i, name := range names {
		if name == c.fullName() {
			return nil
		}
		if store, found := strings.CutPrefix(name, c.Name+"-"); found && len(store) == len(c.StoreID) {
			problems = append(problems,
				fmt.Errorf("%w: the node at %s (ORISUN_NATS_CLUSTER_ROUTES) has store %s, this node's database is store %s: "+
					"give all nodes of a cluster the same database (ORISUN_PG_HOST, ORISUN_PG_PORT, ORISUN_PG_NAME), and each store "+
					"routes of its own; "+
					"after a restore, stop all nodes before the first one is started again", ErrAnotherStore, c.Routes[i].Host, store,
					c.StoreID))
		}
	}
	return errors.Join(problems...)
}

// clusterAt is the name of the cluster at a route. A server sends it first, before any login.
func (c *ClusterConfig) clusterAt(ctx context.Context, route *url.URL) (name string, err error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", route.Host)
	if err != nil {
		return "", err
	}
	if c.TLS != nil {
		config := c.TLS.Clone()
		config.ServerName = route.Hostname()
		conn = tls.Client(conn, config)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return "", err
		}
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return "", err
	}
	document, found := strings.CutPrefix(line, "INFO ")
	if !found {
		return "", errors.New("no NATS server listens there")
	}
	var info struct {
		Cluster string `json:"cluster"`
	}
	err = json.Unmarshal([]byte(document), &info)
	return info.Cluster, err
}
