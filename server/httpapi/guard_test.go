package httpapi

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/oexza/orisun/server/config"
)

func TestAForeignHostIsRefusedOnLoopbackOnly(t *testing.T) {
	loopback, everywhere := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}, &net.TCPAddr{IP: net.IPv4zero}
	config, _, err := config.Load(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	config.Admin.AllowedHosts = "localhost, Orisun.test"
	for _, c := range []struct {
		listens net.Addr
		host    string
		status  int
	}{
		{loopback, "evil.example:8991", http.StatusForbidden},
		{loopback, "127.0.0.1.evil.example", http.StatusForbidden},
		{loopback, "", http.StatusForbidden},
		{loopback, "localhost:8991", http.StatusOK},
		{loopback, "orisun.TEST", http.StatusOK},
		{loopback, "127.0.0.1:8991", http.StatusOK},
		{loopback, "[::1]:8991", http.StatusOK},
		{loopback, "[::1]", http.StatusOK},
		{everywhere, "orders.example", http.StatusOK},
	} {
		answered := httptest.NewRecorder()
		request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/healthz", nil)
		request.Host = c.host
		guard(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }), c.listens,
			config).ServeHTTP(answered, request)
		if answered.Code != c.status ||
			c.status == http.StatusForbidden && !strings.Contains(answered.Body.String(), "ORISUN_ADMIN_ALLOWED_HOSTS") {
			t.Errorf("host %q at %v: %d %s", c.host, c.listens, answered.Code, answered.Body)
		}
	}
}
