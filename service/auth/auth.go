// Package auth identifies callers and authorizes their calls.
//
// # Authentication
//
// A caller sends a password (metadata "authorization: Basic base64(username:password)") or the token of an earlier
// answer (metadata "x-auth-token"). If both are sent, a valid token takes precedence. A token that is forged, expired
// or revoked is ignored, and the password decides. Only the first value of each is read, so that a call is one guess.
//
// Every answer to an authenticated call, errors included, carries a token in its header. A stream sends its header with
// the first message, unless the handler sends it earlier. A token in the first half of its life is returned unchanged.
// After that a fresh one replaces it. A client that calls at least once in half a lifetime therefore sends its password
// only once (token.go).
//
// A caller without valid credentials gets UNAUTHENTICATED with the same text in all cases: it does not reveal whether
// the username or the password was wrong. The health and reflection services need no credentials.
//
// # Sessions
//
// A token of the console names a session (session.go). Logging out ends the session: all of its tokens, copied and
// renewed ones too, are void on every node. Other tokens end by their expiry or with a change of their user.
//
// # Authorization
//
// rights.go has a row for every RPC, and roles.go lists the rights of each role. A caller without the right gets
// PERMISSION_DENIED.
//
// # How fast a change is in force
//
// The node caches what it reads of users. It checks with PostgreSQL whether anything changed before the cache is Trust
// old. So every committed change is in force on every node after Trust. An RPC that changes a user answers only then
// (Settle): the change holds everywhere at the next call after its answer. No message to the other nodes is needed, and
// no call waits for PostgreSQL as long as that answers within half of Trust. This relies on clocks that run equally
// fast, not on clocks that agree.
//
// # Failures
//
//   - PostgreSQL is unavailable: calls wait for it for up to a minute, since a user may have been removed meanwhile.
//     Then they fail with UNAVAILABLE.
//   - A client guesses passwords: wrong ones slow down their user and their address. Further ones are refused with
//     RESOURCE_EXHAUSTED before anything is hashed (guesses.go). When too many calls are held, they are refused even
//     before gRPC starts a call (tap.go). Tokens, and passwords that this node verified before, are not slowed down.
package auth

import (
	"context"
	"encoding/base64"
	"fmt"
	"net"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/oexza/orisun/db"
)

// Identity is the caller.
type Identity struct {
	UserID   string
	Username string
	Roles    []string // as ParseRoles writes them; shared between calls: read only

	epoch   int64
	session int64 // 0 is no session
	grants  grants
}

// Administers returns whether the caller may administer a boundary: it has role admin, or admin:BOUNDARY.
func (i Identity) Administers(boundary string) bool {
	return i.grants.admin || i.grants.scoped[boundary].index
}

type identityKey struct{}

// NewContext returns a context that carries the caller's identity.
func NewContext(ctx context.Context, caller Identity) context.Context {
	return context.WithValue(ctx, identityKey{}, caller)
}

// FromContext returns the identity of the caller; false in calls that need no credentials.
func FromContext(ctx context.Context) (Identity, bool) {
	caller, ok := ctx.Value(identityKey{}).(Identity)
	return caller, ok
}

// Credentials are what a caller logs in with. They are compared byte by byte, without Unicode normalisation.
type Credentials struct {
	Username string
	Password string
}

// Directory is where users are stored. Its errors are gRPC statuses and are returned to callers unchanged. The
// exception is State: its UNAVAILABLE is retried.
type Directory interface {
	// State returns a value that changes whenever anything that was read before may be old.
	State(ctx context.Context) (db.OrisunAuthState, error)
	// Keys returns the keys under which tokens are valid, the latest one last; there is at least one.
	Keys(ctx context.Context) ([]db.OrisunTokenKey, error)
	// Login returns the user with this id or, if that is empty, with this username; nil if there is none.
	Login(ctx context.Context, userID, username string) (*db.OrisunLogin, error)
	// EndSession stores that a session of a user has ended, for the time after which its tokens have expired.
	EndSession(ctx context.Context, userID string, session int64, expiresIn time.Duration) error
}

