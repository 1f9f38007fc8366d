package main

import (
	"io"
	"net"
	"sync"
	"testing"
)

// forward passes what a listener accepts on to another address, until the listener is closed; wait returns when all of
// it has ended.
func forward(t *testing.T, listener net.Listener, to string) (wait func()) {
	t.Helper()
	var running sync.WaitGroup
	running.Go(func() {
		for {
			in, err := listener.Accept()
			if err != nil {
				return
			}
			out, err := new(net.Dialer).DialContext(t.Context(), "tcp", to)
			if err != nil {
				t.Error(err)
				return
			}
			for from, into := range map[net.Conn]net.Conn{in: out, out: in} {
				running.Go(func() {
					// Either end may break off; then both are done.
					if _, err := io.Copy(into, from); err != nil {
						t.Log(err)
					}
					if err := into.Close(); err != nil {
						t.Log(err)
					}
				})
			}
		}
	})
	return running.Wait
}
