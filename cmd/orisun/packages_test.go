package main

import (
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestThePackagesNameVariablesThatThereAre: what is not known is only warned of at a start, and does nothing.
func TestThePackagesNameVariablesThatThereAre(t *testing.T) {
	known := map[string]bool{}
	for _, f := range fieldsOf(&Config{}) {
		known[f.env] = true
	}
	for _, file := range []string{"Dockerfile", "docker-compose.yml", "packages/orisun.service"} {
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
	drain := mustLoad(t, nil).Shutdown.Timeout
	if limit, err := time.ParseDuration(unit["TimeoutStopSec"] + "s"); err != nil || limit <= drain {
		t.Errorf("TimeoutStopSec is %s, ORISUN_SHUTDOWN_TIMEOUT %s: %v", unit["TimeoutStopSec"], drain, err)
	}
	// With DynamicUser only these may be written.
	if unit["StateDirectory"] != "orisun" || !strings.Contains(unit["Environment"], "ORISUN_NATS_STORE_DIR=/var/lib/orisun/") {
		t.Errorf("StateDirectory is %s, Environment %s", unit["StateDirectory"], unit["Environment"])
	}
}
