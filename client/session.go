package client

import (
	"context"
	"encoding/base64"
	"sync/atomic"

	"google.golang.org/grpc/metadata"
)

const (
	tokenHeader         = "x-auth-token"
	authorizationHeader = "authorization"
)

// session holds the token that the server returned last. The password is sent for the first call, by which the others
// wait, and when the server does not accept the token any more.
type session struct {
	basic string // "" without a user: the client certificate is all
	token atomic.Pointer[string]
	// tokenless: the server returns no tokens, so that each call sends the password.
	tokenless atomic.Bool
	loggingIn chan struct{} // a mutex that a context can end waiting for
}

func newSession(user, password string) *session {
	s := &session{loggingIn: make(chan struct{}, 1)}
	if user != "" {
		s.basic = "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
	}
	return s
}

// credential is the header that a call sends; token is "" where that is no token.
func (s *session) credential(
	ctx context.Context,
	logIn func(key, value string) error,
) (key, value, token string, err error) {
	if current := s.token.Load(); current != nil {
		return tokenHeader, *current, *current, nil
	}
	if s.basic == "" {
		return "", "", "", nil
	}
	if s.tokenless.Load() {
		return authorizationHeader, s.basic, "", nil
	}
	select {
	case s.loggingIn <- struct{}{}:
	case <-ctx.Done():
		return "", "", "", ctx.Err()
	}
	defer func() { <-s.loggingIn }()
	if s.token.Load() == nil && !s.tokenless.Load() {
		if err := logIn(authorizationHeader, s.basic); err != nil {
			return "", "", "", err
		}
	}
	if current := s.token.Load(); current != nil {
		return tokenHeader, *current, *current, nil
	}
	s.tokenless.Store(true)
	return authorizationHeader, s.basic, "", nil
}

// renew takes the token of an answer.
func (s *session) renew(header metadata.MD) {
	values := header.Get(tokenHeader)
	if len(values) == 0 || values[0] == "" {
		return
	}
	if current := s.token.Load(); current == nil || *current != values[0] {
		s.token.Store(&values[0])
	}
}

// forget drops a token that the server does not accept, and says whether the call may be made again without it.
func (s *session) forget(token string) bool {
	if token == "" {
		return false
	}
	if current := s.token.Load(); current != nil && *current == token {
		s.token.CompareAndSwap(current, nil)
	}
	return true
}
