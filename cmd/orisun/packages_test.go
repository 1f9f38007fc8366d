package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/v2"

	"github.com/oexza/orisun/server/config"
)

// TestThePackagesNameVariablesThatThereAre: what is not known is only warned of at a start, and does nothing.
func TestThePackagesNameVariablesThatThereAre(t *testing.T) {
	known := map[string]bool{}
	for _, f := range config.Read(nil, nil).Settings {
		known[f.Variable] = true
	}
	for _, file := range []string{"Dockerfile", "docker-compose.yml", ".env.example", "packages/orisun.service"} {
		named := regexp.MustCompile(`ORISUN_[A-Z_]+`).FindAllString(readDoc(t, file), -1)
		if len(named) == 0 {
			t.Errorf("%s names no variable", file)
		}
		for _, variable := range named {
			if !known[variable] {
				t.Errorf("%s: %s is no variable", file, variable)
			}
		}
	}
}

// TestTheUnitKnowsWhichEndIsFinalAndHowLongADrainTakes, which are the server's to say.
func TestTheUnitKnowsWhichEndIsFinalAndHowLongADrainTakes(t *testing.T) {
	unit := map[string]string{}
	for line := range strings.Lines(readDoc(t, "packages/orisun.service")) {
		if name, value, found := strings.Cut(strings.TrimSpace(line), "="); found && !strings.HasPrefix(name, "#") {
			unit[name] = value
		}
	}
	if got := unit["RestartPreventExitStatus"]; got != strconv.Itoa(exitMisconfigured) {
		t.Errorf("RestartPreventExitStatus is %s", got)
	}
	drain := mustLoad(t).Shutdown.Timeout
	if limit, err := time.ParseDuration(unit["TimeoutStopSec"] + "s"); err != nil || limit <= drain {
		t.Errorf("TimeoutStopSec is %s, ORISUN_SHUTDOWN_TIMEOUT %s: %v", unit["TimeoutStopSec"], drain, err)
	}
	// With DynamicUser only these may be written.
	if unit["StateDirectory"] != "orisun" ||
		!strings.Contains(unit["Environment"], "ORISUN_NATS_STORE_DIR=/var/lib/orisun/") {
		t.Errorf("StateDirectory is %s, Environment %s", unit["StateDirectory"], unit["Environment"])
	}
}

// dockerfile returns the instructions of the Dockerfile, each on one line. No Docker runs here: the tests read it.
func dockerfile(t *testing.T) []string {
	t.Helper()
	text := strings.ReplaceAll(readDoc(t, "Dockerfile"), "\\\n", "")
	return regexp.MustCompile(`(?m)^[A-Z]+ .*$`).FindAllString(text, -1)
}

// shim puts a go before the real one that builds for this machine whatever its arguments, and without what makes it
// compile every package for these tests alone. It returns the PATH, and the file with the platforms that were asked
// for.
func shim(t *testing.T) (path, platforms string) {
	t.Helper()
	program, err := exec.LookPath("go")
	if err != nil {
		t.Fatal(err)
	}
	directory := t.TempDir()
	platforms = filepath.Join(directory, "platforms")
	script := fmt.Sprintf(`#!/usr/bin/env bash
[ "$1" = build ] || exec %[1]s "$@"
echo "$GOOS $GOARCH" >> %[2]s
unset GOOS GOARCH CGO_ENABLED
exec %[1]s "${@/-trimpath/-mod=readonly}"
`, program, platforms)
	if err := os.WriteFile(filepath.Join(directory, "go"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	return directory + ":" + os.Getenv("PATH"), platforms
}

// TestTheImageIsBuiltForItsPlatformWithTheVersionOfTheCheckout runs the Dockerfile's build step, with the arguments
// that BuildKit sets.
func TestTheImageIsBuiltForItsPlatformWithTheVersionOfTheCheckout(t *testing.T) {
	// As in the image, git trusts the checkout.
	t.Setenv("GIT_CONFIG_COUNT", "1")
	t.Setenv("GIT_CONFIG_KEY_0", "safe.directory")
	t.Setenv("GIT_CONFIG_VALUE_0", "*")
	instructions := dockerfile(t)
	step := slices.IndexFunc(instructions, func(line string) bool { return strings.Contains(line, "./build.sh") })
	if step < 0 {
		t.Fatal("no step runs build.sh")
	}
	out := t.TempDir()
	// A declared argument has the value that BuildKit or the command line gives it, else its default. Others do not
	// reach the step.
	var script strings.Builder
	script.WriteString(`given() { printenv "GIVEN_$1"; }` + "\n")
	for _, line := range instructions[:step] {
		arguments, found := strings.CutPrefix(line, "ARG ")
		if !found {
			continue
		}
		for argument := range strings.FieldsSeq(arguments) {
			name, value, _ := strings.Cut(argument, "=")
			fmt.Fprintf(&script, "export %[1]s=$(given %[1]s || echo \"%[2]s\")\n", name, value)
		}
	}
	script.WriteString(strings.ReplaceAll(strings.TrimPrefix(instructions[step], "RUN "), "/out", out))
	path, platforms := shim(t)
	build := exec.CommandContext(t.Context(), "bash", "-euc", script.String())
	build.Dir = "../.."
	build.Env = append(os.Environ(), "PATH="+path, "GIVEN_TARGETOS=linux", "GIVEN_TARGETARCH=arm64")
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%s\n%v\n%s", script.String(), err, text)
	}
	if asked, err := os.ReadFile(platforms); err != nil || string(asked) != "linux arm64\n" {
		t.Errorf("an image for linux/arm64 has a binary for %s: %v", asked, err)
	}
	var built struct{ Version, Commit, Date string }
	text, err := exec.CommandContext(t.Context(), filepath.Join(out, "orisun"), "version", "--json").Output()
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &built); err != nil {
		t.Fatal(err)
	}
	head, err := exec.CommandContext(t.Context(), "git", "rev-parse", "HEAD").Output()
	if err != nil {
		t.Fatal(err)
	}
	if built.Version == "" || built.Version == "unknown" || built.Commit != strings.TrimSpace(string(head)) ||
		built.Date == "" {
		t.Errorf("the image's binary says %s, the checkout is %s", text, head)
	}
	for ignored := range strings.FieldsSeq(readDoc(t, ".dockerignore")) {
		if strings.Trim(ignored, "/*") == ".git" {
			t.Errorf(".dockerignore leaves out %s: git alone knows the version", ignored)
		}
	}
}

