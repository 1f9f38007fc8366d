//go:build unix

package postgres

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"
)

// immediateGrace is how long PostgreSQL has to end after SIGQUIT before SIGKILL. PostgreSQL gives its own children 5
// s.
const immediateGrace = 10 * time.Second

// process is PostgreSQL's postmaster.
type process struct {
	cmd       *exec.Cmd
	requested atomic.Bool   // its end was requested before it ended
	done      chan struct{} // closed when it has ended
	exit      error         // what it ended with, to be read after done
}

// spawn starts cmd from a goroutine that holds its thread until the child has ended. Linux sends
// SysProcAttr.Pdeathsig when the thread that started the child ends, even if the process lives on.
func spawn(cmd *exec.Cmd) (*process, error) {
	p := &process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		p.exit = cmd.Wait()
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	return p, nil
}

// end requests the process to end, with stronger signals over time, and reports whether it has ended. An error beside
// true says that the time was too short for a fast shutdown.
func (p *process) end(ctx context.Context) (ended bool, err error) {
	select {
	case <-p.done:
		return true, nil
	default:
	}
	p.requested.Store(true)
	if err := p.signal(syscall.SIGINT); err != nil {
		return false, err
	}
	select {
	case <-p.done:
		return true, nil
	case <-ctx.Done():
	}
	if err := p.signal(syscall.SIGQUIT); err != nil {
		return false, err
	}
	timeout := time.NewTimer(immediateGrace)
	defer timeout.Stop()
	select {
	case <-p.done:
	case <-timeout.C:
		if err := p.signal(syscall.SIGKILL); err != nil {
			return false, err
		}
		<-p.done
	}
	return true, fmt.Errorf("PostgreSQL had no time for a fast shutdown, its next start replays the log: %w",
		context.Cause(ctx))
}

// signal reaches the process or finds it ended. Go does not signal a process it has waited for, so the signal cannot
// reach another process that got the same id.
func (p *process) signal(sig syscall.Signal) error {
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("send %v to PostgreSQL (pid %d): %w", sig, p.cmd.Process.Pid, err)
	}
	return nil
}
