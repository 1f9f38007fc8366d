package client

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
)

const defaultPort = "5005"

// address is what a URL says.
type address struct {
	hosts          []string // host:port each
	tls            bool
	user, password string
}

const urlForm = "the URL must be [grpc://|grpcs://][user:password@]host[:port][,host[:port]...]," +
	" with anything unusual in user and password percent-encoded"

// parseURL never repeats the text in its error, as it may hold a password.
func parseURL(text string) (address, error) {
	var at address
	scheme, rest, found := strings.Cut(text, "://")
	switch {
	case !found:
		rest = text
	case scheme == "grpcs":
		at.tls = true
	case scheme != "grpc":
		return address{}, errors.New(urlForm)
	}
	if i := strings.LastIndex(rest, "@"); i >= 0 {
		var errs [2]error
		user, password, _ := strings.Cut(rest[:i], ":")
		at.user, errs[0] = url.PathUnescape(user)
		at.password, errs[1] = url.PathUnescape(password)
		if errs[0] != nil || errs[1] != nil || at.user == "" {
			return address{}, errors.New(urlForm)
		}
		rest = rest[i+1:]
	}
	for host := range strings.SplitSeq(strings.TrimSuffix(rest, "/"), ",") {
		parsed, err := url.Parse("grpc://" + host)
		if err != nil || parsed.Hostname() == "" || parsed.Host != host || strings.Count(host, ":") > 1 && host[0] != '[' {
			return address{}, errors.New(urlForm)
		}
		port := cmp.Or(parsed.Port(), defaultPort)
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return address{}, fmt.Errorf("the port %s is not from 1 to 65535", port)
		}
		at.hosts = append(at.hosts, net.JoinHostPort(parsed.Hostname(), port))
	}
	return at, nil
}

func hostname(hostPort string) string {
	host, _, err := net.SplitHostPort(hostPort)
	if err != nil {
		return hostPort
	}
	return host
}
