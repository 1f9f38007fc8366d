package server

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// unacknowledgedLimit is how long sent data may stay unacknowledged. The kernel sends no keep-alives while data is
// unacknowledged, and would retry for a quarter of an hour.
const unacknowledgedLimit = 10 * time.Second

// limitUnacknowledged is a net.Dialer's Control.
func limitUnacknowledged(network, _ string, conn syscall.RawConn) error {
	if network == "unix" {
		return nil
	}
	var refused error
	err := conn.Control(func(fd uintptr) {
		refused = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT,
			int(unacknowledgedLimit.Milliseconds()))
	})
	if err != nil {
		return err
	}
	return refused
}
