package jetstream

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// errGivenUp says that JetStream switched itself off, which a node of a cluster does for good when its disk is full.
var errGivenUp = errors.New("JetStream has switched itself off, as it does when its disk is full: make room, and start this node again")

// probeBytes is what a file takes on every disk.
const probeBytes = 4 << 10

// Check tells why this server does not store messages: JetStream gave up, or its directory cannot be written.
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
