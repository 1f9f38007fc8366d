package auth

import (
	"context"
	"crypto/hmac"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/singleflight"
	"google.golang.org/grpc/status"

	"github.com/oexza/orisun/db"
)

// maxUsers is how many users are cached, of about a kilobyte each. Beyond it the whole cache is dropped and read again.
const maxUsers = 10_000

// user is a user as it was read under a version of the directory.
type user struct {
	login    *db.OrisunLogin
	identity Identity
	version  int64
	shown    atomic.Pointer[mac] // the credentials that were verified last
	issued   atomic.Pointer[issued]
}

// hasShown returns whether these credentials were verified before, for the user's present password.
func (u *user) hasShown(given mac) bool {
	shown := u.shown.Load()
	return shown != nil && hmac.Equal(shown[:], given[:])
}

// accepts returns whether a token of this epoch and session is valid.
func (u *user) accepts(epoch, session int64) bool {
	return u.login.Epoch == epoch && (session == 0 || !slices.Contains(u.login.Ended, session))
}

// in returns the user's identity in a session.
func (u *user) in(session int64) Identity {
	identity := u.identity
	identity.session = session
	return identity
}

// users caches users that called lately, so that their calls need no query. Users that do not exist are never cached.
type users struct {
	directory Directory
	reading   singleflight.Group

	mu    sync.RWMutex
	ids   map[string]*user
	names map[string]*user
}

func newUsers(directory Directory) *users {
	return &users{directory: directory, ids: map[string]*user{}, names: map[string]*user{}}
}

// byID returns the user with this id, no older than the version; nil when there is none.
func (u *users) byID(ctx context.Context, version int64, userID string) (*user, error) {
	u.mu.RLock()
	known := u.ids[userID]
	u.mu.RUnlock()
	if known == nil || known.version != version {
		return u.read(ctx, version, userID, "")
	}
	return known, nil
}

// named returns the cached user that had this name when it called last; nil if there is none.
func (u *users) named(username string) *user {
	u.mu.RLock()
	defer u.mu.RUnlock()
	return u.names[username]
}

// byName returns the user with this name if it called before; nil if there is none or it did not.
func (u *users) byName(ctx context.Context, version int64, username string) (*user, error) {
	known := u.named(username)
	if known == nil {
		return nil, nil
	}
	if known.version != version {
		return u.read(ctx, version, "", username)
	}
	return known, nil
}

// read runs one query for all concurrent callers that read the same user under the same version. Callers under
// different versions do not share one: the older answer may be out of date.
func (u *users) read(ctx context.Context, version int64, userID, username string) (*user, error) {
	key := strconv.FormatInt(version, 10) + " " + userID + " " + username
	answers := u.reading.DoChan(key, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.Background(), queryTimeout)
		defer cancel()
		login, err := u.directory.Login(ctx, userID, username)
		if err != nil {
			return nil, err
		}
		if login == nil {
			u.forget(userID, username)
			return (*user)(nil), nil
		}
		return u.put(login, version), nil
	})
	select {
	case answer := <-answers:
		found, _ := answer.Val.(*user)
		return found, answer.Err
	case <-ctx.Done():
		return nil, status.FromContextError(ctx.Err()).Err()
	}
}

// noteShown notes that a user has sent valid credentials.
func (u *users) noteShown(login *db.OrisunLogin, version int64, shown mac) *user {
	known := u.put(login, version)
	known.shown.Store(&shown)
	return known
}

// put caches a user. It retains the user's verified credentials and token as long as they are valid.
func (u *users) put(login *db.OrisunLogin, version int64) *user {
	known := &user{login: login, identity: identify(login), version: version}
	u.mu.Lock()
	defer u.mu.Unlock()
	if before := u.ids[login.UserID]; before != nil && before.login.Epoch == login.Epoch {
		known.shown.Store(before.shown.Load())
		known.issued.Store(before.issued.Load())
	}
	if len(u.ids) >= maxUsers {
		clear(u.ids)
		clear(u.names)
	}
	u.ids[login.UserID] = known
	u.names[login.Username] = known
	return known
}

// forget drops a user that was deleted.
func (u *users) forget(userID, username string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	gone := u.ids[userID]
	if userID == "" {
		gone = u.names[username]
	}
	if gone == nil {
		return
	}
	delete(u.ids, gone.login.UserID)
	if u.names[gone.login.Username] == gone {
		delete(u.names, gone.login.Username)
	}
}

func identify(login *db.OrisunLogin) Identity {
	return Identity{
		UserID: login.UserID, Username: login.Username, Roles: login.Roles, epoch: login.Epoch, grants: grantsOf(login.Roles),
	}
}
