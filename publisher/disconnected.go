package publisher

import (
	"context"
	"errors"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/oexza/orisun/db/pgsession"
)

// IsDisconnected reports whether an error says that PostgreSQL is away, and not that it refuses a statement. Leases
// logs once that it is, and when it is back.
func IsDisconnected(err error) bool {
	var refused *pgconn.PgError
	if errors.As(err, &refused) {
		// shutdown, crash, recovery; connection exceptions
		return strings.HasPrefix(refused.Code, "57P") || strings.HasPrefix(refused.Code, "08")
	}
	var connect *pgconn.ConnectError
	// A statement that takes too long is no sign of it.
	return errors.Is(err, ErrLost) || errors.As(err, &connect) ||
		pgsession.IsInterrupted(err) && !errors.Is(err, context.DeadlineExceeded)
}
