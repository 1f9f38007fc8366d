package main

import (
	"bufio"
	"net"
	"net/http"
	"strings"
	"testing"
)

func TestAPageInABrowserDoesNotReachTheServerByAName(t *testing.T) {
	server := launchWith(t, "ORISUN_ADMIN_READ_TIMEOUT=1s")
	url := "http://" + server.http + "/orisun.Admin/ListUsers"
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	request.Host = "rebound.example:8991"
	request.SetBasicAuth("admin", "changeit")
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	if err := response.Body.Close(); err != nil {
		t.Error(err)
	}
	if response.StatusCode != http.StatusForbidden {
		t.Errorf("a foreign name: %d", response.StatusCode)
	}
	for header, want := range map[string]string{
		"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY",
		"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
		"Referrer-Policy":         "no-referrer", "Cross-Origin-Resource-Policy": "same-origin",
	} {
		if got := response.Header.Get(header); got != want {
			t.Errorf("%s is %q, not %q", header, got, want)
		}
	}

	// A client that sends its body byte by byte is cut.
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", server.http)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	}()
	const head = "POST /orisun.EventStore/Ping HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic " +
		"YWRtaW46Y2hhbmdlaXQ=\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
	if _, err := conn.Write([]byte(head)); err != nil {
		t.Fatal(err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("a client that sends no more gets no answer: %v", err)
	}
	if err := answer.Body.Close(); err != nil {
		t.Error(err)
	}
	if answer.StatusCode != http.StatusBadRequest {
		t.Errorf("a client that sends no more: %d", answer.StatusCode)
	}
}
