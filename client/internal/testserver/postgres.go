//go:build unix

package testserver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// Postgres is a PostgreSQL of its own for several servers.
type Postgres struct {
	bin, dir   string
	port       int
	credential *syscall.Credential
}

// NewPostgres makes a cluster in a folder and starts it on a port.
func NewPostgres(dir string, port int) (*Postgres, error) {
	p := &Postgres{bin: os.Getenv("ORISUN_PG_BIN_DIR"), dir: dir, port: port}
	if p.bin == "" {
		found, err := filepath.Glob("/usr/lib/postgresql/*/bin")
		if err != nil || len(found) == 0 {
			return nil, errors.Join(err, errors.New("no PostgreSQL in /usr/lib/postgresql: set ORISUN_PG_BIN_DIR"))
		}
		p.bin = found[len(found)-1]
	}
	if os.Getuid() == 0 { // PostgreSQL refuses root
		account, err := user.Lookup("postgres")
		if err != nil {
			return nil, err
		}
		uid, err := strconv.Atoi(account.Uid)
		if err != nil {
			return nil, err
		}
		gid, err := strconv.Atoi(account.Gid)
		if err != nil {
			return nil, err
		}
		p.credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		if err := os.Chown(dir, uid, gid); err != nil {
			return nil, err
		}
	}
	if err := p.run("initdb", "-D", dir+"/pg", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C"); err != nil {
		return nil, err
	}
	return p, p.Start()
}

// Start starts it and returns when it answers.
func (p *Postgres) Start() error {
	options := fmt.Sprintf("-p %d -c listen_addresses=127.0.0.1 -c unix_socket_directories=%s", p.port, p.dir)
	return p.run("pg_ctl", "-w", "-D", p.dir+"/pg", "-l", p.dir+"/log", "-o", options, "start")
}

// Stop ends it: immediately as a crash does, fast as an operator does.
func (p *Postgres) Stop(mode string) error {
	return p.run("pg_ctl", "-w", "-D", p.dir+"/pg", "-m", mode, "stop")
}

func (p *Postgres) run(program string, args ...string) error {
	command := exec.CommandContext(context.Background(), filepath.Join(p.bin, program), args...)
	command.Dir = p.dir
	command.SysProcAttr = &syscall.SysProcAttr{Credential: p.credential}
	// pg_ctl's server keeps what it inherits open: a file, not a pipe, ends with pg_ctl.
	output, err := os.CreateTemp("", "orisun-"+program)
	if err != nil {
		return err
	}
	defer os.Remove(output.Name()) //nolint:errcheck // a temporary file
	defer output.Close()           //nolint:errcheck // it is read by its name
	command.Stdout, command.Stderr = output, output
	if err := command.Run(); err != nil {
		text, _ := os.ReadFile(output.Name())
		return fmt.Errorf("%s: %w\n%s", program, err, text)
	}
	return nil
}
