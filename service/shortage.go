package service

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/jackc/pgx/v5/pgconn"
)

// shortage is the resources that PostgreSQL lacks to store saves: room on its disk, memory, connections. Saves wait
// meanwhile, and clients that stop waiting get no reason. So the log has one line when a shortage begins and one when
// it ends, for each boundary.
type shortage struct {
	log *slog.Logger

	short      atomic.Bool // whether there are reasons; without them, a save that succeeds takes no lock
	mu         sync.Mutex
	boundaries map[string]error // the reasons, by boundary
}

// insufficientResources is the class of SQLSTATEs for a shortage.
const insufficientResources = "53"

// flushed records the result of a boundary's flush.
func (s *shortage) flushed(boundary string, err error) {
	var refused *pgconn.PgError
	switch {
	case errors.As(err, &refused) && strings.HasPrefix(refused.Code, insufficientResources):
		s.begins(boundary, refused)
	case err == nil && s.short.Load():
		s.ends(boundary)
	}
}

func (s *shortage) begins(boundary string, why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.boundaries[boundary] == nil {
		s.log.Warn("saves wait: PostgreSQL has no room for them; trying again", "boundary", boundary, "error", why)
	}
	if s.boundaries == nil {
		s.boundaries = make(map[string]error)
	}
	s.boundaries[boundary] = why
	s.short.Store(true)
}

func (s *shortage) ends(boundary string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.boundaries[boundary] != nil {
		s.log.Info("saves are stored again", "boundary", boundary)
	}
	delete(s.boundaries, boundary)
	s.short.Store(len(s.boundaries) > 0)
}

func (s *shortage) err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.boundaries) == 0 {
		return nil
	}
	var all []string
	for _, boundary := range slices.Sorted(maps.Keys(s.boundaries)) {
		all = append(all, fmt.Sprintf("boundary %s: %v", boundary, s.boundaries[boundary]))
	}
	return errors.New("the last save was refused: " + strings.Join(all, "; "))
}
