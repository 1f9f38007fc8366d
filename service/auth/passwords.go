package auth

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/bcrypt"
	"golang.org/x/sync/singleflight"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/oexza/orisun/db"
)

const (
	// MaxPassword is the longest password in bytes: bcrypt looks at no more.
	MaxPassword = 72
	// hashCost is bcrypt's, about 50 ms of one core in 2026.
	hashCost = bcrypt.DefaultCost
	// maxHashing is how many logins may wait for their turn; hashing them takes less than two seconds.
	maxHashing = 32
	// loginLimit is when a login that is not through is given up.
	loginLimit = 10 * time.Second
)

// Hash returns what is kept of a password of at most MaxPassword bytes.
func Hash(password string) (string, error) {
	hash, err := bcrypt.GenerateFromPassword([]byte(password), hashCost)
	return string(hash), err
}

// Matches tells whether a password is the one that a hash was made of. It takes as long as Hash does.
func Matches(hash, password string) bool {
	return len(password) <= MaxPassword && bcrypt.CompareHashAndPassword([]byte(hash), []byte(password)) == nil
}

// nobody is the hash for usernames that do not exist: they take as long as those that do.
var nobody = sync.OnceValues(func() (string, error) { return Hash(rand.Text()) })

// mac stands for credentials in memory: nobody else, and no other process, can compute it from them or guess them by it.
type mac [sha256.Size]byte

// passwords verifies passwords, one at a time, so that guessing them takes one core at most.
type passwords struct {
	directory Directory
	key       [sha256.Size]byte // of macs
	guesses   *guesses
	turn      chan struct{}
	waiting   atomic.Int32
	verifying singleflight.Group
}

func newPasswords(directory Directory) (*passwords, error) {
	p := &passwords{directory: directory, guesses: newGuesses(), turn: make(chan struct{}, 1)}
	if _, err := rand.Read(p.key[:]); err != nil {
		return nil, err
	}
	return p, nil
}

func (p *passwords) mac(given Credentials) (m mac) {
	h := hmac.New(sha256.New, p.key[:])
	h.Write(strconv.AppendInt(nil, int64(len(given.Username)), 10)) // a hash.Hash never returns an error
	h.Write([]byte(":" + given.Username + given.Password))
	h.Sum(m[:0])
	return m
}

// verify returns whose credentials these are. Those that come several times at once are verified once.
func (p *passwords) verify(ctx context.Context, given Credentials, address string) (*db.OrisunLogin, error) {
	if err := p.guesses.admit(ctx, address, given.Username); err != nil {
		return nil, err
	}
	m := p.mac(given)
	answers := p.verifying.DoChan(string(m[:]), func() (any, error) {
		ctx, cancel := context.WithTimeout(context.Background(), loginLimit)
		defer cancel()
		return p.compare(ctx, given, address)
	})
	select {
	case answer := <-answers:
		login, _ := answer.Val.(*db.OrisunLogin)
		return login, answer.Err
	case <-ctx.Done():
		return nil, status.FromContextError(ctx.Err()).Err()
	}
}

// compare hashes when its turn comes. What it does, and how long it takes, is the same for a user who does not exist.
func (p *passwords) compare(ctx context.Context, given Credentials, address string) (*db.OrisunLogin, error) {
	defer p.waiting.Add(-1)
	if p.waiting.Add(1) > maxHashing {
		return nil, tooManyLogins("too many logins wait for their turn", time.Second)
	}
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return nil, status.Error(codes.Unavailable, "no login came through in time; try again")
	}
	// Others that waited as well may have been wrong.
	if err := p.guesses.check(address, given.Username); err != nil {
		return nil, err
	}
	login, err := p.directory.Login(ctx, "", given.Username)
	if err != nil {
		return nil, err
	}
	hash, err := nobody()
	if err != nil {
		return nil, status.Errorf(codes.Internal, "hash a password: %v", err)
	}
	if login != nil && login.PasswordHash != "" {
		hash = login.PasswordHash
	}
	if !Matches(hash, given.Password) || login == nil {
		p.guesses.wrong(address, given.Username)
		return nil, errUnauthenticated
	}
	return login, nil
}
