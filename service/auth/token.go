package auth

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"hash"
	"sync"
	"time"
)

// tokenEncoding accepts one spelling of a token only.
var tokenEncoding = base64.RawURLEncoding.Strict()

const (
	expirySize = 8 // the nanoseconds since 1970 as a big-endian integer
	maxToken   = expirySize + maxUsername + sha256.Size
)

// tokens issues and opens tokens: base64url(expiry, username, HMAC-SHA256 of both).
type tokens struct {
	ttl  time.Duration
	macs sync.Pool // of hash.Hash: making one costs more than using it
}

func newTokens(ttl time.Duration, key []byte) *tokens {
	key = append([]byte(nil), key...)
	return &tokens{ttl: ttl, macs: sync.Pool{New: func() any { return hmac.New(sha256.New, key) }}}
}

// issue returns a token that is valid for ttl.
func (t *tokens) issue(username string, now time.Time) string {
	token := make([]byte, 0, maxToken)
	token = binary.BigEndian.AppendUint64(token, uint64(now.Add(t.ttl).UnixNano()))
	token = append(token, username...)
	return tokenEncoding.EncodeToString(t.sign(token, token))
}

// open returns whom a token names and when it expires; false when it is not one of ours or expired.
func (t *tokens) open(token string, now time.Time) (username string, expiry time.Time, ok bool) {
	if tokenEncoding.DecodedLen(len(token)) > maxToken {
		return "", time.Time{}, false
	}
	decoded, err := tokenEncoding.DecodeString(token)
	if err != nil || len(decoded) < expirySize+sha256.Size {
		return "", time.Time{}, false
	}
	signed, signature := decoded[:len(decoded)-sha256.Size], decoded[len(decoded)-sha256.Size:]
	var want [sha256.Size]byte
	if !hmac.Equal(signature, t.sign(want[:0], signed)) {
		return "", time.Time{}, false
	}
	expiry = time.Unix(0, int64(binary.BigEndian.Uint64(signed)))
	return string(signed[expirySize:]), expiry, now.Before(expiry)
}

// fresh tells whether a token that expires then still has half of its life before it.
func (t *tokens) fresh(expiry, now time.Time) bool {
	return expiry.Sub(now) >= t.ttl/2
}

// sign appends the signature of signed to buffer.
func (t *tokens) sign(buffer, signed []byte) []byte {
	mac := t.macs.Get().(hash.Hash)
	defer t.macs.Put(mac)
	mac.Reset()
	mac.Write(signed) // a hash.Hash never returns an error
	return mac.Sum(buffer)
}
