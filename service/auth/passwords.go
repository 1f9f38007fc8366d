package auth

import (
	"context"
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
	// restFactor and maxRest are how long nothing is hashed after a wrong password, in times of what that took: so guesses, however many and from
	// wherever, take a quarter of one core, and the last login in the queue has its turn after some six seconds.
	restFactor = 3
	maxRest    = 150 * time.Millisecond
	// maxLogins is how many calls may wait for all that, those with the same credentials included.
	maxLogins = 1024
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

// passwords verifies passwords, one at a time.
type passwords struct {
	directory Directory
	secret    *secret // of macs
	guesses   *guesses
	queue     *queue
	turn      chan struct{}
	logins    atomic.Int32
	verifying singleflight.Group
}

func newPasswords(directory Directory) (*passwords, error) {
	key := make([]byte, sha256.Size)
	if _, err := rand.Read(key); err != nil {
		return nil, err
	}
	return &passwords{directory: directory, secret: newSecret(key), guesses: newGuesses(), queue: newQueue(), turn: make(chan struct{}, 1)}, nil
}

func (p *passwords) mac(given Credentials) (m mac) {
	p.secret.sign(m[:0], []byte(strconv.Itoa(len(given.Username))+":"+given.Username+given.Password))
	return m
}

// refuse returns the error of a login that verify would refuse at once, nil for those that it would look at or hold.
func (p *passwords) refuse(given Credentials, address string) error {
	if wait := p.guesses.wait(address, given.Username); wait > 0 {
		if p.guesses.isFull() {
			return tooManyWrong(wait)
		}
		return nil
	}
	if p.logins.Load() >= maxLogins || !p.queue.hasRoom(address) {
		return tooManyWaiting()
	}
	return nil
}

// verify returns whose credentials these are, by what is no older than the version. Its error names the user, for the log.
func (p *passwords) verify(ctx context.Context, version int64, given Credentials, address string) (*db.OrisunLogin, error) {
	login, err := p.share(ctx, version, given, address)
	return login, ofUser(err, given.Username)
}

// share verifies credentials. Those that come several times at once, under the same version, are
// verified once: an answer to who asked under an older one may be of a user who is gone, or had another password.
func (p *passwords) share(ctx context.Context, version int64, given Credentials, address string) (*db.OrisunLogin, error) {
	if err := p.guesses.admit(ctx, address, given.Username); err != nil {
		return nil, err
	}
	defer p.logins.Add(-1)
	if p.logins.Add(1) > maxLogins {
		return nil, tooManyWaiting()
	}
	m := p.mac(given)
	answers := p.verifying.DoChan(strconv.FormatInt(version, 10)+" "+string(m[:]), func() (any, error) {
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
	if !p.queue.join(address) {
		return nil, tooManyWaiting()
	}
	defer p.queue.leave(address)
	select {
	case p.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, status.Error(codes.Unavailable, "no login came through in time; try again")
	}
	var rest time.Duration
	defer func() { time.AfterFunc(rest, func() { <-p.turn }) }()
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
	begun := time.Now()
	if !Matches(hash, given.Password) || login == nil {
		rest = min(restFactor*time.Since(begun), maxRest)
		p.guesses.wrong(address, given.Username)
		return nil, errUnauthenticated
	}
	return login, nil
}
