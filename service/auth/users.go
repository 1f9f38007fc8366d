package auth

import (
	"context"
	"crypto/hmac"
	"strconv"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/singleflight"
	"google.golang.org/grpc/status"

	"github.com/oexza/orisun/db"
)

// maxUsers bounds the users that are kept in memory, of about a kilobyte each. Beyond it all are forgotten and read again.
const maxUsers = 10_000

// user is a user as it was read under a version of the directory.
type user struct {
	login    *db.OrisunLogin
	identity Identity
	version  int64
	shown    atomic.Pointer[mac] // the credentials that were found right last
	issued   atomic.Pointer[issued]
}

// hasShown tells whether these credentials were found right before, for the password that the user still has.
func (u *user) hasShown(given mac) bool {
	shown := u.shown.Load()
	return shown != nil && hmac.Equal(shown[:], given[:])
}

// users keeps those who called lately, so that a call costs no question to PostgreSQL. Who does not exist is never remembered.
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

// named returns the user who had this name when it called last; nil when there is none, or it did not.
func (u *users) named(username string) *user {
	u.mu.RLock()
	defer u.mu.RUnlock()
	return u.names[username]
}

// byName returns the user with this name if it called before; nil when there is none, or it did not.
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

// read asks once for all who want to know the same at the same time, under the same version: an answer to who asked under an older one may
// be older.
func (u *users) read(ctx context.Context, version int64, userID, username string) (*user, error) {
	key := strconv.FormatInt(version, 10) + " " + userID + " " + username
	answers := u.reading.DoChan(key, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.Background(), askLimit)
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

// remember notes that a user has shown its credentials.
func (u *users) remember(login *db.OrisunLogin, version int64, shown mac) *user {
	known := u.put(login, version)
	known.shown.Store(&shown)
	return known
}

// put keeps a user, and what it has shown and was issued as long as that is valid.
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

// forget drops a user who is gone.
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
	return Identity{UserID: login.UserID, Username: login.Username, Roles: login.Roles, epoch: login.Epoch, grants: grantsOf(login.Roles)}
}
