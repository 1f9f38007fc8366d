package migrations_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// changedSince compares the migrations of a checkout with those of its latest tag, in any branch, and returns each file
// that was changed, renamed or deleted since. Without a tag nothing is released yet.
func changedSince(checkout, folder string) (tag string, changed []string, err error) {
	git := func(args ...string) (string, error) {
		cmd := exec.Command("git", append([]string{"-c", "safe.directory=*", "-C", checkout}, args...)...)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			return "", fmt.Errorf("git %s: %w: %s", strings.Join(args, " "), err, stderr.String())
		}
		return string(out), nil
	}
	tags, err := git("tag", "--list", "v*", "--sort=-version:refname")
	if err != nil {
		return "", nil, err
	}
	tag, _, _ = strings.Cut(strings.TrimSpace(tags), "\n")
	if tag == "" {
		return "", nil, nil
	}
	// Only added files are allowed. What is compared is the working tree, so that a change shows before it is committed.
	listed, err := git("diff", "--name-only", "--no-renames", "--diff-filter=a", tag, "--", folder+"/*.sql")
	if err != nil {
		return "", nil, err
	}
	return tag, strings.Fields(listed), nil
}

func TestReleasedMigrationsDoNotChange(t *testing.T) {
	if _, err := os.Stat("../.git"); err != nil {
		t.Log("no checkout of git: a source archive cannot be compared with its tag")
		return
	}
	tag, changed, err := changedSince("..", "migrations")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range changed {
		t.Errorf("%s is not as it was released in %s: databases have applied it already; put the change into a new file",
			file, tag)
	}
}

func TestAChangedMigrationIsFoundOnceThereIsATag(t *testing.T) {
	checkout := t.TempDir()
	git := func(args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "git",
			append([]string{"-C", checkout, "-c", "user.name=t", "-c", "user.email=t@example.com"}, args...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(checkout, "migrations", name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(checkout, "migrations"), 0o700); err != nil {
		t.Fatal(err)
	}
	git("init", "-q")
	write("00001_a.sql", "SELECT 1;")
	write("00002_b.sql", "SELECT 2;")
	git("add", ".")
	git("commit", "-q", "-m", "one")
	expect := func(wantTag string, want ...string) {
		t.Helper()
		tag, changed, err := changedSince(checkout, "migrations")
		if err != nil || tag != wantTag || !slices.Equal(changed, want) {
			t.Errorf("since %q %q are changed (%v), want %q since %q", tag, changed, err, want, wantTag)
		}
	}
	write("00001_a.sql", "SELECT 10;") // before the first release anything goes
	expect("")
	git("commit", "-q", "-a", "-m", "two")
	git("tag", "v0.9.0")
	git("tag", "v0.10.0")
	write("00003_c.sql", "SELECT 3;")
	expect("v0.10.0")
	write("00002_b.sql", "SELECT 20;")
	expect("v0.10.0", "migrations/00002_b.sql")
	git("rm", "-q", "migrations/00001_a.sql")
	git("add", ".")
	git("commit", "-q", "-m", "three")
	expect("v0.10.0", "migrations/00001_a.sql", "migrations/00002_b.sql")
}
