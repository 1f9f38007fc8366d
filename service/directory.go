package service

import (
	"context"
	"errors"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/oexza/orisun/db"
)

// Directory finds users for an auth.Authenticator, in a projection of the events of the admin boundary.
type Directory struct {
	pool     *pgxpool.Pool
	boundary string
	queries  *db.Queries
}

// NewDirectory returns the directory of a boundary. Slow queries must not share its pool, because all calls would wait
// for them.
func NewDirectory(pool *pgxpool.Pool, boundary string) *Directory {
	return &Directory{pool: pool, boundary: boundary, queries: db.New()}
}

// State returns a value that changes whenever anything that was read before may be old.
func (d *Directory) State(ctx context.Context) (db.OrisunAuthState, error) {
	state, err := d.queries.GetAuthState(ctx, d.pool, d.boundary)
	return state, toStatus(ctx, err)
}

// Keys returns the keys under which tokens are valid, the latest one last.
func (d *Directory) Keys(ctx context.Context) ([]db.OrisunTokenKey, error) {
	keys, err := d.queries.GetTokenKeys(ctx, d.pool)
	return keys, toStatus(ctx, err)
}

// maxEndedSessions is how many ended sessions of a user are stored at most.
const maxEndedSessions = 1000

// EndSession stores that a session of a user has ended. The error is RESOURCE_EXHAUSTED beyond maxEndedSessions.
func (d *Directory) EndSession(ctx context.Context, userID string, session int64, expiresIn time.Duration) error {
	return toStatus(ctx, d.queries.EndSession(ctx, d.pool, db.EndSessionParams{
		Boundary: d.boundary, UserID: userID, Session: session, ExpiresInSeconds: expiresIn.Seconds(),
		SessionLimit: maxEndedSessions,
	}))
}

// Login returns the user with this id or, if that is empty, with this username; nil if there is none. PostgreSQL is not
// queried for a username that it cannot store or that is too long for any user. It would refuse and log each such
// query, so a stranger could fill its log.
func (d *Directory) Login(ctx context.Context, userID, username string) (*db.OrisunLogin, error) {
	if userID == "" && (len(username) > maxNameBytes || !utf8.ValidString(username) ||
		strings.Contains(username, "\x00")) {
		return nil, nil
	}
	params := db.FindLoginParams{Boundary: d.boundary, UserID: &userID}
	if userID == "" {
		params.UserID, params.Username = nil, &username
	}
	login, err := d.queries.FindLogin(ctx, d.pool, params)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, toStatus(ctx, err)
	}
	return &login, nil
}
