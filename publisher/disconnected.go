package publisher

import (
	"errors"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// IsDisconnected reports whether an error says that PostgreSQL is away, and not that it refuses a statement. Leases logs once that it is, and when it is back.
func IsDisconnected(err error) bool {
	var refused *pgconn.PgError
	if errors.As(err, &refused) {
		return strings.HasPrefix(refused.Code, "57P") || strings.HasPrefix(refused.Code, "08") // shutdown, crash, recovery; connection exceptions
	}
	var connect *pgconn.ConnectError
	var network *net.OpError
	return errors.Is(err, ErrLost) || errors.As(err, &connect) || errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, net.ErrClosed) || pgconn.SafeToRetry(err)
}
