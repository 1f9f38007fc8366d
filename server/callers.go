package server

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"

	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/oexza/orisun/db"
	"github.com/oexza/orisun/server/config"
	"github.com/oexza/orisun/server/jetstream"
	"github.com/oexza/orisun/server/transport"
	"github.com/oexza/orisun/service"
	"github.com/oexza/orisun/service/auth"
)

const (
	// directoryConnections is the number of connections for lookups of users. Lookups are rare, as nodes cache users.
	directoryConnections = 2
	// projectedEvents is how many events about users are projected in one transaction.
	projectedEvents = 500
)

// callers holds what authenticates callers and what manages users.
type callers struct {
	auth      *auth.Authenticator
	admin     *service.Admin
	directory *service.Directory
	username  string     // of the first admin
	listens   []net.Addr // where calls and logins arrive: gRPC, HTTP, NATS

	mu      sync.Mutex
	checked *db.OrisunLogin // the user that defaultPasswordIsOpen checked last, and the result
	open    bool
}

// newCallers looks up users on pool.
func newCallers(config *config.Config, pool *pgxpool.Pool, listens ...net.Addr) (*callers, error) {
	directory := service.NewDirectory(pool, config.Admin.Boundary)
	authenticator, err := auth.New(directory, config.Admin.Boundary, config.Auth.SessionTTL)
	if err != nil {
		return nil, err
	}
	authenticator.TrustCertificates(auth.CertificateMapping(config.GRPC.TLSClientIdentity))
	return &callers{auth: authenticator, directory: directory, username: config.Admin.Username, listens: listens}, nil
}

// bootstrap prepares the management of users, and creates the first admin where there is none.
func (c *callers) bootstrap(
	ctx context.Context, config *config.Config, store *service.EventStore, log *slog.Logger,
) error {
	c.admin = service.NewAdmin(store, config.Admin.Boundary, c.auth)
	created, err := c.admin.BootstrapAdmin(ctx, auth.Credentials{
		Username: config.Admin.Username, Password: config.Admin.Password,
	})
	if err != nil {
		return fmt.Errorf("create the first admin (ORISUN_ADMIN_USERNAME, ORISUN_ADMIN_PASSWORD): %w", err)
	}
	if created {
		log.Info("created the first admin; from now on ORISUN_ADMIN_PASSWORD does not change its password, `orisun user "+
			"password` does", "username", config.Admin.Username)
	}
	open, err := c.defaultPasswordIsOpen(ctx)
	if err != nil {
		return err
	}
	if open {
		log.Warn("anybody who can reach this server can be its admin: it listens beyond this machine, and the admin still "+
			"has the default password; change it with `orisun user password`",
			"username", c.username, "listens", fmt.Sprint(c.reachable()))
	}
	return nil
}

// logInByNATS is a jetstream.LogIn: it admits admins only.
func (c *callers) logInByNATS(ctx context.Context, username, password string, from net.Addr) (jetstream.Stay, bool) {
	caller, err := c.auth.LogIn(ctx, auth.Credentials{Username: username, Password: password}, from)
	if err != nil || c.auth.May(caller, auth.Administer, "") != nil {
		return nil, false
	}
	return func(ctx context.Context) bool {
		return status.Code(c.auth.IsCurrent(ctx, caller)) != codes.Unauthenticated
	}, true
}

// defaultPasswordIsOpen reports whether the server listens beyond loopback while the first admin has the default
// password. The log at the start and reports on the server's health use it. It hashes only when that user has changed
// since the last call.
func (c *callers) defaultPasswordIsOpen(ctx context.Context) (bool, error) {
	if len(c.reachable()) == 0 {
		return false, nil
	}
	login, err := c.directory.Login(ctx, "", c.username)
	if err != nil || login == nil {
		return false, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.checked == nil || c.checked.UserID != login.UserID || c.checked.Epoch != login.Epoch {
		c.checked, c.open = login, auth.Matches(login.PasswordHash, config.DefaultAdminPassword)
	}
	return c.open, nil
}

// reachable returns the addresses where other machines can log in.
func (c *callers) reachable() []net.Addr {
	return slices.DeleteFunc(slices.Clone(c.listens), transport.IsLoopback)
}

// projectUsers builds users from the events of the admin boundary.
func projectUsers(boundary string) func(context.Context, db.DBTX) (int, error) {
	count := int32(projectedEvents)
	return func(ctx context.Context, tx db.DBTX) (int, error) {
		projected, err := db.New().ProjectUsers(ctx, tx, db.ProjectUsersParams{Boundary: boundary, Count: &count})
		return int(projected), err
	}
}
