package server

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"strings"
	"testing"

	"github.com/oexza/orisun/migrations/pgtest"
	"github.com/oexza/orisun/server/config"
	"github.com/oexza/orisun/service"
	"github.com/oexza/orisun/service/auth"
)

func TestTheDefaultPasswordIsReportedUntilItIsChanged(t *testing.T) {
	config, _, err := config.Load(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	pool := pgtest.New(t)
	pgtest.Boundary(t, pool, config.Admin.Boundary)
	store := service.NewEventStore(service.Config{Write: pool, Read: pool})
	defer func() {
		if err := store.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	starts := func(ips string) (warned, open bool) {
		t.Helper()
		var log bytes.Buffer
		var listens []net.Addr
		for _, ip := range strings.Fields(ips) {
			listens = append(listens, &net.TCPAddr{IP: net.ParseIP(ip), Port: 5005})
		}
		c, err := newCallers(config, pool, listens...)
		if err == nil {
			err = c.bootstrap(t.Context(), config, store, slog.New(slog.NewTextHandler(&log, nil)))
		}
		if err != nil {
			t.Fatal(err)
		}
		open, err = c.defaultPasswordIsOpen(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return strings.Contains(log.String(), "level=WARN") && strings.Contains(log.String(), "default password"), open
	}
	for _, c := range []struct {
		ips  string
		want bool
	}{
		{"127.0.0.1", false},
		{"::1", false},
		{"127.0.0.1 ::1 127.0.0.2", false},
		{"0.0.0.0", true},
		{"::", true},
		{"192.0.2.1", true},
		{"0.0.0.0", true},
		{"127.0.0.1 0.0.0.0 127.0.0.1", true},
		{"127.0.0.1 127.0.0.1 ::", true},
	} {
		if warned, open := starts(c.ips); warned != c.want || open != c.want {
			t.Errorf("listening on %s: warned %v, reported %v", c.ips, warned, open)
		}
	}
	hash, err := auth.Hash("n0t-default")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pool.Exec(t.Context(), `SELECT orisun.change_user_password($1, user_id, $2) FROM orisun.user_account`,
		config.Admin.Boundary, hash); err != nil {
		t.Fatal(err)
	}
	if warned, open := starts("0.0.0.0"); warned || open {
		t.Errorf("with another password: warned %v, reported %v", warned, open)
	}
}
