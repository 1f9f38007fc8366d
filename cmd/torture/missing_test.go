package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// routeAttempts are NATS's lines about a node that it cannot connect to, or that a proxy has no connection to.
var routeAttempts = regexp.MustCompile("Error trying to connect to route|TLS route handshake error")

// TestADeadNodeIsOneLineInTheOthersLogsAndNamedByReadyz kills one of three nodes and starts it again.
func TestADeadNodeIsOneLineInTheOthersLogsAndNamedByReadyz(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "ORISUN_LOGGING_LEVEL=DEBUG") // which counts the attempts to connect
	if err := c.serve(t.Context()); err != nil {
		t.Fatal(err)
	}
	within(t, wait, "a stream with three copies", func() bool {
		info := streamInfo(t, c.nodes[0])
		return info != nil && info.Config.Replicas == 3
	})
	dead, survivors := c.nodes[2], c.nodes[:2]
	before := map[*node]int{}
	for _, n := range survivors {
		before[n] = len(logged(t, n))
	}
	if err := dead.end(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for _, n := range survivors {
		within(t, 20*time.Second, "named by "+n.name, func() bool {
			answer := readyz(t, n)
			check := answer.Checks["cluster"]
			return answer.Ready && !check.OK && !check.Required && strings.Contains(check.Reason, dead.name)
		})
	}
	for _, n := range survivors {
		within(t, wait, "forty attempts of "+n.name, func() bool {
			return len(routeAttempts.FindAllString(logged(t, n)[before[n]:], 40)) == 40
		})
		reports, of := 0, warnings(logged(t, n)[before[n]:])
		for _, line := range of {
			if strings.Contains(line, "a node of the cluster is missing") && strings.Contains(line, dead.name) {
				reports++
			}
			if routeAttempts.MatchString(line) {
				t.Errorf("%s logs an attempt to connect: %s", n.name, line)
			}
		}
		if reports != 1 || len(of) > 5 {
			t.Errorf("%s reports the dead node %d times, in %d lines:\n%s", n.name, reports, len(of), strings.Join(of, "\n"))
		}
	}
	if err := errors.Join(dead.start(), dead.awaitServing(t.Context())); err != nil {
		t.Fatal(err)
	}
	for _, n := range survivors {
		within(t, wait, "back for "+n.name, func() bool {
			return readyz(t, n).Checks["cluster"].OK &&
				strings.Count(logged(t, n)[before[n]:], "a node of the cluster is connected again") == 1
		})
	}
}

// warnings are the lines of a log that an operator would look at.
func warnings(log string) (lines []string) {
	for line := range strings.Lines(log) {
		if strings.Contains(line, `"level":"WARN"`) || strings.Contains(line, `"level":"ERROR"`) {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}

type readiness struct {
	Ready  bool
	Checks map[string]struct {
		OK, Required bool
		Reason       string
	}
}

// readyz is what a node says of itself, at the address that its log names.
func readyz(t *testing.T, n *node) (answer readiness) {
	t.Helper()
	var address string
	lines := bufio.NewScanner(strings.NewReader(logged(t, n)))
	for lines.Scan() {
		var line struct{ Msg, HTTP string }
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "serving" {
			address = line.HTTP
		}
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/readyz", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.SetBasicAuth("admin", "changeit")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(response.Body)
	if err = errors.Join(err, response.Body.Close()); err == nil {
		err = json.Unmarshal(body, &answer)
	}
	if err != nil {
		t.Fatal(err)
	}
	return answer
}
