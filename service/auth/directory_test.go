package auth_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/oexza/orisun/db"
	"github.com/oexza/orisun/service/auth"
)

const adminBoundary = "orisun_admin"

// directory is users in memory, for what needs a clock of its own or a great many callers. What PostgreSQL makes of
// users is tested in service.
type directory struct {
	mu         sync.Mutex
	state      db.OrisunAuthState
	keys       []db.OrisunTokenKey
	users      []db.OrisunLogin
	stateReads int           // how often for the state
	looked     int           // how often for a user
	down       error         // what all queries return, while it is not nil
	gate       chan struct{} // queries of a user wait until it is closed, unless it is nil
	delay      chan struct{} // answers about a user do, where it is not nil
}

// newDirectory has one key and admins with these credentials. A user's id is its name.
func newDirectory(t testing.TB, key []byte, admins ...auth.Credentials) *directory {
	t.Helper()
	d := &directory{state: db.OrisunAuthState{TokenKey: 1}, keys: []db.OrisunTokenKey{{Number: 1, Key: key}}}
	for _, admin := range admins {
		d.add(t, admin, auth.RoleAdmin)
	}
	return d
}

func (d *directory) add(t testing.TB, user auth.Credentials, roles ...string) {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(user.Password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	d.change(func() {
		d.users = append(d.users, db.OrisunLogin{
			UserID: user.Username, Username: user.Username, Roles: roles, Epoch: d.state.Version, PasswordHash: string(hash),
		})
	})
}

func (d *directory) remove(username string) {
	d.change(func() {
		d.users = slices.DeleteFunc(d.users, func(u db.OrisunLogin) bool { return u.Username == username })
	})
}

// change moves the version, as each change of a user does.
func (d *directory) change(change func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.state.Version++
	change()
}

func (d *directory) rotate(key []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.state.TokenKey++
	d.keys = append(d.keys, db.OrisunTokenKey{Number: d.state.TokenKey, Key: key})
	if len(d.keys) > 2 {
		d.keys = d.keys[1:]
	}
}

func (d *directory) fail(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.down = err
}

// queries are how often its state and a user were read.
func (d *directory) queries() (state, users int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.stateReads, d.looked
}

func (d *directory) EndSession(_ context.Context, userID string, session int64, expiresIn time.Duration) error {
	end := func(change func(ended []int64) []int64) {
		d.change(func() {
			for i, user := range d.users {
				if user.UserID == userID {
					d.users[i].Ended = change(slices.Clone(user.Ended))
				}
			}
		})
	}
	end(func(ended []int64) []int64 { return append(ended, session) })
	time.AfterFunc(expiresIn, func() {
		end(func(ended []int64) []int64 {
			return slices.DeleteFunc(ended, func(other int64) bool { return other == session })
		})
	})
	return nil
}

func (d *directory) State(context.Context) (db.OrisunAuthState, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stateReads++
	return d.state, d.down
}

func (d *directory) Keys(context.Context) ([]db.OrisunTokenKey, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.keys), d.down
}

func (d *directory) Login(_ context.Context, userID, username string) (*db.OrisunLogin, error) {
	if d.gate != nil {
		<-d.gate
	}
	if d.delay != nil {
		defer func() { <-d.delay }()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.looked++
	for _, user := range d.users {
		if user.UserID == userID || userID == "" && user.Username == username {
			return &user, d.down
		}
	}
	return nil, d.down
}
