package httpapi

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/oexza/orisun/server/config"
	"github.com/oexza/orisun/server/transport"
)

// guard checks every request by HTTP. Its headers mark an answer as data and not as a page. Where the server listens
// on loopback only, it rejects a Host that is neither an address nor allowed. Otherwise a page in a browser of this
// machine could reach it through a name that resolves to loopback.
func guard(next http.Handler, listens net.Addr, config *config.Config) http.Handler {
	allowed := strings.Split(config.Admin.AllowedHosts, ",")
	for i, name := range allowed {
		allowed[i] = strings.ToLower(strings.TrimSpace(name))
	}
	onlyLoopback := transport.IsLoopback(listens)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("X-Frame-Options", "DENY")
		header.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		header.Set("Referrer-Policy", "no-referrer")
		header.Set("Cross-Origin-Resource-Policy", "same-origin")
		if r.TLS != nil {
			header.Set("Strict-Transport-Security", "max-age=31536000")
		}
		if name := hostName(r.Host); onlyLoopback && !isAddress(name) && !slices.Contains(allowed, strings.ToLower(name)) {
			writeError(w, http.StatusForbidden, "permission_denied",
				"the host "+strings.ToValidUTF8(name, "?")+" is not allowed: "+
					"use an address or localhost, or add it to ORISUN_ADMIN_ALLOWED_HOSTS")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// hostName is a Host without its port.
func hostName(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		return name
	}
	return strings.Trim(host, "[]")
}

func isAddress(name string) bool {
	_, err := netip.ParseAddr(name)
	return err == nil
}
