package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/oexza/orisun/server/config"
)

var update = flag.Bool("update", false, "write the files that tests compare with")

func yamlFile(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "orisun.yaml")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func runConfigCommand(t *testing.T, args ...string) (output, warnings string, err error) {
	t.Helper()
	var out, errOut bytes.Buffer
	command := &cobra.Command{Use: "orisun", SilenceErrors: true, SilenceUsage: true}
	addConfigFlags(command.PersistentFlags())
	command.AddCommand(newConfigCommand())
	command.SetArgs(append([]string{"config"}, args...))
	command.SetOut(&out)
	command.SetErr(&errOut)
	err = command.Execute()
	return out.String(), errOut.String(), err
}

func TestConfigShowsEachValueAndItsSource(t *testing.T) {
	t.Setenv("ORISUN_GRPC_PORT", "5006")
	t.Setenv("ORISUN_PG_NAME", "shop\x1b[2J\tx")
	t.Setenv("ORISUN_PG_SCHEMAS", "orders:public,orisun_admin:admin")
	t.Setenv("ORISUN_GRCP_PORT", "1")
	path := yamlFile(t, "nats: {port: 4222}\ngrpc: {port: 1}\n")
	output, warnings, err := runConfigCommand(t, "--config", path, "--logging-level", "debug")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`ORISUN_GRPC_PORT +5006 +environment +gRPC server port`,
		`ORISUN_NATS_PORT +4222 +file +NATS server port`,
		`ORISUN_LOGGING_LEVEL +debug +flag +Logging level`,
		`ORISUN_PG_PORT +5434 +default +PostgreSQL port`,
		`ORISUN_PG_NAME +"shop\\x1b\[2J\\tx" +environment`,
		`ORISUN_BOUNDARIES +\[\{"name":"orders","description":""\},\{"name":"orisun_admin","description":""\}\] +environment`,
		`ORISUN_PG_HOST +default +PostgreSQL host`,
	} {
		if !regexp.MustCompile(`(?m)^` + want).MatchString(output) {
			t.Errorf("no line %s in\n%s", want, output)
		}
	}
	if warnings != "warning: unknown variable \"ORISUN_GRCP_PORT\": did you mean ORISUN_GRPC_PORT?\n" {
		t.Errorf("warnings %q", warnings)
	}
}

func TestConfigShowsAnInvalidConfigurationAndFails(t *testing.T) {
	output, _, err := runConfigCommand(t, "--pg-port=abc")
	var refused *config.InvalidError
	if !errors.As(err, &refused) || !strings.Contains(err.Error(), `ORISUN_PG_PORT="abc" (flag)`) {
		t.Errorf("error %v", err)
	}
	if !regexp.MustCompile(`(?m)^ORISUN_PG_PORT +abc +flag`).MatchString(output) {
		t.Errorf("output\n%s", output)
	}
}

