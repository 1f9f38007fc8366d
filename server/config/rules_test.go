package config

import (
	"encoding"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
)

func TestBoundariesKnowTheirSchemas(t *testing.T) {
	schemas := "ORISUN_PG_SCHEMAS=orders:public,payments:public,orisun_admin:ops"
	want := Boundaries{{"orders", "", "public"}, {"payments", "", "public"}, {"orisun_admin", "", "ops"}}
	if diff := cmp.Diff(want, mustLoad(t, nil, schemas).Boundaries); diff != "" {
		t.Errorf("only schemas are given: %s", diff)
	}

	want = Boundaries{{"orisun_admin", "", "ops"}, {"payments", "who paid", "public"}, {"orders", "", "public"}}
	file := yamlFile(t, "boundaries:\n  - name: orisun_admin\n  - {name: payments, description: who paid}\n  - name: "+
		"orders\n    description: ''\n")
	if diff := cmp.Diff(want, mustLoad(t, parsedFlags(t, "--config", file), schemas).Boundaries); diff != "" {
		t.Errorf("boundaries of the file: %s", diff)
	}

	// Schemas of the default are no reason to refuse, as the operator did not set them.
	want = Boundaries{{"orisun_admin", "", "admin"}}
	if diff := cmp.Diff(want, mustLoad(t, nil, `ORISUN_BOUNDARIES=[{"name":"orisun_admin"}]`).Boundaries); diff != "" {
		t.Errorf("only boundaries are given: %s", diff)
	}
}

func TestRoutesMayBeAListInTheFile(t *testing.T) {
	file := yamlFile(t, "nats:\n  cluster_routes:\n    - nats://a:1\n    - nats://b:2\n")
	if got := text(mustLoad(t, parsedFlags(t, "--config", file)).NATS.ClusterRoutes); got != "nats://a:1,nats://b:2" {
		t.Errorf("got %q", got)
	}
	if routes := mustLoad(t, nil, "ORISUN_NATS_CLUSTER_ROUTES=").NATS.ClusterRoutes; len(routes) != 0 {
		t.Errorf("an empty text: got %q", routes)
	}
}

func TestBoundariesAndSchemasThatDoNotMeetAreNamedTogether(t *testing.T) {
	problems := mustRefuse(t, nil,
		`ORISUN_BOUNDARIES=[{"name":"orders"},{"name":"orders"},{"name":"9lives"},{"name":"lost"}]`,
		"ORISUN_PG_SCHEMAS=orders:public,orders:again,stray:public,x y:public,gone:pg_temp",
		"ORISUN_ADMIN_BOUNDARY=boss")
	for _, want := range []string{
		`boundary "orders" stands twice: define it once`,
		`boundary "9lives": a name is 1 to 26 bytes`,
		`boundary "lost" has no schema: add lost:<schema> to ORISUN_PG_SCHEMAS`,
		`boundary "orders" stands twice: give it one schema`,
		`schema "public" is for boundary "stray", which is not configured: add it to ORISUN_BOUNDARIES or remove ` +
			`stray:public`,
		`boundary "x y": a name is 1 to 26 bytes`,
		`schema "pg_temp" belongs to PostgreSQL`,
		`ORISUN_ADMIN_BOUNDARY="boss" (environment): boundary "boss" is not configured`,
	} {
		if !slices.ContainsFunc(problems, func(p string) bool { return strings.Contains(p, want) }) {
			t.Errorf("no problem says %q:\n%s", want, strings.Join(problems, "\n"))
		}
	}
	if len(problems) != 9 { // those eight, and gone, which is not configured
		t.Errorf("%d problems, want 9:\n%s", len(problems), strings.Join(problems, "\n"))
	}
}

