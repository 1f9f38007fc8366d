package auth

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"hash"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"
	"google.golang.org/grpc/status"

	"github.com/oexza/orisun/db"
)

// tokenEncoding accepts one spelling of a token only.
var tokenEncoding = base64.RawURLEncoding.Strict()

const (
	// claimsSize is the size of the key's number, the issue and the expiry in nanoseconds since 1970, and the user's
	// epoch, all big-endian.
	claimsSize = 4 + 8 + 8 + 8
	// sessionSize is the size of a session's number, big-endian.
	sessionSize = 8
	// maxToken bounds what is decoded. A user's id is 36 bytes, so that a token has 128 characters.
	maxToken = 512
)

// claims are the content of a token: base64url(key, issue, expiry, epoch, user's id, HMAC-SHA256 of all that). A token
// is valid if it has not expired, its key exists, and its user exists and has the same epoch. The epoch changes with
// the password and the roles. A token of a session of the console has a NUL and the session's number after the user's
// id. It is valid until the session ends.
type claims struct {
	key     int32
	issued  time.Time
	expiry  time.Time // at most ttl after its issue, also where ttl was longer then
	epoch   int64
	userID  string
	session int64 // 0 is no session
}

// keys caches the keyring, which is stored in the database.
type keys struct {
	ttl       time.Duration
	directory Directory
	latest    atomic.Pointer[keyring]
	reading   singleflight.Group
}

// keyring opens tokens under any of its keys, and issues them under one.
type keyring struct {
	ttl      time.Duration
	tokenKey int32 // the latest key's number in the state for which this was read
	signers  []*signer
}

// ring returns the keys that existed in a state.
func (k *keys) ring(ctx context.Context, tokenKey int32) (*keyring, error) {
	if latest := k.latest.Load(); latest != nil && latest.tokenKey == tokenKey {
		return latest, nil
	}
	answers := k.reading.DoChan("", func() (any, error) {
		ctx, cancel := context.WithTimeout(context.Background(), queryTimeout)
		defer cancel()
		rows, err := k.directory.Keys(ctx)
		if err != nil {
			return nil, err
		}
		latest := k.latest.Load().with(rows, k.ttl, tokenKey, time.Now())
		k.latest.Store(latest)
		return latest, nil
	})
	select {
	case answer := <-answers:
		latest, _ := answer.Val.(*keyring)
		return latest, answer.Err
	case <-ctx.Done():
		return nil, status.FromContextError(ctx.Err()).Err()
	}
}

// with returns a keyring of these keys, with the time since when this node has each.
func (r *keyring) with(rows []db.OrisunTokenKey, ttl time.Duration, tokenKey int32, now time.Time) *keyring {
	next := &keyring{ttl: ttl, tokenKey: tokenKey}
	for _, row := range rows {
		s := r.signer(row.Number)
		if s == nil {
			s = &signer{newSecret(row.Key), row.Number, now}
		}
		next.signers = append(next.signers, s)
	}
	return next
}

func (r *keyring) signer(number int32) *signer {
	if r == nil {
		return nil
	}
	for _, s := range r.signers {
		if s.number == number {
			return s
		}
	}
	return nil
}

// current is the key to sign with: the latest one that all nodes have. All nodes have a key once this node has had it
// for Trust. If there is no such key, current is the earliest one.
func (r *keyring) current(now time.Time) *signer {
	for i := len(r.signers) - 1; i > 0; i-- {
		if now.Sub(r.signers[i].since) >= Trust {
			return r.signers[i]
		}
	}
	return r.signers[0]
}

// issued is the token that a user got last.
type issued struct {
	token  string
	signer *signer
	expiry time.Time
}

