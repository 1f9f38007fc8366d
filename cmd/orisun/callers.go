package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/oexza/orisun/db"
	"github.com/oexza/orisun/service"
	"github.com/oexza/orisun/service/auth"
)

const (
	// directoryConnections are those on which users are looked up: seldom, as nodes remember them.
	directoryConnections = 2
	// projectedEvents is how many events about users are projected in one transaction.
	projectedEvents = 500
)

// callers is who may call, and what manages them.
type callers struct {
	auth      *auth.Authenticator
	admin     *service.Admin
	directory *service.Directory
	username  string   // of the first admin
	listens   net.Addr // where gRPC does

	mu      sync.Mutex
	checked *db.OrisunLogin // whom defaultPasswordIsOpen looked at last, and what it found
	open    bool
}

// newCallers looks up users on pool, and creates the first admin where there is none.
func newCallers(ctx context.Context, config *Config, pool *pgxpool.Pool, store *service.EventStore, listens net.Addr, log *slog.Logger) (*callers, error) {
	directory := service.NewDirectory(pool, config.Admin.Boundary)
	authenticator, err := auth.New(directory, config.Admin.Boundary, config.Auth.SessionTTL)
	if err != nil {
		return nil, err
	}
	authenticator.TrustCertificates(auth.CertificateMapping(config.GRPC.TLSClientIdentity))
	admin := service.NewAdmin(store, config.Admin.Boundary, authenticator)
	created, err := admin.BootstrapAdmin(ctx, auth.Credentials{Username: config.Admin.Username, Password: config.Admin.Password})
	if err != nil {
		return nil, fmt.Errorf("create the first admin (ORISUN_ADMIN_USERNAME, ORISUN_ADMIN_PASSWORD): %w", err)
	}
	if created {
		log.Info("created the first admin; from now on ORISUN_ADMIN_PASSWORD does not change its password, `orisun user password` does", "username", config.Admin.Username)
	}
	c := &callers{auth: authenticator, admin: admin, directory: directory, username: config.Admin.Username, listens: listens}
	open, err := c.defaultPasswordIsOpen(ctx)
	if err != nil {
		return nil, err
	}
	if open {
		log.Warn("anybody who can reach this server can be its admin: it listens beyond this machine, and the admin still has the default password; change it with `orisun user password`",
			"username", c.username, "grpc", listens.String())
	}
	return c, nil
}

// defaultPasswordIsOpen tells whether the server listens beyond loopback while the first admin has the default password: for the log at the
// start, and for whoever reports on the server's health. It hashes only when that user has changed since it was asked last.
func (c *callers) defaultPasswordIsOpen(ctx context.Context) (bool, error) {
	if isLoopback(c.listens) {
		return false, nil
	}
	login, err := c.directory.Login(ctx, "", c.username)
	if err != nil || login == nil {
		return false, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.checked == nil || c.checked.UserID != login.UserID || c.checked.Epoch != login.Epoch {
		c.checked, c.open = login, auth.Matches(login.PasswordHash, defaultPassword)
	}
	return c.open, nil
}

// isLoopback tells whether only this machine can reach an address.
func isLoopback(address net.Addr) bool {
	tcp, ok := address.(*net.TCPAddr)
	return !ok || tcp.IP.IsLoopback()
}

// projectUsers makes users of the events of the admin boundary.
func projectUsers(boundary string) func(context.Context, db.DBTX) (int, error) {
	count := int32(projectedEvents)
	return func(ctx context.Context, tx db.DBTX) (int, error) {
		projected, err := db.New().ProjectUsers(ctx, tx, db.ProjectUsersParams{Boundary: boundary, Count: &count})
		return int(projected), err
	}
}
