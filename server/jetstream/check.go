package jetstream

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// errGivenUp says that JetStream switched itself off. A node of a cluster does so permanently when its disk is full.
var errGivenUp = errors.New("JetStream has switched itself off, as it does when its disk is full: make room, and " +
	"start this node again")

// probeBytes is the size of a file that occupies space on every disk.
const probeBytes = 4 << 10

// Check returns why this server does not store messages: JetStream switched itself off, or its directory cannot be
// written.
func (s *Server) Check() error {
	if !s.nats.JetStreamEnabled() {
		return errGivenUp
	}
	probe := filepath.Join(s.dir, "orisun.probe")
	err := os.WriteFile(probe, make([]byte, probeBytes), 0o600)
	if removed := os.Remove(probe); err == nil {
		err = removed
	}
	if err != nil {
		return fmt.Errorf("the store directory (ORISUN_NATS_STORE_DIR) cannot be written: %w", err)
	}
	return nil
}

// Missing names the nodes of the cluster to which this node has no connection. nil means none.
func (s *Server) Missing() error {
	if s.peers == nil {
		return nil
	}
	return s.peers.err()
}

// Peers are the names of the other nodes that this one has met since its start: those that are connected to it, and
// those that are away, with the time of disconnection. A node that is away for 24 hours is forgotten.
func (s *Server) Peers() (connected []string, away map[string]time.Time) {
	if s.peers == nil {
		return nil, nil
	}
	return s.peers.names()
}

// Leads reports whether this server leads JetStream. Without a cluster it does.
func (s *Server) Leads() bool { return !s.nats.JetStreamIsClustered() || s.nats.JetStreamIsLeader() }

// LeadsStream reports whether this server leads a stream. Without a cluster it leads all.
func (s *Server) LeadsStream(name string) bool {
	return !s.nats.JetStreamIsClustered() || s.nats.JetStreamIsStreamLeader(server.DEFAULT_GLOBAL_ACCOUNT, name)
}

// Stored is how many bytes and messages this server's streams have on disk.
func (s *Server) Stored() (bytes, messages uint64, err error) {
	info, err := s.nats.Jsz(nil)
	if err != nil {
		return 0, 0, fmt.Errorf("NATS: %w", err)
	}
	return info.Store, info.Messages, nil
}