// A name that PostgreSQL would cut could make two boundaries meet in one table.
func TestNamesEndWherePostgresWouldCutThem(t *testing.T) {
	for name, sound := range map[string]bool{
		"a": true, "_": true, "A-1_b": true, strings.Repeat("b", 26): true,
		"": false, strings.Repeat("b", 27): false, "1a": false, "-a": false, "a.b": false, "a\n": false, "é": false,
		`a"`: false,
	} {
		if err := checkBoundaryName(name); (err == nil) != sound {
			t.Errorf("boundary %q: %v", name, err)
		}
	}
	for name, sound := range map[string]bool{
		"public": true, "_": true, strings.Repeat("s", 63): true, "pgx": true, "pg": true,
		"": false, strings.Repeat("s", 64): false, "pg_catalog": false, "pg_": false, "information_schema": false, "0": false,
		"a;b": false,
	} {
		if err := checkSchemaName(name); (err == nil) != sound {
			t.Errorf("schema %q: %v", name, err)
		}
	}
	if longest := strings.Repeat("b", maxBoundaryName) + "_orisun_last_published_event_position"; len(longest) != 63 {
		t.Errorf("the longest table name has %d bytes", len(longest))
	}
}

func TestSettingsThatContradictEachOtherAreRefused(t *testing.T) {
	for want, environ := range map[string][]string{
		"ORISUN_GRPC_TLS_CLIENT_AUTH_REQUIRED": {"ORISUN_GRPC_TLS_CLIENT_AUTH_REQUIRED=true"},
		"ORISUN_GRPC_TLS_CLIENT_IDENTITY":      {"ORISUN_GRPC_TLS_ENABLED=true", "ORISUN_GRPC_TLS_CLIENT_IDENTITY=cn"},
		"ORISUN_PG_PORT":                       {"ORISUN_PG_HOST=db", "ORISUN_PG_PORT=0"},
		"ORISUN_NATS_CLUSTER_ROUTES": {
			"ORISUN_PG_HOST=db", "ORISUN_NATS_CLUSTER_ENABLED=true",
			"ORISUN_NATS_CLUSTER_PASSWORD=own", "ORISUN_NATS_CLUSTER_ROUTES=",
		},
		"ORISUN_NATS_CLUSTER_PASSWORD": {
			"ORISUN_PG_HOST=db", "ORISUN_NATS_CLUSTER_ENABLED=true",
			"ORISUN_NATS_CLUSTER_HOST=127.0.0.1",
		},
		"ORISUN_PG_HOST":            {"ORISUN_NATS_CLUSTER_ENABLED=true", "ORISUN_NATS_CLUSTER_PASSWORD=own"},
		"ORISUN_NATS_TLS_CERT_FILE": {"ORISUN_NATS_TLS_ENABLED=true", "ORISUN_NATS_TLS_CERT_FILE="},
		"ORISUN_NATS_TLS_KEY_FILE":  {"ORISUN_NATS_TLS_ENABLED=true", "ORISUN_NATS_TLS_KEY_FILE="},
		"ORISUN_NATS_TLS_CA_FILE": {
			"ORISUN_PG_HOST=db", "ORISUN_NATS_CLUSTER_ENABLED=true",
			"ORISUN_NATS_CLUSTER_PASSWORD=own", "ORISUN_NATS_TLS_ENABLED=true", "ORISUN_NATS_TLS_CA_FILE=",
		},
		"ORISUN_PG_PASSWORD": {"ORISUN_PG_PASSWORD="},
	} {
		if problems := mustRefuse(t, nil, environ...); len(problems) != 1 || !strings.HasPrefix(problems[0], want+"=") {
			t.Errorf("%q: problems %q, want one with %s", environ, problems, want)
		}
	}
	mustLoad(t, nil, "ORISUN_PG_HOST=db", "ORISUN_PG_PASSWORD=")
	mustLoad(t, nil, "ORISUN_OTEL_ENABLED=false", "ORISUN_OTEL_ENDPOINT=")
	mustLoad(t, nil, "ORISUN_NATS_TLS_ENABLED=true", "ORISUN_NATS_TLS_CA_FILE=")
}

