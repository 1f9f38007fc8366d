package pgsession

import (
	"errors"
	"io"
	"net"

	"github.com/jackc/pgx/v5/pgconn"
)

// IsInterrupted reports whether the network or PostgreSQL's end cut a statement or an attempt to connect, or only a
// standby was reached. PostgreSQL's own answers are not among them.
func IsInterrupted(err error) bool {
	var network net.Error
	return errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, net.ErrClosed) ||
		errors.Is(err, pgconn.ErrReadOnlyConnection) || errors.Is(err, pgconn.ErrStandbyConnection) || pgconn.SafeToRetry(err)
}