// errUnauthenticated is the only answer to missing and to wrong credentials.
var errUnauthenticated = status.Error(codes.Unauthenticated, "credentials are missing, wrong or expired: "+
	"send metadata 'authorization: Basic base64(username:password)', or the 'x-auth-token' of an earlier answer")

// unauthenticated is errUnauthenticated with a cause, which only the log gets.
type unauthenticated struct{ cause error }

func (unauthenticated) Error() string { return status.Convert(errUnauthenticated).Message() }

// GRPCStatus is what the caller gets.
func (unauthenticated) GRPCStatus() *status.Status { return status.Convert(errUnauthenticated) }

// Unwrap is the cause, for the log.
func (u unauthenticated) Unwrap() error { return u.cause }

// Authenticator identifies callers and checks their rights. It is safe for concurrent use.
type Authenticator struct {
	directory     Directory
	adminBoundary string
	state         *knowledge
	certificates  CertificateMapping
	users         *users
	keys          *keys
	passwords     *passwords
}

// New returns an Authenticator for the users of a directory. A token is valid for ttl, which is positive, from its
// issue. Events of adminBoundary are written only by RPCs about users, and read only by admins.
func New(directory Directory, adminBoundary string, ttl time.Duration) (*Authenticator, error) {
	if ttl <= 0 {
		return nil, fmt.Errorf("tokens that are valid for %s are never valid: the time has to be positive", ttl)
	}
	passwords, err := newPasswords(directory)
	if err != nil {
		return nil, err
	}
	return &Authenticator{
		directory:     directory,
		adminBoundary: adminBoundary,
		certificates:  CertificateOff,
		state:         &knowledge{query: directory.State},
		users:         newUsers(directory),
		keys:          &keys{ttl: ttl, directory: directory},
		passwords:     passwords,
	}, nil
}

// TrustCertificates lets a verified client certificate stand for a user in calls that have neither a token nor a
// password. Call it before the first call comes.
func (a *Authenticator) TrustCertificates(mapping CertificateMapping) { a.certificates = mapping }

// Settle returns when everything that was committed before the call is in force on every node.
func (a *Authenticator) Settle(ctx context.Context) error {
	timer := time.NewTimer(Trust)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return status.FromContextError(ctx.Err()).Err()
	}
}

// authenticate returns the caller, found by a token or by the value of an authorization header (either may be empty),
// and the token for the answer. The address is the caller's.
func (a *Authenticator) authenticate(
	ctx context.Context, token, authorization, address string,
) (caller Identity, answer string, err error) {
	if token == "" && authorization == "" && a.certificates == CertificateOff {
		return Identity{}, "", errUnauthenticated
	}
	state, err := a.state.get(ctx)
	if err != nil {
		return Identity{}, "", err
	}
	ring, err := a.keys.ring(ctx, state.TokenKey)
	if err != nil {
		return Identity{}, "", err
	}
	now := time.Now()
	if claimed, ok := ring.open(token, now); ok {
		user, err := a.users.byID(ctx, state.Version, claimed.userID)
		switch {
		case err != nil:
			return Identity{}, "", err
		case user == nil || !user.accepts(claimed.epoch, claimed.session): // deleted, from before a change, or ended
		case ring.fresh(claimed, now):
			return user.in(claimed.session), token, nil
		default:
			return user.in(claimed.session), ring.renew(claimed, user, now), nil
		}
	}
	if authorization == "" && a.certificates != CertificateOff {
		user, err := a.byCertificate(ctx, state.Version)
		if err != nil {
			return Identity{}, "", err
		}
		return user.identity, ring.issue(user, now), nil
	}
	given, ok := parseBasic(authorization)
	if !ok {
		return Identity{}, "", errUnauthenticated
	}
	user, err := a.logIn(ctx, state.Version, given, address)
	if err != nil {
		return Identity{}, "", err
	}
	return user.identity, ring.issue(user, now), nil
}

// byCertificate returns the user that the connection's client certificate names.
func (a *Authenticator) byCertificate(ctx context.Context, version int64) (*user, error) {
	name, err := CertificateUser(ctx, a.certificates)
	if err != nil {
		return nil, unauthenticated{err}
	}
	user, err := a.users.byName(ctx, version, name)
	if err == nil && user == nil {
		user, err = a.users.read(ctx, version, "", name)
	}
	if err == nil && user == nil {
		err = unauthenticated{fmt.Errorf("no user is called %q, whom the client certificate names", name)}
	}
	return user, err
}

