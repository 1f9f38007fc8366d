package main

import (
	"errors"
	"net"
	"net/url"
	"strings"

	"google.golang.org/grpc"
	_ "google.golang.org/grpc/health" // a node that reports NOT_SERVING gets no calls
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"

	"github.com/oexza/orisun/server/config"
)

// balancing is what the Go client does with several nodes: calls go to all healthy ones in turns.
const balancing = `{"loadBalancingConfig": [{"round_robin": {}}], "healthCheckConfig": {"serviceName": ` +
	`"orisun.EventStore"}}`

var errURL = errors.New("ORISUN_URL must be [grpc://|grpcs://][user:password@]host[:port][,host[:port]...]," +
	" with anything unusual in the password percent-encoded")

// parseURL returns what ORISUN_URL says with its first host, and all of its hosts with commas between them. It never
// repeats the text in its error, as it may hold a password.
func parseURL(text string) (first *url.URL, hosts string, err error) {
	if !strings.Contains(text, "://") {
		text = "grpc://" + text
	}
	text = strings.TrimSuffix(text, "/")
	begin := max(strings.Index(text, "://")+len("://"), strings.LastIndex(text, "@")+1)
	for host := range strings.SplitSeq(text[begin:], ",") {
		at, err := url.Parse(text[:begin] + host)
		if err != nil || at.Hostname() == "" || at.Host != host || at.Scheme != "grpc" && at.Scheme != "grpcs" {
			return nil, "", errURL
		}
		if first == nil {
			first = at
		}
	}
	return first, text[begin:], nil
}

// withPorts adds the default port to those of the hosts, with commas between them, that have none.
func withPorts(hosts string) (string, error) {
	all := strings.Split(hosts, ",")
	for i, host := range all {
		if host == "" {
			return "", usageError{errors.New("--server must be HOST[:PORT][,HOST[:PORT]...]")}
		}
		if _, _, err := net.SplitHostPort(host); err != nil {
			all[i] = net.JoinHostPort(strings.Trim(host, "[]"), config.DefaultGRPCPort)
		}
	}
	return strings.Join(all, ","), nil
}

// resolve leaves one host to DNS. Several are addresses as they stand.
func resolve(server string) (target string, _ []grpc.DialOption) {
	hosts := strings.Split(server, ",")
	if len(hosts) == 1 {
		return server, nil
	}
	var state resolver.State
	for _, host := range hosts {
		name, _, _ := net.SplitHostPort(host) // withPorts has completed it
		address := resolver.Address{Addr: host, ServerName: name}
		state.Endpoints = append(state.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{address}})
	}
	static := manual.NewBuilderWithScheme("orisun")
	static.InitialState(state)
	return "orisun:///" + hosts[0], []grpc.DialOption{grpc.WithResolvers(static), grpc.WithDefaultServiceConfig(balancing)}
}
