package client

import (
	"fmt"
	"strings"
	"testing"
)

func TestParseURL(t *testing.T) {
	for text, want := range map[string]string{
		"localhost":                        "[localhost:5005] false  ",
		"grpc://admin:p%40s%2Fs@db:1":      "[db:1] false admin p@s/s",
		"grpcs://u@a:1,b,[::1]:3,[fe80::]": "[a:1 b:5005 [::1]:3 [fe80::]:5005] true u ",
		"grpc://a/":                        "[a:5005] false  ",
	} {
		at, err := parseURL(text)
		if got := fmt.Sprint(at.hosts, " ", at.tls, " ", at.user, " ", at.password); err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", text, got, err, want)
		}
	}
	for _, text := range []string{
		"", "grpc://", "http://a", "grpc://a,,b", "grpc://a/path", "grpc://a?x=1", "grpc://a#x", "grpc://:secret@a",
		"grpc://u:%zz@a",
		"grpc://a:port", "grpc://u:sec@ret@", "grpc://a:1:2", "grpc://a:0", "grpc://a:65536", "grpc://u:sec/ret@a/b",
	} {
		if at, err := parseURL(text); err == nil || strings.Contains(err.Error(), "sec") {
			t.Errorf("%s: %+v, %v", text, at, err)
		}
	}
}
