package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/oexza/orisun/migrations/pgtest"
)

// The image, and a hardened unit of systemd, run it so: not as root, and with nothing to write to but the data
// directory. Here a mount namespace makes the root file system read-only.
func TestItRunsUnprivilegedOnAReadOnlyRootFileSystem(t *testing.T) {
	for name, env := range map[string][]string{
		"with a PostgreSQL elsewhere":  append(outside(pgtest.Clone(t)), "ORISUN_PG_HOST=127.0.0.1"), // its socket is root's
		"with a PostgreSQL of its own": nil,
	} {
		t.Run(name, func(t *testing.T) {
			data, err := os.MkdirTemp("/tmp", "orisun-readonly-") //nolint:usetesting // what t.TempDir makes is closed to others
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := os.RemoveAll(data); err != nil {
					t.Error(err)
				}
			}()
			const unprivileged = 65534
			program := filepath.Join(data, "orisun")
			text, err := os.ReadFile(binary)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(program, text, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.Mkdir(data+"/data", 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.Chown(data+"/data", unprivileged, unprivileged); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(data, 0o755); err != nil {
				t.Fatal(err)
			}
			// The data directory stays writable, as a mount of its own; everything else does not, /tmp included.
			script := `set -e
mount --bind "$1/data" "$1/data"
mount -o remount,bind,ro /
for m in $(awk '{print $5}' /proc/self/mountinfo); do
  case "$m" in /|/proc*|/sys*|/dev*|"$1/data") ;; *) mount -o remount,bind,ro "$m" || true ;; esac
done
if setpriv --reuid 65534 --regid 65534 --clear-groups touch /tmp/orisun-probe /orisun-probe 2>/dev/null
then echo "the root is writable" >&2; exit 9; fi
exec setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps=-all --bounding-set=-all "$1/orisun"`
			cmd := exec.CommandContext(t.Context(), "unshare", "--mount", "--propagation", "private", "sh", "-c", script,
				"sh", data)
			cmd.Env = environment(data+"/data", append(env, "HOME=/nonexistent")...)
			cmd.Dir = "/"
			var log output
			cmd.Stderr = &log
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			exited := make(chan error, 1)
			go func() { exited <- cmd.Wait() }()
			waitFor(t, func() bool {
				select {
				case err := <-exited:
					t.Fatalf("it ended: %v\n%s", err, log.String())
				default:
				}
				return strings.Contains(log.String(), `"msg":"serving"`)
			})
			status, err := os.ReadFile("/proc/" + strconv.Itoa(cmd.Process.Pid) + "/status")
			if err != nil || !strings.Contains(string(status), "Uid:\t65534\t65534\t65534\t65534") ||
				!strings.Contains(string(status), "CapEff:\t0000000000000000") {
				t.Errorf("%v, %s", err, status)
			}
			if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			if err := <-exited; err != nil {
				t.Errorf("%v\n%s", err, log.String())
			}
		})
	}
}
