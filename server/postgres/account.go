//go:build unix

package postgres

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// account is the system account that PostgreSQL runs as. The zero account is our own.
type account struct {
	name       string
	credential *syscall.Credential // nil: our own
	ambient    []uintptr           // capabilities that give access through closed directories
}

// chooseAccount returns our own account unless that is root, which PostgreSQL rejects.
func (s *Server) chooseAccount(ctx context.Context) ([]any, error) {
	if os.Geteuid() != 0 {
		return []any{"account", "our own"}, nil
	}
	var err error
	if s.account, err = unprivileged(s.cluster()); err != nil {
		return nil, err
	}
	postgres := filepath.Join(s.bin.dir, "postgres")
	if out, err := s.account.command(ctx, postgres, "--version").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("we are root, PostgreSQL runs as %s, and this account cannot run %s (%w %s): open the "+
			"directories above it "+
			"(chmod a+rx), or name others in ORISUN_PG_BIN_DIR", s.account.name, postgres, err, out)
	}
	if s.account.ambient, err = s.account.way(ctx, s.dir); err != nil {
		return nil, err
	}
	if s.account.ambient != nil {
		s.log.Warn("PostgreSQL: a directory above the data directory is closed to its account, so it runs with a "+
			"capability that lets it read "+
			"any file; chmod a+x that directory to do without", "dir", s.dir, "account", s.account.name,
			"capabilities", s.account.ambient)
	}
	return []any{"account", s.account.name}, nil
}

// unprivileged is the owner of the cluster, else "postgres", else "nobody".
func unprivileged(cluster string) (account, error) {
	var stat syscall.Stat_t
	err := syscall.Stat(cluster, &stat)
	if err == nil {
		if stat.Uid == 0 {
			return account{}, fmt.Errorf("%s belongs to root, and PostgreSQL does not run as root: chown -R it to the account "+
				"that made it", cluster)
		}
		return account{
			name:       fmt.Sprintf("uid %d", stat.Uid),
			credential: &syscall.Credential{Uid: stat.Uid, Gid: stat.Gid},
		}, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return account{}, fmt.Errorf("find the owner of %s: %w", cluster, err)
	}
	for _, name := range []string{"postgres", "nobody"} {
		if entry, err := user.Lookup(name); err == nil {
			return accountOf(entry)
		}
	}
	return account{}, errors.New(`PostgreSQL does not run as root, and there is neither an account "postgres" nor ` +
		`"nobody": make one, or run as another user`)
}

func accountOf(entry *user.User) (account, error) {
	uid, err := strconv.ParseUint(entry.Uid, 10, 32)
	if err != nil {
		return account{}, fmt.Errorf("uid of %s: %w", entry.Username, err)
	}
	gid, err := strconv.ParseUint(entry.Gid, 10, 32)
	if err != nil {
		return account{}, fmt.Errorf("gid of %s: %w", entry.Username, err)
	}
	return account{name: entry.Username, credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}, nil
}

// way finds the capabilities with which the account reaches dir: none where the directories above are open, else the
// weakest of those that the system has. It tries the access, since file modes alone do not cover access lists and
// containers.
func (a account) way(ctx context.Context, dir string) ([]uintptr, error) {
	var last error
	for _, ambient := range append([][]uintptr{nil}, passing...) {
		a.ambient = ambient
		if last = a.command(ctx, "/bin/sh", "-c", `cd "$0"`, dir).Run(); last == nil {
			return ambient, nil
		}
	}
	return nil, fmt.Errorf("we are root, PostgreSQL runs as %s, and this account cannot enter %s (%w): open the "+
		"directories above it "+
		"(chmod a+x), or use another data directory", a.name, dir, last)
}

// own makes the account the owner of a file or directory that we created.
func (a account) own(path string) error {
	if a.credential == nil {
		return nil
	}
	return os.Lchown(path, int(a.credential.Uid), int(a.credential.Gid))
}

// command is one of PostgreSQL's programs, run by the account. Its working directory is one that every account may
// enter.
func (a account) command(ctx context.Context, path string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir = "/"
	cmd.Env = environment(os.Environ())
	cmd.SysProcAttr = a.sysProcAttr()
	return cmd
}

// environment removes variables that would change PostgreSQL's behaviour outside the configuration: PGPORT, PGDATA,
// PGOPTIONS, a locale that is not installed.
func environment(ours []string) []string {
	var theirs []string
	for _, variable := range ours {
		if !strings.HasPrefix(variable, "PG") && !strings.HasPrefix(variable, "LC_") && !strings.HasPrefix(variable, "LANG") {
			theirs = append(theirs, variable)
		}
	}
	return theirs
}
