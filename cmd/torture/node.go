package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"

	orisunpb "github.com/oexza/orisun/proto"
)

// startLimit is how long a node may take to serve on a busy machine, endLimit to end after a signal.
const (
	startLimit = 90 * time.Second
	endLimit   = 60 * time.Second
)

// node is one server process. Its ports do not change when it is restarted.
type node struct {
	name     string
	binary   string
	dir      string
	grpcPort int
	natsPort int
	env      []string

	conn          *grpc.ClientConn
	store         orisunpb.EventStoreClient
	subscriptions orisunpb.SubscriptionsClient
	continued     atomic.Int64 // when it last went on after SIGSTOP, in Unix nanoseconds

	faults sync.Mutex // one fault at a time
	cmd    *exec.Cmd
	log    *os.File
	exited chan error
}

func (n *node) storeDir() string { return n.dir + "/nats" }

// dial creates the client connection, which outlives the process and finds the next one.
func (n *node) dial() error {
	conn, err := grpc.NewClient("127.0.0.1:"+strconv.Itoa(n.grpcPort),
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithPerRPCCredentials(basic{}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 2 * time.Second}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{
				BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, MaxDelay: 500 * time.Millisecond,
			},
			MinConnectTimeout: 2 * time.Second,
		}))
	if err != nil {
		return err
	}
	n.conn, n.store, n.subscriptions = conn, orisunpb.NewEventStoreClient(conn), orisunpb.NewSubscriptionsClient(conn)
	return nil
}

// start starts the process. awaitServing waits for it.
func (n *node) start() error {
	log, err := os.OpenFile(n.dir+"/log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(context.Background(), n.binary)
	cmd.Env, cmd.Dir, cmd.Stderr, cmd.Stdout = n.env, n.dir, log, log
	// A process that is killed with us must not live on, as it would never be stopped.
	cmd.SysProcAttr = diesWithUs()
	if err := cmd.Start(); err != nil {
		return errors.Join(err, log.Close())
	}
	n.cmd, n.log, n.exited = cmd, log, make(chan error, 1)
	go func() { n.exited <- cmd.Wait() }()
	return nil
}

func (n *node) awaitServing(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	for ctx.Err() == nil {
		answer, err := healthpb.NewHealthClient(n.conn).Check(ctx, &healthpb.HealthCheckRequest{}, grpc.WaitForReady(true))
		if err == nil && answer.GetStatus() == healthpb.HealthCheckResponse_SERVING {
			return nil
		}
		select {
		case err := <-n.exited:
			n.exited <- err
			if err == nil {
				err = errors.New("exit code 0")
			}
			return fmt.Errorf("%s ended before it served: %w; see %s/log", n.name, err, n.dir)
		case <-time.After(50 * time.Millisecond):
		}
	}
	return fmt.Errorf("%s does not serve: %w; see %s/log", n.name, context.Cause(ctx), n.dir)
}

func (n *node) signal(signal syscall.Signal) error {
	if n.cmd == nil {
		return nil
	}
	if signal == syscall.SIGCONT {
		n.continued.Store(time.Now().UnixNano())
	}
	return n.cmd.Process.Signal(signal)
}

// stoppedAt is when the process last went on after SIGSTOP.
func (n *node) stoppedAt() time.Time { return time.Unix(0, n.continued.Load()) }

// end ends the process by a signal and waits for it. SIGTERM must end it well.
func (n *node) end(signal syscall.Signal) error {
	if n.cmd == nil {
		return nil
	}
	var err error
	select {
	case exited := <-n.exited:
		err = errors.Join(fmt.Errorf("%s ended by itself; see %s/log", n.name, n.dir), exited)
	default:
		err = n.endBy(signal)
	}
	n.cmd = nil
	return errors.Join(err, n.log.Close())
}

// kill ends the process, whatever its state, if it has not ended already.
func (n *node) kill() error {
	if n.cmd == nil {
		return nil
	}
	err := n.endBy(syscall.SIGKILL)
	n.cmd = nil
	return errors.Join(err, n.log.Close())
}

func (n *node) endBy(signal syscall.Signal) error {
	if err := n.signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case err := <-n.exited:
		if err != nil && signal != syscall.SIGKILL {
			return fmt.Errorf("end %s by %v: %w; see %s/log", n.name, signal, err, n.dir)
		}
		return nil
	case <-time.After(endLimit):
		return errors.Join(fmt.Errorf("%s does not end by %v; see %s/log", n.name, signal, n.dir), n.cmd.Process.Kill(),
			<-n.exited)
	}
}

// basic sends the default credentials with every call.
type basic struct{}

func (basic) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Basic YWRtaW46Y2hhbmdlaXQ="}, nil
}

func (basic) RequireTransportSecurity() bool { return false }