// secrets are given so that each one is in force, in every place a value can come from and in every way it can be
// wrong.
func TestASecretIsNeverShown(t *testing.T) {
	const secret = "hunter2"
	for name, given := range map[string]struct {
		file    string
		environ []string
		args    []string
	}{
		"environment": {environ: []string{
			"ORISUN_PG_PASSWORD=" + secret, "ORISUN_ADMIN_PASSWORD=" + secret, "ORISUN_NATS_CLUSTER_PASSWORD=" + secret,
		}},
		"flags": {args: []string{
			"--pg-password", secret, "--admin-password", secret, "--nats-cluster-password", secret,
		}},
		"file": {file: "pg: {password: hunter2}\nadmin: {password: hunter2}\nnats: {cluster_password: " +
			"hunter2}\n"},
		"with another error": {environ: []string{
			"ORISUN_PG_PASSWORD=" + secret, "ORISUN_ADMIN_PASSWORD=" + secret, "ORISUN_PG_PORT=x",
		}},
		"list in the file":    {file: "pg: {password: [hunter2]}\n"},
		"map in the file":     {file: "pg: {password: {hunter2: 1}}\n"},
		"empty map value":     {file: "pg: {password: {hunter2}}\n"},
		"anchor in the file":  {file: "pg: {password: *hunter2}\n"},
		"map key in the file": {file: "pg: {password: {{hunter2}}}\n"},
		"wrong tag":           {file: "pg: {password: !!int hunter2}\n"},
		"text for a file":     {file: "`hunter2`\n"},
		"misspelt variable":   {environ: []string{"ORISUN_PG_PASWORD=" + secret}},
		"misspelt key":        {file: "pg: {pasword: hunter2}\n"},
		"routes": {environ: []string{
			"ORISUN_NATS_CLUSTER_ROUTES=nats://u:hunter2@a:1,nats://hunter2@b:2,nats://u:hunter2@hunter2@c:2",
		}},
		"broken route":       {environ: []string{"ORISUN_NATS_CLUSTER_ROUTES=nats://a:1,nats://u:hunter2/hunter2@b:2"}},
		"comma in a route":   {environ: []string{"ORISUN_NATS_CLUSTER_ROUTES=nats://u:hunter2,hunter2@b:2"}},
		"newline in a route": {environ: []string{"ORISUN_NATS_CLUSTER_ROUTES=nats://u:hunter2\nhunter2@b:2"}},
		"list of routes":     {file: "nats: {cluster_routes: ['nats://u:hunter2@b', 'x']}\n"},
		"endpoint":           {environ: []string{"ORISUN_OTEL_ENDPOINT=https://u:hunter2,hunter2@otel:4317"}},
		"host":               {environ: []string{"ORISUN_PG_HOST=u:hunter2@db"}},
	} {
		t.Run(name, func(t *testing.T) {
			args := given.args
			if given.file != "" {
				args = append(args, "--config", yamlFile(t, given.file))
			}
			for _, variable := range given.environ {
				name, value, _ := strings.Cut(variable, "=")
				t.Setenv(name, value)
			}
			for _, format := range []string{"--json=false", "--json"} {
				output, warnings, err := runConfigCommand(t, append(args, format)...)
				if err != nil {
					warnings += err.Error()
				}
				if !strings.Contains(output, "********") {
					t.Errorf("nothing is masked in\n%s", output)
				}
				if all := output + warnings; strings.Contains(all, secret) {
					t.Errorf("the secret stands in\n%s", all)
				}
			}
		})
	}
}

func TestAnEmptySecretIsShownAsEmpty(t *testing.T) {
	output, _, err := runConfigCommand(t, "--nats-cluster-password=")
	if err != nil || !regexp.MustCompile(`(?m)^ORISUN_NATS_CLUSTER_PASSWORD +flag`).MatchString(output) {
		t.Errorf("error %v, output\n%s", err, output)
	}
}

func TestConfigAsJSONHasEveryVariable(t *testing.T) {
	output, _, err := runConfigCommand(t, "--json", "--pg-write-max-open-conns=4")
	if err != nil {
		t.Fatal(err)
	}
	var rows []map[string]any
	for line := range strings.Lines(output) {
		var row map[string]any
		if err := json.Unmarshal([]byte(line), &row); err != nil {
			t.Fatal(err)
		}
		rows = append(rows, row)
	}
	if len(rows) != len(config.Read(nil, nil).Settings) {
		t.Errorf("%d rows, want %d", len(rows), len(config.Read(nil, nil).Settings))
	}
	for _, row := range rows {
		if row["variable"] != "ORISUN_PG_WRITE_MAX_OPEN_CONNS" {
			continue
		}
		if row["flag"] != "--pg-write-max-open-conns" || row["key"] != "pg.write_max_open_conns" || row["value"] != "4" ||
			row["from"] != "flag" || row["secret"] != false {
			t.Errorf("row %v", row)
		}
		return
	}
	t.Error("no row for ORISUN_PG_WRITE_MAX_OPEN_CONNS")
}

func TestConfigurationPageIsUpToDate(t *testing.T) {
	const path = "../../docs/configuration.md"
	t.Setenv("ORISUN_PG_PORT", "1") // a value in force must not reach the page
	page, _, err := runConfigCommand(t, "--markdown", "--grpc-port=2")
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(path, []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	committed, err := os.ReadFile(path)
	if err != nil || string(committed) != page {
		t.Errorf("%s is out of date (%v): go run ./cmd/orisun config --markdown > docs/configuration.md", path, err)
	}
}