func TestAnUnknownNameIsAWarning(t *testing.T) {
	file := yamlFile(t, "pg:\n  prot: 1\nlogging:\notel: {}\ngrcp: {port: 1}\nORISUN_PG_PORT: 1\nfrobnicate: 2\n")
	c, warnings, err := Load(parsedFlags(t, "--config", file), []string{
		"PATH=/bin", "ORISUN_PG_PASWORD=hunter2", "ORISUN_URL=x",
		"ORISUN_BOUNDARY=x", "ORISUN_pg_port=1", "ORISUN_", "ORISUN_=", "ORISUN_FROBNICATE=1", "ORISUN_PG=1",
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		`unknown key in the file "ORISUN_PG_PORT": did you mean pg.port?`,
		`unknown key in the file "frobnicate": orisun config lists all`,
		`unknown key in the file "grcp.port": did you mean grpc.port?`,
		`unknown key in the file "pg.prot": did you mean pg.port?`,
		`unknown variable "ORISUN_PG_PASWORD": did you mean ORISUN_PG_PASSWORD?`,
		`unknown variable "ORISUN_BOUNDARY": did you mean ORISUN_BOUNDARIES?`,
		`unknown variable "ORISUN_pg_port": did you mean ORISUN_PG_PORT?`,
		`unknown variable "ORISUN_": orisun config lists all`,
		`unknown variable "ORISUN_FROBNICATE": orisun config lists all`,
		`unknown variable "ORISUN_PG": orisun config lists all`,
	}
	if diff := cmp.Diff(want, warnings); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(mustLoad(t, nil), c); diff != "" {
		t.Errorf("unknown names changed the configuration: %s", diff)
	}
}

func TestAFileThatCannotBeReadIsRefused(t *testing.T) {
	for _, file := range []string{
		"/nowhere/orisun.yaml", t.TempDir(), yamlFile(t, "pg: [\n"), yamlFile(t, "- a\n"),
		yamlFile(t, "pg: {port: 1}\npg: {port: 2}\n"),
	} {
		if problems := mustRefuse(t, parsedFlags(t, "--config", file)); len(problems) != 1 ||
			!strings.HasPrefix(problems[0], "--config: ") {
			t.Errorf("%s: problems %q", file, problems)
		}
	}
	mustLoad(t, parsedFlags(t, "--config", yamlFile(t, "# nothing yet\npg:\n")))
}

// What YAML reads as something else than text may have changed on the way: 0123 is 83 to it.
func TestATextInTheFileIsATextOrRefused(t *testing.T) {
	for content, want := range map[string]string{
		"pg: {password: 0123}":                  `ORISUN_PG_PASSWORD="********" (file): must be a text in the file`,
		"pg: {name: 2026-01-02}":                `ORISUN_PG_NAME=`,
		"pg: {user: true}":                      `ORISUN_PG_USER="true" (file): must be a text in the file`,
		"pg: {user: }":                          `ORISUN_PG_USER="" (file): has no value in the file`,
		"pg: {schemas: {orisun_admin: public}}": `ORISUN_PG_SCHEMAS="" (file): must be a single value in the file`,
		"pg: {schemas: {}}":                     `ORISUN_PG_SCHEMAS=`,
		"grpc: {port: [1]}":                     `ORISUN_GRPC_PORT="[1]" (file)`,
		"grpc: {port: 1.5}":                     `ORISUN_GRPC_PORT="1.5" (file): must be a whole number`,
		"boundaries: [orders]":                  `ORISUN_BOUNDARIES="[\"orders\"]" (file): must be a JSON array`,
		"boundaries: [{name: a, schema: b}]":    `ORISUN_BOUNDARIES=`,
		"boundaries: {name: orisun_admin}":      `ORISUN_BOUNDARIES=`,
		"shutdown: {timeout: 30}": `ORISUN_SHUTDOWN_TIMEOUT="30" (file): must be a duration from 0s to ` +
			`24h, such as 30s`,
		"nats: {cluster_routes: [{nats: a}, 5, ~]}": `ORISUN_NATS_CLUSTER_ROUTES=`,
	} {
		if problems := mustRefuse(t, parsedFlags(t, "--config", yamlFile(t, content))); len(problems) != 1 ||
			!strings.HasPrefix(problems[0], want) {
			t.Errorf("%s: problems %q, want one that starts with %q", content, problems, want)
		}
	}
}

func TestAPortSetByKubernetesIsExplained(t *testing.T) {
	problems := mustRefuse(t, nil, "ORISUN_GRPC_PORT=tcp://10.0.0.1:5005")
	if len(problems) != 1 || !strings.Contains(problems[0], "enableServiceLinks") {
		t.Errorf("problems %q", problems)
	}
}

// Whatever the three lists hold, loading neither panics nor accepts a boundary without a schema, and what parses is
// written so that it parses to the same again.
func FuzzLists(f *testing.F) {
	for _, v := range variables {
		switch v.env {
		case "ORISUN_BOUNDARIES", "ORISUN_PG_SCHEMAS", "ORISUN_NATS_CLUSTER_ROUTES":
			for _, seed := range append(v.invalid, v.sample, v.standard.(string)) {
				f.Add(seed, seed, seed)
			}
		}
	}
	f.Add(`[{"name":"orders"},{"name":"orisun_admin"}]`, "orders:public, orisun_admin:admin",
		"nats://u%40:p%2C@[fe80::1%25e]:1")
	f.Fuzz(func(t *testing.T, boundaries, schemas, routes string) {
		roundTrip(t, boundaries, new(Boundaries), new(Boundaries))
		roundTrip(t, schemas, new(Schemas), new(Schemas))
		roundTrip(t, routes, new(Routes), new(Routes))

		c, _, err := Load(nil, []string{
			"ORISUN_BOUNDARIES=" + boundaries, "ORISUN_PG_SCHEMAS=" + schemas, "ORISUN_NATS_CLUSTER_ROUTES=" + routes,
		})
		if err != nil {
			return
		}
		seen := make(map[string]bool)
		for _, b := range c.Boundaries {
			if checkBoundaryName(b.Name) != nil || checkSchemaName(b.Schema) != nil || seen[b.Name] {
				t.Errorf("accepted %+v", b)
			}
			seen[b.Name] = true
		}
		if !seen[c.Admin.Boundary] {
			t.Errorf("accepted %q without the admin boundary", boundaries)
		}
	})
}

type textual interface {
	encoding.TextUnmarshaler
	encoding.TextMarshaler
}

func roundTrip(t *testing.T, input string, first, second textual) {
	t.Helper()
	if first.UnmarshalText([]byte(input)) != nil {
		return
	}
	written := text(first)
	if err := second.UnmarshalText([]byte(written)); err != nil || !reflect.DeepEqual(first, second) {
		t.Errorf("%q was written as %q, which is %v, error %v", input, written, second, err)
	}
}

// Whatever any variable, or the whole file, holds: loading ends with a configuration or with an error that says why,
// and never shows a secret.
func FuzzConfiguration(f *testing.F) {
	for i, v := range variables {
		for _, seed := range append(v.invalid, v.sample) {
			f.Add(uint8(i), seed, strings.ToLower(strings.TrimPrefix(v.env, "ORISUN_"))+": "+seed)
		}
	}
	f.Add(uint8(0), "x", "pg:\n  host: [a, b]\n  port: 0x10\nnats: *a\nadmin: {password: '***'}")
	f.Fuzz(func(t *testing.T, which uint8, value, file string) {
		const secret = "hide-me-4711"
		path := filepath.Join(t.TempDir(), "orisun.yaml")
		if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
		flags := pflag.NewFlagSet("orisun", pflag.ContinueOnError)
		AddFlags(flags)
		if err := flags.Parse([]string{"--config", path}); err != nil {
			t.Fatal(err)
		}
		name := variables[int(which)%len(variables)].env
		if strings.Contains(value, secret) || strings.Contains(file, secret) {
			return
		}
		config, warnings, err := Load(flags, []string{
			name + "=" + value, "ORISUN_PG_PASSWORD=" + secret, "ORISUN_NATS_CLUSTER_PASSWORD=" + secret,
		})
		if (config == nil) != (err != nil) {
			t.Errorf("configuration %v, error %v", config, err)
		}
		if said := fmt.Sprint(warnings, err); strings.Contains(said, secret) {
			t.Errorf("shows a secret: %s", said)
		}
	})
}
