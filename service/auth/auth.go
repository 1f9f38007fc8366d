// Package auth says who calls.
//
// A caller shows a password (metadata "authorization: Basic base64(username:password)") or, in its place, the token of an earlier answer
// (metadata "x-auth-token"). Of both, a valid token wins; a token that is forged, expired or of a user who is gone counts as
// none, and the password decides. Only the first value of each is looked at, so that a call is one guess.
//
// Every answer to an authenticated call, errors included, carries a token in its header: on a stream it goes out with the header, that is
// with the first message if the handler does not send it earlier. A token in its first half of life comes back as it is,
// later a fresh one takes its place: who calls at least once in half a lifetime never sends the password again.
//
// Tokens are stateless: whoever has the key can check them and none can be revoked, other than by another key or by removing the user.
// Servers behind one address need the same key, or a token of one is none at the other. A key made at the start of the
// server ends all tokens with it.
//
// A caller without either is UNAUTHENTICATED, with one text for all cases: it never tells a wrong username from a wrong password. The
// health and reflection services are open to everybody.
package auth

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// RoleAdmin is the role of the bootstrap admin, who may do everything.
const RoleAdmin = "admin"

// maxUsername is the longest username in bytes. It keeps a token, which carries it, within 400 characters.
const maxUsername = 256

// minKey is the shortest key in bytes: an HMAC is no stronger than its key, and SHA-256 gives 32 bytes.
const minKey = 32

// Identity is who calls.
type Identity struct {
	Username string
	Roles    []string // shared between calls: read only
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

// Credentials are what a caller logs in with. They are compared byte by byte, without Unicode normalisation. A username has 1 to 256
// bytes and no colon, as Basic authentication could not carry it; a password may be anything but empty.
type Credentials struct {
	Username string
	Password string
}

// users knows who may call. Both methods answer errUnauthenticated when it is nobody; any other error means that they could not find
// out, and is a gRPC status that goes to the caller as it is.
type users interface {
	// verify returns whose credentials these are.
	verify(ctx context.Context, given Credentials) (Identity, error)
	// lookup returns the user with this name, which a valid token says.
	lookup(ctx context.Context, username string) (Identity, error)
}

// errUnauthenticated is the one answer to missing and to wrong credentials.
var errUnauthenticated = status.Error(codes.Unauthenticated, "credentials are missing, wrong or expired: "+
	"send metadata 'authorization: Basic base64(username:password)', or the 'x-auth-token' of an earlier answer")

// Authenticator finds out who calls. It is safe for concurrent use.
type Authenticator struct {
	users  users
	tokens *tokens
}

// New returns an Authenticator for one user, the bootstrap admin. A token is valid for ttl from its issue. key signs the tokens: at least 32
// bytes from crypto/rand that nobody else knows. The error names everything that is wrong with the arguments.
func New(admin Credentials, ttl time.Duration, key []byte) (*Authenticator, error) {
	var problems []error
	switch {
	case admin.Username == "":
		problems = append(problems, errors.New("the admin's username is empty"))
	case len(admin.Username) > maxUsername:
		problems = append(problems, fmt.Errorf("the admin's username has %d bytes: at most %d are possible", len(admin.Username), maxUsername))
	case strings.Contains(admin.Username, ":"):
		problems = append(problems, fmt.Errorf("the admin's username %q contains a colon, which ends a username in Basic authentication", admin.Username))
	}
	if admin.Password == "" {
		problems = append(problems, errors.New("the admin's password is empty"))
	}
	if ttl <= 0 {
		problems = append(problems, fmt.Errorf("tokens that are valid for %s are never valid: the time has to be positive", ttl))
	}
	if len(key) < minKey {
		problems = append(problems, fmt.Errorf("the key that signs tokens has %d bytes: at least %d are necessary", len(key), minKey))
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	return &Authenticator{users: newBootstrapAdmin(admin), tokens: newTokens(ttl, key)}, nil
}

// authenticate returns who calls, by a token or by the value of an authorization header (either may be empty), and the token for the answer.
func (a *Authenticator) authenticate(ctx context.Context, token, authorization string) (caller Identity, answer string, err error) {
	now := time.Now()
	if username, expiry, ok := a.tokens.open(token, now); ok {
		caller, err = a.users.lookup(ctx, username)
		switch {
		case err == nil && a.tokens.fresh(expiry, now):
			return caller, token, nil
		case err == nil:
			return caller, a.tokens.issue(username, now), nil
		case !errors.Is(err, errUnauthenticated):
			return Identity{}, "", err
		}
	}
	given, ok := parseBasic(authorization)
	if !ok {
		return Identity{}, "", errUnauthenticated
	}
	if caller, err = a.users.verify(ctx, given); err != nil {
		return Identity{}, "", err
	}
	return caller, a.tokens.issue(caller.Username, now), nil
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

// bootstrapAdmin is the one user whom the configuration names. It keeps hashes: they have one length, so that the time of a comparison
// tells nothing about the length of what is compared.
type bootstrapAdmin struct {
	identity           Identity
	username, password [sha256.Size]byte
}

func newBootstrapAdmin(admin Credentials) *bootstrapAdmin {
	return &bootstrapAdmin{
		identity: Identity{admin.Username, []string{RoleAdmin}},
		username: sha256.Sum256([]byte(admin.Username)),
		password: sha256.Sum256([]byte(admin.Password)),
	}
}

func (b *bootstrapAdmin) verify(_ context.Context, given Credentials) (Identity, error) {
	username := sha256.Sum256([]byte(given.Username))
	password := sha256.Sum256([]byte(given.Password))
	// Both are compared always: a wrong username takes as long as a wrong password.
	if subtle.ConstantTimeCompare(username[:], b.username[:])&subtle.ConstantTimeCompare(password[:], b.password[:]) != 1 {
		return Identity{}, errUnauthenticated
	}
	return b.identity, nil
}

func (b *bootstrapAdmin) lookup(_ context.Context, username string) (Identity, error) {
	if username != b.identity.Username {
		return Identity{}, errUnauthenticated
	}
	return b.identity, nil
}
