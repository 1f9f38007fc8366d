package nearest_test

import (
	"testing"

	"github.com/oexza/orisun/service/nearest"
)

func TestTheNearestNameIsAtMostTwoFifthsAway(t *testing.T) {
	for _, c := range []struct {
		given string
		names []string
		want  string
	}{
		{"lst", []string{"create", "list", "last"}, "list"},
		{"customer_idd", []string{"customer", "customer_id"}, "customer_id"},
		{"Customer", []string{"customer"}, "customer"},
		{"abcde", []string{"abcxy"}, "abcxy"},
		{"abcde", []string{"abxyz"}, ""},
		{"x", []string{"y"}, ""},
		{"x", nil, ""},
	} {
		if got, found := nearest.Name(c.given, c.names); got != c.want || found != (c.want != "") {
			t.Errorf("%q among %q: %q, %v, want %q", c.given, c.names, got, found, c.want)
		}
	}
}
