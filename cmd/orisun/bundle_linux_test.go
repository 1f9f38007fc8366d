package main

import (
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"testing"

	orisunpb "github.com/oexza/orisun/proto"
)

// TestABundleServesOnAMachineWithoutPostgreSQL unpacks what ./build.sh bundle makes, and starts it as root and as
// another user.
func TestABundleServesOnAMachineWithoutPostgreSQL(t *testing.T) {
	// Every account can reach it, which a test's own directory does not allow.
	directory, err := os.MkdirTemp("", "orisun-bundle-") //nolint:usetesting // other users must enter it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(directory); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(directory, 0o755); err != nil {
		t.Fatal(err)
	}
	path, _ := shim(t)
	build := exec.CommandContext(t.Context(), "./build.sh", "bundle")
	build.Dir = "../.."
	build.Env = append(os.Environ(), "PATH="+path, "OUT="+directory, "VERSION=v0.0.1-test")
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	archives, err := filepath.Glob(directory + "/*")
	if err != nil || len(archives) != 1 || !strings.HasSuffix(archives[0], ".tar.gz") {
		t.Fatalf("build.sh leaves %v: %v", archives, err)
	}
	if text, err := exec.CommandContext(t.Context(), "tar", "-xzf", archives[0], "-C", directory).
		CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	unpacked := strings.TrimSuffix(archives[0], ".tar.gz")
	for _, licence := range []string{"LICENSE", "NOTICE", "postgresql/LICENSE.md"} {
		if _, err := os.Stat(filepath.Join(unpacked, licence)); err != nil {
			t.Error(err)
		}
	}
	libraries, err := filepath.Glob(unpacked + "/postgresql/lib/*.so*")
	if err != nil || len(libraries) == 0 {
		t.Fatalf("the archive has no shared libraries: %v", err)
	}
	notice := readDoc(t, "packages/bundle-notice.txt")
	for _, library := range libraries {
		name, _, _ := strings.Cut(filepath.Base(library), ".")
		ofPostgreSQL := strings.HasPrefix(name, "libpq") || strings.HasPrefix(name, "libecpg") ||
			strings.HasPrefix(name, "libpgtypes")
		if !ofPostgreSQL && !strings.Contains(notice, name) {
			t.Errorf("packages/bundle-notice.txt does not say under which licence %s is", library)
		}
	}

	for _, account := range []string{"our own", "nobody"} {
		t.Run(account, func(t *testing.T) {
			data := filepath.Join(directory, "data of "+account)
			if err := os.Mkdir(data, 0o700); err != nil {
				t.Fatal(err)
			}
			var before []string
			if account != "our own" {
				if os.Geteuid() != 0 {
					return // only root may become another user; the other run is as a plain user already
				}
				entry, err := user.Lookup(account)
				if err != nil {
					t.Fatal(err)
				}
				if text, err := exec.CommandContext(t.Context(), "chown", entry.Uid+":"+entry.Gid, data).
					CombinedOutput(); err != nil {
					t.Fatalf("%v\n%s", err, text)
				}
				before = []string{"setpriv", "--reuid=" + entry.Uid, "--regid=" + entry.Gid, "--clear-groups"}
			}
			// Of two variables of a name the last one counts. Nothing in these folders is PostgreSQL's.
			env := environment(data, "PATH="+filepath.Join(directory, "nothing"), "ORISUN_PG_BIN_DIR=", "LD_LIBRARY_PATH=")
			server := launchProgram(t, env, filepath.Join(unpacked, "orisun"), before...)
			if !strings.Contains(server.logged(), unpacked+"/postgresql/bin") {
				t.Errorf("the server does not use the PostgreSQL beside it:\n%s", server.logged())
			}
			if _, err := connect(t, server.address).SaveEvents(t.Context(), &orisunpb.SaveEventsRequest{
				Boundary: "orisun_test_1", Events: []*orisunpb.EventToSave{{EventId: "a", EventType: "T", Data: `{}`}},
			}); err != nil {
				t.Error(err)
			}
		})
	}
}
