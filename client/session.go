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

// credential is the header that authenticates a call; without one, the client certificate does.
type credential struct{ header, value string }

func (c credential) attach(ctx context.Context) context.Context {
	if c.header == "" {
		return ctx
	}
	return metadata.AppendToOutgoingContext(ctx, c.header, c.value)
}

// credential is the token or, where there is none, the password. The first call gets a token by logIn.
func (s *session) credential(ctx context.Context, logIn func(credential) error) (credential, error) {
	if token := s.token.Load(); token != nil {
		return credential{tokenHeader, *token}, nil
	}
	if s.basic == "" {
		return credential{}, nil
	}
	password := credential{authorizationHeader, s.basic}
	if s.tokenless.Load() {
		return password, nil
	}
	select {
	case s.loggingIn <- struct{}{}:
	case <-ctx.Done():
		return credential{}, ctx.Err()
	}
	defer func() { <-s.loggingIn }()
	if s.token.Load() == nil && !s.tokenless.Load() {
		if err := logIn(password); err != nil {
			return credential{}, err
		}
	}
	if token := s.token.Load(); token != nil {
		return credential{tokenHeader, *token}, nil
	}
	s.tokenless.Store(true)
	return password, nil
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

// forget drops a token that the server refused. It returns false for a password: that stays refused.
func (s *session) forget(refused credential) bool {
	if refused.header != tokenHeader {
		return false
	}
	if token := s.token.Load(); token != nil && *token == refused.value {
		s.token.CompareAndSwap(token, nil)
	}
	return true
}