func TestTheImageChecksItsHealthWithACommandThatThereIs(t *testing.T) {
	instructions := dockerfile(t)
	check := slices.IndexFunc(instructions, func(line string) bool { return strings.HasPrefix(line, "HEALTHCHECK ") })
	if check < 0 {
		t.Fatal("the Dockerfile has no HEALTHCHECK")
	}
	_, arguments, _ := strings.Cut(instructions[check], "CMD ")
	var command []string
	if err := json.Unmarshal([]byte(arguments), &command); err != nil {
		t.Fatalf("%s: %v; the image has no shell, so CMD must be a JSON array", instructions[check], err)
	}
	found, _, err := newRootCommand().Find(command[1:])
	if err != nil || found.Name() != "health" || !slices.Contains(instructions, "ENTRYPOINT [\""+command[0]+"\"]") {
		t.Errorf("the image's health check is %v", command)
	}
	limit := regexp.MustCompile(`--timeout=(\S+)`).FindStringSubmatch(instructions[check])
	if timeout, err := time.ParseDuration(limit[1]); err != nil || timeout <= healthTimeout {
		t.Errorf("the health check is cut after %v, the command answers within %v: %v", timeout, healthTimeout, err)
	}
}

func TestComposeBuildsHereAndPublishesPortsOnLoopbackOnly(t *testing.T) {
	compose := koanf.New(".")
	if err := compose.Load(file.Provider("../../docker-compose.yml"), yaml.Parser()); err != nil {
		t.Fatal(err)
	}
	if image, policy, build := compose.String("services.orisun.image"), compose.String("services.orisun.pull_policy"),
		compose.String("services.orisun.build"); strings.Contains(image, "/") || policy != "build" || build != "." {
		t.Errorf("the image %s, built from %q, has the pull policy %q: it may be one that a registry has",
			image, build, policy)
	}
	example := readDoc(t, ".env.example")
	for _, service := range compose.MapKeys("services") {
		ports := compose.Strings("services." + service + ".ports")
		if len(ports) == 0 {
			t.Errorf("%s publishes nothing", service)
		}
		for _, port := range ports {
			if !strings.HasPrefix(port, "127.0.0.1:") {
				t.Errorf("%s publishes %s to other machines", service, port)
			}
		}
		variables := compose.StringMap("services." + service + ".environment")
		for _, name := range slices.Sorted(maps.Keys(variables)) {
			if !strings.HasSuffix(name, "PASSWORD") {
				continue
			}
			// ${NAME:?…} has no default, and refuses an empty one.
			required := regexp.MustCompile(`^\$\{(ORISUN_\w+):\?.+\}$`).FindStringSubmatch(variables[name])
			if required == nil {
				t.Errorf("%s: %s is %s, which is no required variable", service, name, variables[name])
			} else if !strings.Contains(example, "\n"+required[1]+"=\n") {
				t.Errorf(".env.example does not have %s, or gives it a value", required[1])
			}
		}
	}
}