// logIn returns the user of these credentials. Credentials that were verified before are not hashed again.
func (a *Authenticator) logIn(ctx context.Context, version int64, given Credentials, address string) (*user, error) {
	mac := a.passwords.mac(given)
	if user := a.users.named(given.Username); user != nil && user.hasShown(mac) {
		// Users are looked up only for credentials that were verified before: otherwise the time of the lookup would
		// reveal which users are cached.
		user, err := a.users.byName(ctx, version, given.Username)
		if err != nil {
			return nil, err
		}
		if user != nil && user.hasShown(mac) {
			return user, nil
		}
	}
	login, err := a.passwords.verify(ctx, version, given, address)
	if err != nil {
		return nil, err
	}
	return a.users.noteShown(login, version, mac), nil
}

// Verify returns the user of these credentials, with all settled changes. It hashes them even if they were verified
// before. The error is UNAUTHENTICATED for a wrong username or password. It is RESOURCE_EXHAUSTED, with how long to
// wait, if too many wrong ones came for this user or from the caller's address.
func (a *Authenticator) Verify(ctx context.Context, given Credentials) (*db.OrisunLogin, error) {
	state, err := a.state.get(ctx)
	if err != nil {
		return nil, err
	}
	return a.passwords.verify(ctx, state.Version, given, addressOf(ctx))
}

// LogIn returns the user of these credentials for callers that do not use gRPC. The error is as Verify's, or
// UNAVAILABLE if ctx ends while PostgreSQL is unavailable.
func (a *Authenticator) LogIn(ctx context.Context, given Credentials, from net.Addr) (Identity, error) {
	state, err := a.state.get(ctx)
	if err != nil {
		return Identity{}, err
	}
	user, err := a.logIn(ctx, state.Version, given, hostOf(from))
	if err != nil {
		return Identity{}, err
	}
	return user.identity, nil
}

// Authenticate returns the caller for calls that do not use gRPC, by a token or by the value of an authorization
// header; either may be empty. The errors are LogIn's.
func (a *Authenticator) Authenticate(
	ctx context.Context, token, authorization string, from net.Addr,
) (Identity, error) {
	caller, _, err := a.authenticate(ctx, token, authorization, hostOf(from))
	return caller, err
}

// HasCached reports, without PostgreSQL, whether this node let in these credentials before. They may be void by now.
func (a *Authenticator) HasCached(token, authorization string) bool {
	if ring := a.keys.latest.Load(); ring != nil {
		if _, ok := ring.open(token, time.Now()); ok {
			return true
		}
	}
	given, ok := parseBasic(authorization)
	if !ok {
		return false
	}
	user := a.users.named(given.Username)
	return user != nil && user.hasShown(a.passwords.mac(given))
}

// IsCurrent returns nil if a caller that was authenticated before would be authenticated again with the same rights. It
// returns UNAUTHENTICATED otherwise.
func (a *Authenticator) IsCurrent(ctx context.Context, caller Identity) error {
	state, err := a.state.get(ctx)
	if err != nil {
		return err
	}
	user, err := a.users.byID(ctx, state.Version, caller.UserID)
	if err != nil {
		return err
	}
	if user == nil || !user.accepts(caller.epoch, caller.session) {
		return errUnauthenticated
	}
	return nil
}

// parseBasic reads the value of an authorization header as RFC 7617 writes it: the scheme in any case, and everything
// after the first colon is the password.
func parseBasic(authorization string) (Credentials, bool) {
	scheme, encoded, _ := strings.Cut(authorization, " ")
	if !strings.EqualFold(scheme, "Basic") {
		return Credentials{}, false
	}
	decoded, err := base64.StdEncoding.DecodeString(strings.Trim(encoded, " "))
	if err != nil {
		return Credentials{}, false
	}
	username, password, ok := strings.Cut(string(decoded), ":")
	return Credentials{username, password}, ok
}
