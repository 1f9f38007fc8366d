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
	// MaxPassword is the longest password in bytes: bcrypt reads no more.
	MaxPassword = 72
	// hashCost is bcrypt's, about 50 ms of one core in 2026.
	hashCost = bcrypt.DefaultCost
	// pauseFactor and maxRest are how long nothing is hashed after a wrong password; restFactor is a multiple of the
	// time of the hash. So guesses, in any number and from any address, take a quarter of one core, and the last login
	// in the queue is hashed after about six seconds.
	pauseFactor = 3
	maxPause    = 150 * time.Millisecond
	// maxLogins is how many calls may wait for a verification, those with the same credentials included.
	maxLogins = 1024
	// loginLimit is the timeout of a login.
	loginLimit = 10 * time.Second
)

// Hash returns the hash to store for a password of at most MaxPassword bytes.
func Hash(password string) (string, error) {
	hash, err := bcrypt.GenerateFromPassword([]byte(password), hashCost)
	return string(hash), err
}

// Matches returns whether a hash was made of this password. It takes as long as Hash does.
func Matches(hash, password string) bool {
	return len(password) <= MaxPassword && bcrypt.CompareHashAndPassword([]byte(hash), []byte(password)) == nil
}

// decoyHash is the hash for usernames that do not exist: their logins take as long as those of existing users.
var decoyHash = sync.OnceValues(func() (string, error) { return Hash(rand.Text()) })

// mac stands for credentials in memory. No other process can compute it from credentials, or verify guesses with it.
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
	return &passwords{
		directory: directory, secret: newSecret(key), guesses: newGuesses(), queue: newQueue(), turn: make(chan struct{}, 1),
	}, nil
}

func (p *passwords) mac(given Credentials) (m mac) {
	p.secret.sign(m[:0], []byte(strconv.Itoa(len(given.Username))+":"+given.Username+given.Password))
	return m
}

// refuse returns the error of a login that verify would refuse at once. It returns nil for logins that verify would
// check or hold.
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

// verify returns the user of these credentials, read at the version or later. Its error names the user, for the log.
func (p *passwords) verify(
	ctx context.Context, version int64, given Credentials, address string,
) (*db.OrisunLogin, error) {
	login, err := p.share(ctx, version, given, address)
	return login, ofUser(err, given.Username)
}

// share verifies credentials. Concurrent logins with the same credentials and version share one verification.
// Logins under different versions do not share one: the older answer may be of a deleted user, or of an old password.
func (p *passwords) share(
	ctx context.Context, version int64, given Credentials, address string,
) (*db.OrisunLogin, error) {
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

// compare waits for its place and hashes. It does the same work, in the same time, for a user that does not exist.
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
	var pause time.Duration
	defer func() { time.AfterFunc(pause, func() { <-p.turn }) }()
	// Other logins that waited may have had wrong passwords.
	if err := p.guesses.check(address, given.Username); err != nil {
		return nil, err
	}
	login, err := p.directory.Login(ctx, "", given.Username)
	if err != nil {
		return nil, err
	}
	hash, err := decoyHash()
	if err != nil {
		return nil, status.Errorf(codes.Internal, "hash a password: %v", err)
	}
	if login != nil && login.PasswordHash != "" {
		hash = login.PasswordHash
	}
	begun := time.Now()
	if !Matches(hash, given.Password) || login == nil {
		pause = min(pauseFactor*time.Since(begun), maxPause)
		p.guesses.wrong(address, given.Username)
		return nil, errUnauthenticated
	}
	return login, nil
}
