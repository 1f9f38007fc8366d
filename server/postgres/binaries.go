//go:build unix

package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// oldestMajor is the oldest major version that the migrations run on.
const oldestMajor = 13

// installed are directories of servers that are usually not in PATH.
var installed = []string{
	"/usr/lib/postgresql/*/bin",                       // Debian, Ubuntu
	"/usr/pgsql-*/bin",                                // Red Hat, from postgresql.org
	"/opt/homebrew/opt/postgresql@*/bin",              // Homebrew on Apple silicon
	"/usr/local/opt/postgresql@*/bin",                 // Homebrew on Intel
	"/home/linuxbrew/.linuxbrew/opt/postgresql@*/bin", // Homebrew on Linux
	"/Applications/Postgres.app/Contents/Versions/*/bin",
}

// binaries is a directory that holds a server: postgres and initdb of one version.
type binaries struct {
	dir          string
	major, minor int  // 15.18; minor is 0 for a beta
	bundled      bool // shipped with the executable
}

func (b binaries) String() string { return fmt.Sprintf("%d.%d in %s", b.major, b.minor, b.dir) }

func (s *Server) findBinaries(ctx context.Context) ([]any, error) {
	required, err := clusterMajor(s.cluster())
	if err != nil {
		return nil, err
	}
	dirs, bundled := []string{s.cfg.BinDir}, ""
	if s.cfg.BinDir == "" {
		if bundled, err = bundledDir(); err != nil {
			return nil, err
		}
		if dirs, err = searchDirs(ctx, bundled); err != nil {
			return nil, err
		}
	}
	found, err := inspect(ctx, dirs)
	if err != nil {
		return nil, err
	}
	for i := range found {
		found[i].bundled = found[i].dir == bundled
	}
	if s.bin, err = choose(found, required); err != nil {
		return nil, fmt.Errorf("%s: %w", s.cluster(), err)
	}
	return []any{"dir", s.bin.dir, "version", fmt.Sprintf("%d.%d", s.bin.major, s.bin.minor)}, nil
}

// clusterMajor is the major version that created the cluster, 0 when there is none.
func clusterMajor(cluster string) (int, error) {
	content, err := os.ReadFile(filepath.Join(cluster, "PG_VERSION"))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	major, err := strconv.Atoi(strings.TrimSpace(string(content)))
	if err != nil {
		return 0, fmt.Errorf("%s/PG_VERSION is %q: it must be a major version such as 15", cluster, content)
	}
	return major, nil
}

// bundledDir is where ./build.sh bundle puts a server: beside the executable, with links followed.
func bundledDir() (string, error) {
	executable, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("look for a server beside the executable: %w", err)
	}
	if executable, err = filepath.EvalSymlinks(executable); err != nil {
		return "", fmt.Errorf("look for a server beside the executable: %w", err)
	}
	return filepath.Join(filepath.Dir(executable), "postgresql", "bin"), nil
}

// searchDirs lists where a server may be, with symbolic links followed: a link in /usr/local/bin often leads to
// postgres alone.
func searchDirs(ctx context.Context, bundled string) ([]string, error) {
	var dirs []string
	if _, err := os.Stat(bundled); err == nil {
		dirs = append(dirs, bundled)
	}
	if postgres, err := exec.LookPath("postgres"); err == nil {
		if followed, err := filepath.EvalSymlinks(postgres); err == nil {
			dirs = append(dirs, filepath.Dir(followed))
		}
	}
	if config, err := exec.LookPath("pg_config"); err == nil {
		if dir, err := exec.CommandContext(ctx, config, "--bindir").Output(); err == nil {
			dirs = append(dirs, strings.TrimSpace(string(dir)))
		}
	}
	for _, pattern := range installed {
		matches, err := filepath.Glob(pattern)
		if err != nil {
			return nil, fmt.Errorf("look for servers in %s: %w", pattern, err)
		}
		dirs = append(dirs, matches...)
	}
	slices.Sort(dirs)
	return slices.Compact(dirs), nil
}

// inspect reads the version of each directory's server. Without a usable server the error lists what was wrong with
// each directory.
func inspect(ctx context.Context, dirs []string) ([]binaries, error) {
	var found []binaries
	var unusable []error
	for _, dir := range dirs {
		bin, err := serverIn(ctx, dir)
		switch {
		case err != nil:
			unusable = append(unusable, err)
		case bin.major < oldestMajor:
			unusable = append(unusable, fmt.Errorf("%v is older than %d", bin, oldestMajor))
		default:
			found = append(found, bin)
		}
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if len(found) == 0 {
		return nil, errors.Join(append([]error{ErrNoBinaries}, unusable...)...)
	}
	return found, nil
}

// versionLine is what postgres --version prints: "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)", "… 18beta1".
var versionLine = regexp.MustCompile(`^postgres \(PostgreSQL\) (\d+)(?:\.(\d+))?`)

func serverIn(ctx context.Context, dir string) (binaries, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return binaries{}, err
	}
	if _, err := os.Stat(filepath.Join(dir, "initdb")); err != nil {
		return binaries{}, err
	}
	postgres := filepath.Join(dir, "postgres")
	line, err := exec.CommandContext(ctx, postgres, "--version").Output()
	if err != nil {
		return binaries{}, fmt.Errorf("%s --version: %w", postgres, err)
	}
	match := versionLine.FindSubmatch(line)
	if match == nil {
		return binaries{}, fmt.Errorf("%s --version says %q, which is no version of a PostgreSQL server", postgres, line)
	}
	bin := binaries{dir: dir}
	if bin.major, err = strconv.Atoi(string(match[1])); err != nil {
		return binaries{}, err
	}
	if len(match[2]) > 0 {
		if bin.minor, err = strconv.Atoi(string(match[2])); err != nil {
			return binaries{}, err
		}
	}
	return bin, nil
}

// choose selects the bundled server, else the newest. Unless the required major version is 0, only that version
// counts: PostgreSQL reads no other version's files.
func choose(found []binaries, required int) (binaries, error) {
	fitting := slices.Clone(found)
	if required != 0 {
		fitting = slices.DeleteFunc(fitting, func(b binaries) bool { return b.major != required })
	}
	if len(fitting) == 0 {
		return binaries{}, fmt.Errorf("PostgreSQL %d made this cluster and no other major version can open it, but here is "+
			"only %v: install "+
			"PostgreSQL %d, or name the directory of its binaries in ORISUN_PG_BIN_DIR", required, found, required)
	}
	return slices.MaxFunc(fitting, func(a, b binaries) int {
		return cmp.Or(compareBools(a.bundled, b.bundled), cmp.Compare(a.major, b.major), cmp.Compare(a.minor, b.minor))
	}), nil
}

// compareBools orders false before true.
func compareBools(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	default:
		return -1
	}
}