// issue returns a token that is valid for ttl, or for up to a hundredth of it less: for that long a user gets the same
// one again. A client that sends a password with every call then costs no signature, and HTTP/2 sends its answers'
// header as one byte.
func (r *keyring) issue(to *user, now time.Time) string {
	s := r.current(now)
	if last := to.issued.Load(); last != nil && last.signer == s && last.expiry.Sub(now) >= r.ttl-r.ttl/100 {
		return last.token
	}
	expiry := now.Add(r.ttl)
	token := s.token(claims{issued: now, expiry: expiry, epoch: to.login.Epoch, userID: to.login.UserID})
	next := &issued{token, s, expiry}
	to.issued.Store(next)
	return next.token
}

// renew returns a token like the claimed one, which is valid for ttl.
func (r *keyring) renew(claimed claims, to *user, now time.Time) string {
	if claimed.session == 0 {
		return r.issue(to, now)
	}
	claimed.issued, claimed.expiry = now, now.Add(r.ttl)
	return r.current(now).token(claimed)
}

// open returns a token's claims; false if it was not issued by this server or has expired.
func (r *keyring) open(token string, now time.Time) (claims, bool) {
	if size := tokenEncoding.DecodedLen(len(token)); size < claimsSize+sha256.Size || size > maxToken {
		return claims{}, false
	}
	decoded, err := tokenEncoding.DecodeString(token)
	if err != nil {
		return claims{}, false
	}
	signed, signature := decoded[:len(decoded)-sha256.Size], decoded[len(decoded)-sha256.Size:]
	claimed := claims{
		key:    int32(binary.BigEndian.Uint32(signed)),
		issued: time.Unix(0, int64(binary.BigEndian.Uint64(signed[4:]))),
		expiry: time.Unix(0, int64(binary.BigEndian.Uint64(signed[12:]))),
		epoch:  int64(binary.BigEndian.Uint64(signed[20:])),
	}
	if latest := claimed.issued.Add(r.ttl); latest.Before(claimed.expiry) {
		claimed.expiry = latest
	}
	userID, session, _ := bytes.Cut(signed[claimsSize:], []byte{0})
	claimed.userID = string(userID)
	if len(session) == sessionSize {
		claimed.session = int64(binary.BigEndian.Uint64(session))
	}
	s := r.signer(claimed.key)
	if s == nil {
		return claims{}, false
	}
	var want [sha256.Size]byte
	if !hmac.Equal(signature, s.sign(want[:0], signed)) {
		return claims{}, false
	}
	return claimed, now.Before(claimed.expiry)
}

// fresh returns whether a token has at least half of its life left and is signed with the current key.
func (r *keyring) fresh(claimed claims, now time.Time) bool {
	return claimed.expiry.Sub(now) >= r.ttl/2 && claimed.key == r.current(now).number
}

// signer signs with one key of the keyring.
type signer struct {
	*secret
	number int32
	since  time.Time // when this node read the key first
}

// token encodes and signs claims.
func (s *signer) token(c claims) string {
	token := make([]byte, 0, claimsSize+len(c.userID)+1+sessionSize+sha256.Size)
	token = binary.BigEndian.AppendUint32(token, uint32(s.number))
	token = binary.BigEndian.AppendUint64(token, uint64(c.issued.UnixNano()))
	token = binary.BigEndian.AppendUint64(token, uint64(c.expiry.UnixNano()))
	token = binary.BigEndian.AppendUint64(token, uint64(c.epoch))
	token = append(token, c.userID...)
	if c.session != 0 {
		token = binary.BigEndian.AppendUint64(append(token, 0), uint64(c.session))
	}
	return tokenEncoding.EncodeToString(s.sign(token, token))
}

// secret is a key of HMAC-SHA256.
type secret struct {
	macs sync.Pool // of hash.Hash: making one costs more than using it
}

func newSecret(key []byte) *secret {
	return &secret{sync.Pool{New: func() any { return hmac.New(sha256.New, key) }}}
}

// sign appends the signature of signed to buffer.
func (s *secret) sign(buffer, signed []byte) []byte {
	mac := s.macs.Get().(hash.Hash)
	defer s.macs.Put(mac)
	mac.Reset()
	mac.Write(signed) // a hash.Hash never returns an error
	return mac.Sum(buffer)
}
