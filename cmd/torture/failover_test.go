package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// standby is a streaming replica of a cluster's PostgreSQL.
type standby struct {
	dir, bin string
	port     int
	env      []string
	account  *syscall.SysProcAttr
}

// newStandby copies the primary and follows it. Commits wait for it, so that its promotion loses none.
func newStandby(t *testing.T, c *cluster) *standby {
	t.Helper()
	postmaster, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", c.pg.PID()))
	if err != nil {
		t.Fatal(err)
	}
	ports, err := freePorts(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	s := &standby{
		dir: filepath.Join(c.dir, "standby"), bin: filepath.Dir(postmaster), port: ports[0], account: &syscall.SysProcAttr{},
		env: []string{"PGPASSWORD=" + password, "PATH=" + os.Getenv("PATH"), "LC_ALL=C"},
	}
	if err := os.Mkdir(s.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 { // PostgreSQL refuses root
		who, err := user.Lookup("postgres")
		if err != nil {
			t.Fatal(err)
		}
		uid, _ := strconv.Atoi(who.Uid)
		gid, _ := strconv.Atoi(who.Gid)
		s.account.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		if err := os.Chown(s.dir, uid, gid); err != nil {
			t.Fatal(err)
		}
		for dir := c.dir; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) { // t.TempDir is closed to others
			if err := os.Chmod(dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	s.run(t, "pg_basebackup", "-D", s.dir+"/data", "-h", "127.0.0.1", "-p", strconv.Itoa(c.pgPort), "-U", "postgres", "-R",
		"-X", "stream", "-c", "fast")
	s.run(t, "pg_ctl", "-D", s.dir+"/data", "-l", s.dir+"/log", "-w", "-o",
		fmt.Sprintf("-c listen_addresses=127.0.0.1 -c port=%d -c unix_socket_directories=%s -c max_connections=200 -c "+
			"cluster_name=standby", s.port, s.dir), "start")
	t.Cleanup(func() { s.run(t, "pg_ctl", "-D", s.dir+"/data", "-m", "immediate", "-w", "stop") })
	for _, statement := range []string{"ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()"} {
		if _, err := c.admin.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	within(t, wait, "a synchronous standby", func() bool {
		var state string
		err := c.admin.QueryRow(t.Context(), "SELECT sync_state FROM pg_stat_replication").Scan(&state)
		return err == nil && state == "sync"
	})
	return s
}

func (s *standby) run(t *testing.T, program string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	output, err := os.CreateTemp(t.TempDir(), "output") // what pg_ctl starts would keep a pipe open
	if err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(ctx, filepath.Join(s.bin, program), args...)
	command.Env, command.Dir, command.SysProcAttr, command.Stdout, command.Stderr = s.env, "/", s.account, output, output
	if err := command.Run(); err != nil {
		said, _ := os.ReadFile(output.Name())
		t.Fatalf("%s: %v\n%s", program, err, said)
	}
}

// TestAStartWaitsForPostgreSQL starts a node whose connections to PostgreSQL are accepted, and cut at once.
func TestAStartWaitsForPostgreSQL(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.toPostgres[0].sever()
	n := c.nodes[0]
	if err := n.start(); err != nil {
		t.Fatal(err)
	}
	within(t, wait, "waiting", func() bool { return logs(t, n, "PostgreSQL does not answer yet; waiting") })
	c.toPostgres[0].heal()
	if err := n.awaitServing(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestAPromotedStandbyIsAPause kills the primary for good, under load, and promotes its standby; the nodes know both by
// ORISUN_PG_HOST.
func TestAPromotedStandbyIsAPause(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	replica := newStandby(t, c)
	// Two hosts and one port, as ORISUN_PG_PORT is for all of them.
	for i, n := range c.nodes {
		front := c.toPostgres[i]
		other, err := newProxyAt(t.Context(), fmt.Sprintf("127.0.0.2:%d", front.port()),
			fmt.Sprintf("127.0.0.1:%d", replica.port))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := other.close(); err != nil {
				t.Error(err)
			}
		})
		n.env = append(n.env, "ORISUN_PG_HOST=127.0.0.2,127.0.0.1") // the standby first: nothing may be asked of it
	}
	if err := c.serve(t.Context()); err != nil {
		t.Fatal(err)
	}
	s := &subscriber{}
	following, endFollowing := context.WithCancel(t.Context())
	var follower sync.WaitGroup
	follower.Go(func() { s.run(following, c, seeded(1, 1)) })
	defer follower.Wait()
	defer endFollowing()
	writing, stop := context.WithCancel(t.Context())
	var saved atomic.Int64
	var positions []int64 // of each save, in the order of the answers
	ended := make(chan time.Duration, 1)
	go func() {
		longest := time.Duration(0)
		for i := 0; writing.Err() == nil; i++ {
			start := time.Now()
			result, err := c.nodes[i%nodes].store.SaveEvents(t.Context(), unconditional("w"+strconv.Itoa(i)))
			if err != nil {
				t.Errorf("save %d: %v", i, err)
				break
			}
			positions = append(positions, result.GetLogPosition().GetGlobalId())
			saved.Add(1)
			longest = max(longest, time.Since(start))
		}
		ended <- longest
	}()
	within(t, wait, "saving", func() bool { return saved.Load() > 200 || t.Failed() })

	if err := syscall.Kill(c.pg.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	direct, err := pgxpool.New(t.Context(),
		fmt.Sprintf("host=127.0.0.1 port=%d user=postgres password=%s dbname=%s", replica.port, password, database))
	if err != nil {
		t.Fatal(err)
	}
	c.admin.Close()
	c.admin = direct
	var inRecovery bool
	if err := direct.QueryRow(t.Context(), "SELECT pg_is_in_recovery()").Scan(&inRecovery); err != nil || !inRecovery {
		t.Fatalf("the standby is in recovery: %t, %v", inRecovery, err)
	}
	// A new primary waits for no standby that it does not have.
	for _, statement := range []string{
		"SELECT pg_promote()", "ALTER SYSTEM SET synchronous_standby_names = ''", "SELECT pg_reload_conf()",
	} {
		if _, err := direct.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	goal := saved.Load() + 300
	within(t, wait, "saving again", func() bool { return saved.Load() > goal || t.Failed() })
	stop()
	t.Logf("the longest save took %s", <-ended)
	log, err := readLog(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	for i, at := range positions {
		if at >= int64(len(log)) || log[at].GetEventId() != "w"+strconv.Itoa(i) {
			t.Errorf("save %d was acknowledged at %d and is not there", i, at)
		}
	}
	for _, anomaly := range append(checkLog(log), s.check(t.Context(), log)...) {
		t.Error(anomaly)
	}
	wantStreamEqualsLog(t, c)
}
