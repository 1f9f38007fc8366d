// Package auth says who calls and what they may do.
//
// # Who calls
//
// A caller shows a password (metadata "authorization: Basic base64(username:password)") or, in its place, the token of an earlier answer
// (metadata "x-auth-token"). Of both, a valid token wins; a token that is forged, expired or revoked counts as none, and the password
// decides. Only the first value of each is looked at, so that a call is one guess.
//
// Every answer to an authenticated call, errors included, carries a token in its header: on a stream it goes out with the header, that is
// with the first message if the handler does not send it earlier. A token in its first half of life comes back as it is,
// later a fresh one takes its place: who calls at least once in half a lifetime never sends the password again (token.go).
//
// A caller without either is UNAUTHENTICATED, with one text for all cases: it never tells a wrong username from a wrong password. The
// health and reflection services are open to everybody.
//
// # What they may do
//
// rights.go has a row for every RPC, roles.go says which role has which right. Who lacks it gets PERMISSION_DENIED.
//
// # How fast a change is in force
//
// The node keeps what it knows of users in memory and asks PostgreSQL whether anything changed before that knowledge is Trust old. So
// whatever was committed is in force on every node after Trust, and an RPC that changes a user answers only then (Settle): at the next call
// after its answer, the change holds everywhere. Nothing has to reach the other nodes for it, and no call waits for PostgreSQL as
// long as that answers within half of Trust. It rests on clocks that run equally fast, not on clocks that agree.
//
// # Failures
//
//   - PostgreSQL is away: calls wait for it, up to a minute, since a user may have been removed meanwhile; then they are UNAVAILABLE.
//   - Somebody guesses passwords: wrong ones slow down their user and their address, which is refused with RESOURCE_EXHAUSTED before
//     anything is hashed (guesses.go), and beyond what is held even before gRPC starts a call (tap.go). Tokens, and passwords that this node has found right before, go on as ever.
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

// Identity is who calls.
type Identity struct {
	UserID   string
	Username string
	Roles    []string // as ParseRoles writes them; shared between calls: read only

	epoch  int64
	grants grants
}

// Administers says whether the caller may administer a boundary: it has role admin, or admin:BOUNDARY.
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

// Directory is where users are kept. Its errors are gRPC statuses and go to callers as they are, but that State is UNAVAILABLE, which is waited out.
type Directory interface {
	// State tells whether anything that was read before is old.
	State(ctx context.Context) (db.OrisunAuthState, error)
	// Keys are those under which tokens count, the latest one last; there is at least one.
	Keys(ctx context.Context) ([]db.OrisunTokenKey, error)
	// Login returns the user with this id or, where that is empty, with this username; nil when there is none.
	Login(ctx context.Context, userID, username string) (*db.OrisunLogin, error)
}

// errUnauthenticated is the one answer to missing and to wrong credentials.
var errUnauthenticated = status.Error(codes.Unauthenticated, "credentials are missing, wrong or expired: "+
	"send metadata 'authorization: Basic base64(username:password)', or the 'x-auth-token' of an earlier answer")

// unauthenticated is that answer, with what only the log is told.
type unauthenticated struct{ cause error }

func (unauthenticated) Error() string { return status.Convert(errUnauthenticated).Message() }

// GRPCStatus is what the caller sees.
func (unauthenticated) GRPCStatus() *status.Status { return status.Convert(errUnauthenticated) }

// Unwrap is the cause, for the log.
func (u unauthenticated) Unwrap() error { return u.cause }

// Authenticator finds out who calls and whether they may. It is safe for concurrent use.
type Authenticator struct {
	directory     Directory
	adminBoundary string
	state         *knowledge
	certificates  CertificateMapping
	users         *users
	keys          *keys
	passwords     *passwords
}

// New returns an Authenticator for the users of a directory. A token is valid for ttl from its issue; ttl is positive. Events of
// adminBoundary are written by RPCs about users alone, and read by admins alone.
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
		state:         &knowledge{ask: directory.State},
		users:         newUsers(directory),
		keys:          &keys{ttl: ttl, directory: directory},
		passwords:     passwords,
	}, nil
}

// TrustCertificates lets a verified client certificate stand for a user in calls that have neither a token nor a password. Call it before the
// first call comes.
func (a *Authenticator) TrustCertificates(mapping CertificateMapping) { a.certificates = mapping }

// Settle returns when what was committed before the call is in force on every node.
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

// authenticate returns who calls, by a token or by the value of an authorization header (either may be empty), and the token for the
// answer. The address is where from.
func (a *Authenticator) authenticate(ctx context.Context, token, authorization, address string) (caller Identity, answer string, err error) {
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
		case user == nil || user.login.Epoch != claimed.epoch: // deleted, or from before a change
		case ring.fresh(claimed, now):
			return user.identity, token, nil
		default:
			return user.identity, ring.issue(user, now), nil
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

// byCertificate returns whom the connection's client certificate stands for.
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

// logIn returns whose credentials these are. What was found right before is not hashed again.
func (a *Authenticator) logIn(ctx context.Context, version int64, given Credentials, address string) (*user, error) {
	mac := a.passwords.mac(given)
	if user := a.users.named(given.Username); user != nil && user.hasShown(mac) {
		// Only now: looking up those who are known would tell by its time who is.
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
	return a.users.remember(login, version, mac), nil
}

// Verify returns whose credentials these are, all changes that are settled included, and hashes them though they were found right before. The error is
// UNAUTHENTICATED for a wrong username or password, and RESOURCE_EXHAUSTED with how long to wait where too many wrong ones came for this user or from
// the caller's address.
func (a *Authenticator) Verify(ctx context.Context, given Credentials) (*db.OrisunLogin, error) {
	state, err := a.state.get(ctx)
	if err != nil {
		return nil, err
	}
	return a.passwords.verify(ctx, state.Version, given, addressOf(ctx))
}

// LogIn returns whose credentials these are, for those who come by another way than gRPC. The error is as Verify's, or UNAVAILABLE while
// PostgreSQL is away and ctx ends.
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

// Authenticate returns who calls by another way than gRPC, by a token or by the value of an authorization header;
// either may be empty. The errors are LogIn's.
func (a *Authenticator) Authenticate(ctx context.Context, token, authorization string, from net.Addr) (Identity, error) {
	caller, _, err := a.authenticate(ctx, token, authorization, hostOf(from))
	return caller, err
}

// Remembers reports, without PostgreSQL, whether this node let in these credentials before. They may be void by now.
func (a *Authenticator) Remembers(token, authorization string) bool {
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

// IsCurrent returns nil where a caller who was let in before would be let in again, and may do the same; UNAUTHENTICATED where it would not.
func (a *Authenticator) IsCurrent(ctx context.Context, caller Identity) error {
	state, err := a.state.get(ctx)
	if err != nil {
		return err
	}
	user, err := a.users.byID(ctx, state.Version, caller.UserID)
	if err != nil {
		return err
	}
	if user == nil || user.login.Epoch != caller.epoch {
		return errUnauthenticated
	}
	return nil
}

// parseBasic reads the value of an authorization header as RFC 7617 writes it: the scheme in any case, and everything after the first
// colon is the password.
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
