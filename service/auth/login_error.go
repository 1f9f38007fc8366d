package auth

import (
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// maxLoggedName is the most bytes of a username from a client that are logged.
const maxLoggedName = 256

// loginError is the error of a failed login, with the username that the client sent. The client gets only the status.
type loginError struct {
	error
	username string
}

// ofUser adds the claimed user to the error of a login that was refused.
func ofUser(err error, username string) error {
	switch status.Code(err) {
	case codes.Unauthenticated, codes.ResourceExhausted:
		if len(username) > maxLoggedName {
			username = username[:maxLoggedName] + "…"
		}
		return loginError{err, strings.ToValidUTF8(username, "?")}
	default:
		return err
	}
}

// GRPCStatus is what the caller gets.
func (e loginError) GRPCStatus() *status.Status { return status.Convert(e.error) }

// ClaimedUser is the username that was sent, for the log.
func (e loginError) ClaimedUser() string { return e.username }
