//go:build unix

package postgres

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

// logIn tries the password over TCP, as psql would.
func logIn(t *testing.T, s *Server, password string) error {
	t.Helper()
	cfg := s.cfg
	cfg.Password = password
	conn, err := connect(t.Context(), cfg, "127.0.0.1", s.Port())
	if err != nil {
		return err
	}
	return conn.Close(t.Context())
}

func refusedPassword(err error) bool {
	var refused *pgconn.PgError
	return errors.As(err, &refused) && refused.Code == "28P01"
}

func TestNamesAndPasswordsMayHoldAnyCharacter(t *testing.T) {
	t.Parallel()
	cfg := config(t, filepath.Join(emptyDir(t), "with space, comma's \"quote\"", "pg"))
	cfg.User = `An "ori-sun\"; $ 'ü`
	cfg.Database = `an "odd"; DROP DATABASE 'one' \ ü`
	cfg.Password = `it's "q\uo'ted"; -- $$ %s ü `
	s := start(t, cfg)
	if got := value(t, s, "SELECT current_database()"); got != cfg.Database {
		t.Errorf("the database is %q, want %q", got, cfg.Database)
	}
	if got := value(t, s, "SELECT current_user"); got != cfg.User {
		t.Errorf("the role is %q, want %q", got, cfg.User)
	}
	if err := logIn(t, s, cfg.Password); err != nil {
		t.Errorf("the password does not let in: %v", err)
	}
	if err := logIn(t, s, cfg.Password+"x"); !refusedPassword(err) {
		t.Errorf("another password: got %v, want a refusal", err)
	}
}

func TestAChangedPasswordLetsInByTCPAndTheOldOneNoMore(t *testing.T) {
	t.Parallel()
	cfg := config(t, stoppedCluster(t))
	// The worst that a postgresql.conf can ask for: every statement in the log, passwords as md5.
	cfg.Settings = map[string]string{
		"log_statement": "all", "log_min_duration_statement": "0", "password_encryption": "md5",
	}
	first := start(t, cfg)
	if err := logIn(t, first, "secret"); err != nil {
		t.Fatalf("the first password does not let in: %v", err)
	}
	stop(t, first)

	cfg.Password = "changed-to-this"
	cfg.Database = "another"
	second := start(t, cfg)
	if err := logIn(t, second, "changed-to-this"); err != nil {
		t.Errorf("the changed password does not let in: %v", err)
	}
	if err := logIn(t, second, "secret"); !refusedPassword(err) {
		t.Errorf("the old password: got %v, want a refusal", err)
	}
	var stored string
	err := connectAs(t, second, superuser, "postgres").QueryRow(t.Context(),
		"SELECT left(rolpassword, 13) FROM pg_authid WHERE rolname = 'postgres'").Scan(&stored)
	if err != nil || stored != "SCRAM-SHA-256" {
		t.Errorf("the password is stored as %s, %v", stored, err)
	}
	log, err := os.ReadFile(second.logFile)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(log), "rolpassword") || strings.Contains(string(log), "changed-to-this") {
		t.Errorf("the log has to hold the statements, but not the password:\n%s", log)
	}
	stop(t, second)

	cfg.Password = ""
	third := start(t, cfg)
	for _, password := range []string{"", "changed-to-this"} {
		if err := logIn(t, third, password); err == nil {
			t.Errorf("with no password configured, %q lets in", password)
		}
	}
}
