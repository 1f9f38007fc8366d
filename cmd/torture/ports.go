package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync/atomic"
)

// Ports are below those that the system gives to outgoing connections, so that a restarted node finds its own ports
// free.
const (
	firstPort = 10_000
	lastPort  = 32_000
)

var portsTaken atomic.Int64

// freePorts returns ports that are free and that no other call returned. Processes begin at different ports.
func freePorts(ctx context.Context, count int) (ports []int, err error) {
	start := int64(os.Getpid()) * 97
	for range lastPort - firstPort {
		port := firstPort + int((start+portsTaken.Add(1))%(lastPort-firstPort))
		listener, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			continue
		}
		if err := listener.Close(); err != nil {
			return nil, err
		}
		if ports = append(ports, port); len(ports) == count {
			return ports, nil
		}
	}
	return nil, errors.Join(ctx.Err(), fmt.Errorf("not %d ports from %d to %d are free", count, firstPort, lastPort))
}
