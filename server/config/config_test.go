package config

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
)

// variables is every variable with its default as the specification prints it, a sample, and a value that must be
// refused.
var variables = []struct {
	env      string
	standard any
	sample   string
	want     any
	invalid  []string
	with     []string // what else the sample needs to be valid
	get      func(*Config) any
}{
	{"ORISUN_PG_HOST", "", "db.example.com", "db.example.com", nil, nil, func(c *Config) any { return c.PG.Host }},
	{
		"ORISUN_PG_PORT", 5434, "0", 0,
		[]string{"abc", "-1", "65536", "", "5434 ", "5e3", "99999999999999999999"},
		nil,
		func(c *Config) any { return c.PG.Port },
	},
	{"ORISUN_PG_USER", "postgres", "o'neil", "o'neil", []string{""}, nil, func(c *Config) any { return c.PG.User }},
	{
		"ORISUN_PG_PASSWORD", "postgres", "p=@1 #", "p=@1 #",
		[]string{""},
		nil,
		func(c *Config) any { return c.PG.Password },
	},
	{"ORISUN_PG_NAME", "orisun", "events", "events", []string{""}, nil, func(c *Config) any { return c.PG.Name }},
	{
		"ORISUN_PG_SSLMODE", "disable", "verify-full", "verify-full",
		[]string{"on", ""},
		nil,
		func(c *Config) any { return c.PG.SSLMode },
	},
	{
		"ORISUN_PG_SCHEMAS", "orisun_test_1:public,orisun_test_2:test2,orisun_admin:admin",
		"orders:public, orisun_admin:admin", "orders:public,orisun_admin:admin",
		[]string{"", "orders", "orisun_admin:admin,", ":"},
		nil, func(c *Config) any { return text(c.PG.Schemas) },
	},
	{
		"ORISUN_PG_WRITE_MAX_OPEN_CONNS", int32(10), "7", int32(7),
		[]string{"0", "ten"},
		nil,
		func(c *Config) any { return c.PG.WriteMaxOpen },
	},
	{
		"ORISUN_PG_WRITE_MAX_IDLE_CONNS", int32(3), "0", int32(0),
		[]string{"-1"},
		nil,
		func(c *Config) any { return c.PG.WriteMaxIdle },
	},
	{
		"ORISUN_PG_WRITE_CONN_MAX_LIFETIME", time.Hour, "5m", 5 * time.Minute,
		[]string{"0s", "1h30"},
		nil,
		func(c *Config) any { return c.PG.WriteMaxLifetime },
	},
	{
		"ORISUN_PG_WRITE_CONN_MAX_IDLE_TIME", 10 * time.Second, "1m", time.Minute,
		[]string{"25h"},
		nil,
		func(c *Config) any { return c.PG.WriteMaxIdleTime },
	},
	{
		"ORISUN_PG_READ_MAX_OPEN_CONNS", int32(10), "8", int32(8),
		[]string{"0"},
		nil,
		func(c *Config) any { return c.PG.ReadMaxOpen },
	},
	{
		"ORISUN_PG_READ_MAX_IDLE_CONNS", int32(5), "6", int32(6),
		[]string{"4294967297"},
		nil,
		func(c *Config) any { return c.PG.ReadMaxIdle },
	},
	{
		"ORISUN_PG_READ_CONN_MAX_LIFETIME", time.Hour, "5m", 5 * time.Minute,
		[]string{"0s", "1h30"},
		nil,
		func(c *Config) any { return c.PG.ReadMaxLifetime },
	},
	{
		"ORISUN_PG_READ_CONN_MAX_IDLE_TIME", 10 * time.Second, "1m", time.Minute,
		[]string{"25h"},
		nil,
		func(c *Config) any { return c.PG.ReadMaxIdleTime },
	},
	{
		"ORISUN_PG_ADMIN_MAX_OPEN_CONNS", int32(5), "9", int32(9),
		[]string{"1.5"},
		nil,
		func(c *Config) any { return c.PG.AdminMaxOpen },
	},
	{
		"ORISUN_PG_ADMIN_MAX_IDLE_CONNS", int32(1), "2", int32(2),
		[]string{"x"},
		nil,
		func(c *Config) any { return c.PG.AdminMaxIdle },
	},
	{
		"ORISUN_PG_ADMIN_CONN_MAX_LIFETIME", time.Hour, "5m", 5 * time.Minute,
		[]string{"0s", "1h30"},
		nil,
		func(c *Config) any { return c.PG.AdminMaxLifetime },
	},
	{
		"ORISUN_PG_ADMIN_CONN_MAX_IDLE_TIME", 10 * time.Second, "1m", time.Minute,
		[]string{"25h"},
		nil,
		func(c *Config) any { return c.PG.AdminMaxIdleTime },
	},
	{
		"ORISUN_PG_STATEMENT_TIMEOUT", 30 * time.Second, "1m30s", 90 * time.Second,
		[]string{"30", "0s", "500us", "25h"},
		nil,
		func(c *Config) any { return c.PG.StatementTimeout },
	},
	{
		"ORISUN_PG_AUTO_MIGRATE", true, "false", false,
		[]string{"no", ""},
		nil,
		func(c *Config) any { return c.PG.AutoMigrate },
	},
	{
		"ORISUN_PG_MIGRATIONS_TABLE", "public.goose_db_version", "ops.versions", "ops.versions",
		[]string{"versions", "a.b.c", "ops.V", "ops.v;drop", "", "." + strings.Repeat("x", 3)},
		nil,
		func(c *Config) any { return c.PG.MigrationsTable },
	},
	{
		"ORISUN_PG_DATA_DIR", "./data/orisun/pg", "/var/lib/pg", "/var/lib/pg",
		[]string{""},
		nil,
		func(c *Config) any { return c.PG.DataDir },
	},
	{"ORISUN_PG_BIN_DIR", "", "/opt/pg/bin", "/opt/pg/bin", nil, nil, func(c *Config) any { return c.PG.BinDir }},
	{
		"ORISUN_ADMIN_BOUNDARY", "orisun_admin", "orisun_test_1", "orisun_test_1",
		[]string{"", "nowhere"},
		nil,
		func(c *Config) any { return c.Admin.Boundary },
	},
	{"ORISUN_ADMIN_USERNAME", "admin", "root", "root", []string{""}, nil, func(c *Config) any { return c.Admin.Username }},
	{
		"ORISUN_ADMIN_PASSWORD", "changeit", "s3cret", "s3cret",
		[]string{""},
		nil,
		func(c *Config) any { return c.Admin.Password },
	},
	{"ORISUN_ADMIN_HOST", "", "127.0.0.1", "127.0.0.1", nil, nil, func(c *Config) any { return c.Admin.Host }},
	{"ORISUN_ADMIN_PORT", 8991, "0", 0, []string{"http"}, nil, func(c *Config) any { return c.Admin.Port }},
	{
		"ORISUN_ADMIN_ALLOWED_HOSTS", "localhost", "orisun.test,localhost", "orisun.test,localhost", nil, nil,
		func(c *Config) any { return c.Admin.AllowedHosts },
	},
	{
		"ORISUN_CONSOLE_ENABLED", true, "false", false,
		[]string{"yes"},
		nil,
		func(c *Config) any { return c.Admin.ConsoleEnabled },
	},
	{
		"ORISUN_ADMIN_READ_TIMEOUT", time.Minute, "5s", 5 * time.Second,
		[]string{"0s", "60"},
		nil,
		func(c *Config) any { return c.Admin.ReadTimeout },
	},
	{
		"ORISUN_ADMIN_WRITE_TIMEOUT", 2 * time.Minute, "5s", 5 * time.Second,
		[]string{"0s", "60"},
		nil,
		func(c *Config) any { return c.Admin.WriteTimeout },
	},
	{"ORISUN_GRPC_HOST", "", "::1", "::1", nil, nil, func(c *Config) any { return c.GRPC.Host }},
	{
		"ORISUN_GRPC_PORT", 5005, "5006", 5006,
		[]string{"tcp://10.0.0.1:5005"},
		nil,
		func(c *Config) any { return c.GRPC.Port },
	},
	{
		"ORISUN_GRPC_ENABLE_REFLECTION", true, "false", false,
		[]string{"yes"},
		nil,
		func(c *Config) any { return c.GRPC.EnableReflection },
	},
	{
		"ORISUN_GRPC_CONNECTION_TIMEOUT", time.Minute, "1s", time.Second,
		[]string{"0", "-1s"},
		nil,
		func(c *Config) any { return c.GRPC.ConnectionTimeout },
	},
	{
		"ORISUN_GRPC_KEEP_ALIVE_TIME", 30 * time.Second, "1h", time.Hour,
		[]string{"999ms"},
		nil,
		func(c *Config) any { return c.GRPC.KeepAliveTime },
	},
	{
		"ORISUN_GRPC_KEEP_ALIVE_TIMEOUT", 5 * time.Second, "6s", 6 * time.Second,
		[]string{"soon"},
		nil,
		func(c *Config) any { return c.GRPC.KeepAliveTimeout },
	},
	{
		"ORISUN_GRPC_MAX_CONCURRENT_STREAMS", uint32(10000), "50", uint32(50),
		[]string{"0", "-1", "4294967297"},
		nil,
		func(c *Config) any { return c.GRPC.MaxConcurrentStreams },
	},
	{
		"ORISUN_GRPC_MAX_CONCURRENT_CALLS", 1000, "100", 100,
		[]string{"0", "1000001"},
		nil,
		func(c *Config) any { return c.GRPC.MaxConcurrentCalls },
	},
	{
		"ORISUN_GRPC_MAX_BYTES_IN_FLIGHT", 201326592, "1048576", 1048576,
		[]string{"1048575"},
		nil,
		func(c *Config) any { return c.GRPC.MaxBytesInFlight },
	},
	{
		"ORISUN_GRPC_MAX_SUBSCRIBER_NAMES", 1000, "50", 50,
		[]string{"0", "100001"},
		nil,
		func(c *Config) any { return c.GRPC.MaxSubscriberNames },
	},
	{
		"ORISUN_MAX_SUBSCRIPTIONS", 1000, "50", 50,
		[]string{"0", "100001"},
		nil,
		func(c *Config) any { return c.GRPC.MaxSubscriptions },
	},
	{
		"ORISUN_MAX_CONSUMERS", 1000, "50", 50,
		[]string{"0", "100001"},
		nil,
		func(c *Config) any { return c.GRPC.MaxConsumers },
	},
	{
		"ORISUN_MAX_PARKED_EVENTS", 10000, "50", 50,
		[]string{"0", "1000001"},
		nil,
		func(c *Config) any { return c.GRPC.MaxParkedEvents },
	},
	{
		"ORISUN_GRPC_MAX_RECEIVE_MESSAGE_SIZE", 67108864, "1048576", 1048576,
		[]string{"64MB", "3000000000"},
		nil,
		func(c *Config) any { return c.GRPC.MaxReceiveMessageSize },
	},
	{
		"ORISUN_GRPC_MAX_SEND_MESSAGE_SIZE", 67108864, "2097152", 2097152,
		[]string{"0"},
		nil,
		func(c *Config) any { return c.GRPC.MaxSendMessageSize },
	},
	{
		"ORISUN_GRPC_TLS_ENABLED", false, "true", true,
		[]string{"on"},
		nil,
		func(c *Config) any { return c.GRPC.TLSEnabled },
	},
	{
		"ORISUN_GRPC_TLS_CERT_FILE", "/etc/orisun/tls/server.crt", "/tls/s.crt", "/tls/s.crt",
		[]string{""},
		[]string{"ORISUN_GRPC_TLS_ENABLED=true"},
		func(c *Config) any { return c.GRPC.TLSCertFile },
	},
	{
		"ORISUN_GRPC_TLS_KEY_FILE", "/etc/orisun/tls/server.key", "/tls/s.key", "/tls/s.key",
		[]string{""},
		[]string{"ORISUN_GRPC_TLS_ENABLED=true"},
		func(c *Config) any { return c.GRPC.TLSKeyFile },
	},
	{
		"ORISUN_GRPC_TLS_CA_FILE", "/etc/orisun/tls/ca.crt", "/tls/ca.crt", "/tls/ca.crt",
		[]string{""},
		[]string{"ORISUN_GRPC_TLS_ENABLED=true", "ORISUN_GRPC_TLS_CLIENT_AUTH_REQUIRED=true"},
		func(c *Config) any { return c.GRPC.TLSCAFile },
	},
	{
		"ORISUN_GRPC_TLS_CLIENT_AUTH_REQUIRED", false, "true", true,
		[]string{"2"},
		[]string{"ORISUN_GRPC_TLS_ENABLED=true"},
		func(c *Config) any { return c.GRPC.TLSClientAuthRequired },
	},
	{
		"ORISUN_GRPC_TLS_CLIENT_IDENTITY", "off", "CN", "cn",
		[]string{"dns"},
		[]string{"ORISUN_GRPC_TLS_ENABLED=true", "ORISUN_GRPC_TLS_CLIENT_AUTH_REQUIRED=true"},
		func(c *Config) any { return c.GRPC.TLSClientIdentity },
	},
	{
		"ORISUN_NATS_SERVER_NAME", "orisun-nats-2", "node-1", "node-1",
		[]string{""},
		nil,
		func(c *Config) any { return c.NATS.ServerName },
	},
	{"ORISUN_NATS_HOST", "127.0.0.1", "0.0.0.0", "0.0.0.0", nil, nil, func(c *Config) any { return c.NATS.Host }},
	{"ORISUN_NATS_PORT", 4224, "4222", 4222, []string{"70000"}, nil, func(c *Config) any { return c.NATS.Port }},
	{
		"ORISUN_NATS_TLS_ENABLED", false, "true", true,
		[]string{"maybe"},
		nil,
		func(c *Config) any { return c.NATS.TLSEnabled },
	},
	{
		"ORISUN_NATS_TLS_CERT_FILE", "/etc/orisun/tls/server.crt", "/c", "/c", nil, nil,
		func(c *Config) any { return c.NATS.TLSCertFile },
	},
	{
		"ORISUN_NATS_TLS_KEY_FILE", "/etc/orisun/tls/server.key", "/k", "/k", nil, nil,
		func(c *Config) any { return c.NATS.TLSKeyFile },
	},
	{
		"ORISUN_NATS_TLS_CA_FILE", "/etc/orisun/tls/ca.crt", "/a", "/a", nil, nil,
		func(c *Config) any { return c.NATS.TLSCAFile },
	},
	{
		"ORISUN_NATS_MAX_PAYLOAD", int32(1048576), "67108864", int32(67108864),
		[]string{"4095", "67108865"},
		nil,
		func(c *Config) any { return c.NATS.MaxPayload },
	},
	{
		"ORISUN_NATS_STORE_DIR", "./data/orisun/nats", "/var/nats", "/var/nats",
		[]string{""},
		nil,
		func(c *Config) any { return c.NATS.StoreDir },
	},
	{
		"ORISUN_NATS_STREAM_REPLICAS", 0, "3", 3,
		[]string{"-1", "6"},
		nil,
		func(c *Config) any { return c.NATS.StreamReplicas },
	},
	{
		"ORISUN_NATS_STREAM_MAX_BYTES", 1073741824, "134217728", 134217728,
		[]string{"0", "134217727"},
		nil,
		func(c *Config) any { return c.NATS.StreamMaxBytes },
	},
	{
		"ORISUN_NATS_STREAM_MAX_AGE", 168 * time.Hour, "90m", 90 * time.Minute,
		[]string{"-1s", "7"},
		nil,
		func(c *Config) any { return c.NATS.StreamMaxAge },
	},
	{"ORISUN_NATS_STREAM_MAX_MSGS", 0, "10", 10, []string{"-1"}, nil, func(c *Config) any { return c.NATS.StreamMaxMsgs }},
	{
		"ORISUN_NATS_CLUSTER_ENABLED", false, "true", true,
		[]string{"maybe"},
		[]string{"ORISUN_PG_HOST=db", "ORISUN_NATS_CLUSTER_PASSWORD=own"},
		func(c *Config) any { return c.NATS.ClusterEnabled },
	},
	{
		"ORISUN_NATS_CLUSTER_NAME", "orisun-nats-cluster", "c1", "c1",
		[]string{""},
		nil,
		func(c *Config) any { return c.NATS.ClusterName },
	},
	{
		"ORISUN_NATS_CLUSTER_HOST", "0.0.0.0", "node1.example.com", "node1.example.com", nil, nil,
		func(c *Config) any { return c.NATS.ClusterHost },
	},
	{"ORISUN_NATS_CLUSTER_PORT", 6222, "0", 0, []string{"-5"}, nil, func(c *Config) any { return c.NATS.ClusterPort }},
	{"ORISUN_NATS_CLUSTER_USERNAME", "nats", "u", "u", nil, nil, func(c *Config) any { return c.NATS.ClusterUsername }},
	{
		"ORISUN_NATS_CLUSTER_PASSWORD", "password@1", "w", "w", nil, nil,
		func(c *Config) any { return c.NATS.ClusterPassword },
	},
	{
		"ORISUN_NATS_CLUSTER_ADVERTISE", "", "node1:6222", "node1:6222", nil, nil,
		func(c *Config) any { return c.NATS.ClusterAdvertise },
	},
	{
		"ORISUN_NATS_CLUSTER_TIMEOUT", 30 * time.Minute, "10s", 10 * time.Second,
		[]string{"1800"},
		nil,
		func(c *Config) any { return c.NATS.ClusterTimeout },
	},
	{
		"ORISUN_NATS_CLUSTER_ROUTES", "nats://0.0.0.0:6223,nats://0.0.0.0:6224", "nats://u:p@a:1,nats://[::1]:2",
		"nats://u:p@a:1,nats://[::1]:2",
		[]string{"a:1", "nats://a", "http://a:1", "nats://a:1/x", "nats://:1", "nats://a:1,", "nats://a:0", "nats://a:65536"},
		nil, func(c *Config) any { return text(c.NATS.ClusterRoutes) },
	},
	{
		"ORISUN_POLLING_PUBLISHER_BATCH_SIZE", 1000, "1", 1,
		[]string{"0", "100001"},
		nil,
		func(c *Config) any { return c.Publisher.BatchSize },
	},
	{
		"ORISUN_LOGGING_LEVEL", slog.LevelInfo, "wArN", slog.LevelWarn,
		[]string{"TRACE", "INFO+2", ""},
		nil,
		func(c *Config) any { return c.Logging.Level },
	},
	{"ORISUN_OTEL_ENABLED", true, "false", false, []string{"?"}, nil, func(c *Config) any { return c.OTEL.Enabled }},
	{
		"ORISUN_OTEL_ENDPOINT", "localhost:4317", "otel:4318", "otel:4318",
		[]string{"https://otel:4318", "otel", ""},
		nil,
		func(c *Config) any { return c.OTEL.Endpoint },
	},
	{
		"ORISUN_OTEL_SERVICE_NAME", "orisun", "shop", "shop",
		[]string{""},
		nil,
		func(c *Config) any { return c.OTEL.ServiceName },
	},
	{"ORISUN_PPROF_ENABLED", false, "1", true, []string{"t rue"}, nil, func(c *Config) any { return c.Pprof.Enabled }},
	{"ORISUN_PPROF_HOST", "127.0.0.1", "0.0.0.0", "0.0.0.0", nil, nil, func(c *Config) any { return c.Pprof.Host }},
	{"ORISUN_PPROF_PORT", 6060, "6061", 6061, []string{"0x10"}, nil, func(c *Config) any { return c.Pprof.Port }},
	{
		"ORISUN_AUTH_SESSION_TTL", 24 * time.Hour, "15m", 15 * time.Minute,
		[]string{"1d", "999ms"},
		nil,
		func(c *Config) any { return c.Auth.SessionTTL },
	},
	{
		"ORISUN_SHUTDOWN_TIMEOUT", 30 * time.Second, "0s", time.Duration(0),
		[]string{"-1s"},
		nil,
		func(c *Config) any { return c.Shutdown.Timeout },
	},
	{
		"ORISUN_SUBSCRIPTION_LAG_WARNING", 5 * time.Minute, "0s", time.Duration(0),
		[]string{"-1s", "300", "8761h"},
		nil,
		func(c *Config) any { return c.Subscription.LagWarning },
	},
	{
		"ORISUN_BOUNDARIES",
		`[{"name":"orisun_test_1","description":"boundary1"},{"name":"orisun_test_2","description":"boundary2"},` +
			`{"name":"orisun_admin","description":"admin boundary"}]`,
		`[{"name":"orisun_admin","description":"a, b: \"c\""}]`, `[{"name":"orisun_admin","description":"a, b: \"c\""}]`,
		[]string{
			"", "[]", "null", "[null]", "orders", `{"name":"a"}`, `[{"name":"orisun_admin","schema":"x"}]`,
			`[{"name":"orisun_admin"}] []`, `[{"name":1}]`, `[{"name":"orisun_admin","description":"\u0000"}]`,
		},
		nil,
		func(c *Config) any { return text(c.Boundaries) },
	},
}

func text(value interface{ MarshalText() ([]byte, error) }) string {
	written, err := value.MarshalText()
	if err != nil {
		return err.Error()
	}
	return string(written)
}

// keyAndFlag spells the documented rule out on its own.
func keyAndFlag(env string) (section, name, flag string) {
	words := strings.Split(strings.ToLower(env), "_")[1:]
	return words[0], strings.Join(words[1:], "_"), "--" + strings.Join(words, "-")
}

func yamlFile(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "orisun.yaml")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func parsedFlags(t *testing.T, args ...string) *pflag.FlagSet {
	t.Helper()
	flags := pflag.NewFlagSet("orisun", pflag.ContinueOnError)
	AddFlags(flags)
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	return flags
}

func mustLoad(t *testing.T, flags *pflag.FlagSet, environ ...string) *Config {
	t.Helper()
	c, warnings, err := Load(flags, environ)
	if err != nil || len(warnings) > 0 {
		t.Fatalf("Load(%q): warnings %q, error %v", environ, warnings, err)
	}
	return c
}

func mustRefuse(t *testing.T, flags *pflag.FlagSet, environ ...string) []string {
	t.Helper()
	c, _, err := Load(flags, environ)
	var refused *InvalidError
	if !errors.As(err, &refused) || c != nil {
		t.Fatalf("Load(%q): config %v, error %v, want an *InvalidError and no config", environ, c, err)
	}
	return refused.problems
}

func TestEveryVariableIsInTheTable(t *testing.T) {
	var declared, tested []string
	for _, f := range fieldsOf(&Config{}) {
		declared = append(declared, f.Variable)
		if f.description == "" {
			t.Errorf("%s has no description", f.Variable)
		}
	}
	for _, v := range variables {
		tested = append(tested, v.env)
	}
	if diff := cmp.Diff(declared, tested); diff != "" {
		t.Error(diff)
	}
	for name := range descriptions {
		if !slices.Contains(declared, name) {
			t.Errorf("%s is described and no setting", name)
		}
	}
}

func TestTheNamedDefaultsAreThoseOfTheSettings(t *testing.T) {
	defaults := map[string]string{}
	for _, f := range fieldsOf(&Config{}) {
		defaults[f.Variable] = f.defaultText
	}
	for variable, named := range map[string]string{
		"ORISUN_GRPC_PORT": DefaultGRPCPort, "ORISUN_ADMIN_USERNAME": DefaultAdminUsername,
		"ORISUN_ADMIN_PASSWORD": DefaultAdminPassword,
		"ORISUN_PG_PASSWORD":    DefaultDatabasePassword, "ORISUN_NATS_CLUSTER_PASSWORD": defaultClusterPassword,
	} {
		if defaults[variable] != named {
			t.Errorf("the default of %s is %q, the constant says %q", variable, defaults[variable], named)
		}
	}
}

func TestEveryVariableArrivesFromEverySource(t *testing.T) {
	standard := mustLoad(t, nil)
	for _, v := range variables {
		t.Run(v.env, func(t *testing.T) {
			if diff := cmp.Diff(v.standard, v.get(standard)); diff != "" {
				t.Errorf("default: %s", diff)
			}
			section, name, flag := keyAndFlag(v.env)
			scalar := v.sample
			switch v.want.(type) {
			case string, slog.Level:
				scalar = fmt.Sprintf("%q", v.sample)
			}
			yaml := fmt.Sprintf("%s:\n  %s: %s\n", section, name, scalar)
			if name == "" {
				yaml = fmt.Sprintf("%s: %s\n", section, scalar)
			}
			for source, c := range map[string]*Config{
				"environment": mustLoad(t, nil, append(v.with, v.env+"="+v.sample)...),
				"file":        mustLoad(t, parsedFlags(t, "--config", yamlFile(t, yaml)), v.with...),
				"flag":        mustLoad(t, parsedFlags(t, flag+"="+v.sample), v.with...),
			} {
				if diff := cmp.Diff(v.want, v.get(c)); diff != "" {
					t.Errorf("%s: %s", source, diff)
				}
			}
		})
	}
}

func TestAnInvalidValueIsNamedWithItsVariable(t *testing.T) {
	for _, v := range variables {
		for _, invalid := range v.invalid {
			t.Run(v.env+"="+invalid, func(t *testing.T) {
				_, _, flag := keyAndFlag(v.env)
				for source, problems := range map[string][]string{
					"environment": mustRefuse(t, nil, append(v.with, v.env+"="+invalid)...),
					"flag":        mustRefuse(t, parsedFlags(t, flag+"="+invalid), v.with...),
				} {
					// Names such as ORISUN_BOUNDARIES follow from each other, so one bad value may be several problems.
					prefix := fmt.Sprintf("%s=%q (%s): ", v.env, invalid, source)
					if !strings.HasPrefix(strings.Join(problems, "\n"), prefix) {
						t.Errorf("%s: problems %q, want one that starts with %q", source, problems, prefix)
					}
				}
			})
		}
	}
}

func TestAllInvalidValuesAreNamedAtOnce(t *testing.T) {
	problems := mustRefuse(t, parsedFlags(t, "--grpc-port=x", "--config", yamlFile(t, "nats: {port: 66666}\n")),
		"ORISUN_PG_PORT=abc", "ORISUN_LOGGING_LEVEL=loud", "ORISUN_PG_SCHEMAS=nothing")
	want := []string{
		`ORISUN_PG_PORT="abc" (environment): must be a whole number from 0 to 65535`,
		`ORISUN_PG_SCHEMAS="nothing" (environment): must be boundary:schema pairs with commas between them; pair 1 is ` +
			`"nothing"`,
		`ORISUN_GRPC_PORT="x" (flag): must be a whole number from 0 to 65535`,
		`ORISUN_NATS_PORT="66666" (file): must be a whole number from 0 to 65535`,
		`ORISUN_LOGGING_LEVEL="loud" (environment): must be one of DEBUG, INFO, WARN, ERROR`,
	}
	if diff := cmp.Diff(want, problems); diff != "" {
		t.Error(diff)
	}
}

func TestALaterSourceWins(t *testing.T) {
	path := yamlFile(t, "grpc: {port: 1}\npg: {host: file, write_max_open_conns: 4}\n")
	environ := []string{"ORISUN_GRPC_PORT=2", "ORISUN_PG_HOST=environment"}

	if c := mustLoad(t, parsedFlags(t, "--config", path)); c.GRPC.Port != 1 || c.PG.Host != "file" ||
		c.PG.WriteMaxOpen != 4 {
		t.Errorf("file over defaults: got %d, %q, %d", c.GRPC.Port, c.PG.Host, c.PG.WriteMaxOpen)
	}
	if c := mustLoad(t, parsedFlags(t, "--config", path), environ...); c.GRPC.Port != 2 || c.PG.Host != "environment" ||
		c.PG.WriteMaxOpen != 4 {
		t.Errorf("environment over file: got %d, %q, %d", c.GRPC.Port, c.PG.Host, c.PG.WriteMaxOpen)
	}
	// A flag that repeats the default is set all the same; flags that are not set leave everything alone.
	if c := mustLoad(t, parsedFlags(t, "--config", path, "--grpc-port", "5005", "--pg-host="),
		environ...); c.GRPC.Port != 5005 || !c.PG.Embedded() || c.PG.WriteMaxOpen != 4 {
		t.Errorf("flags over environment: got %d, %q, %d", c.GRPC.Port, c.PG.Host, c.PG.WriteMaxOpen)
	}
	if c := mustLoad(t, parsedFlags(t, "--config", yamlFile(t, "grpc: {port: abc}\n")),
		"ORISUN_GRPC_PORT=2"); c.GRPC.Port != 2 {
		t.Errorf("a bad value that another one overrides: got %d", c.GRPC.Port)
	}
	if c := mustLoad(t, parsedFlags(t, "--pprof-enabled", "--pg-auto-migrate=false")); !c.Pprof.Enabled ||
		c.PG.AutoMigrate {
		t.Errorf("truth values as flags: got %t, %t", c.Pprof.Enabled, c.PG.AutoMigrate)
	}
}

func TestAHostThatIsSetIsNotEmbedded(t *testing.T) {
	if !mustLoad(t, nil).PG.Embedded() {
		t.Error("no ORISUN_PG_HOST: not embedded")
	}
	if mustLoad(t, nil, "ORISUN_PG_HOST=localhost").PG.Embedded() {
		t.Error("ORISUN_PG_HOST=localhost: embedded")
	}
}

// The environments that the specification prints.
func TestPrintedEnvironmentsRun(t *testing.T) {
	for name, environ := range map[string][]string{
		"docker compose": {
			"ORISUN_PG_HOST=postgres", "ORISUN_PG_USER=postgres", "ORISUN_PG_PASSWORD=password@1", "ORISUN_PG_NAME=orisun",
			"ORISUN_ADMIN_USERNAME=admin", "ORISUN_ADMIN_PASSWORD=changeit",
		},
		"download binary": {
			"ORISUN_PG_HOST=localhost", "ORISUN_PG_USER=postgres", "ORISUN_PG_PASSWORD=your_password",
			"ORISUN_PG_NAME=your_database",
			"ORISUN_PG_SCHEMAS=orisun_test_1:public,orisun_admin:admin",
		},
		"docker standalone": {
			"ORISUN_PG_HOST=host.docker.internal", "ORISUN_PG_USER=postgres", "ORISUN_PG_PASSWORD=your_password",
			"ORISUN_PG_NAME=your_database", "ORISUN_ADMIN_USERNAME=admin", "ORISUN_ADMIN_PASSWORD=changeit",
		},
		"boundaries and schemas": {
			"ORISUN_PG_SCHEMAS=orders:public,payments:public,admin:admin",
			`ORISUN_BOUNDARIES=[{"name":"orders","description":"Order domain"},{"name":"payments","description":"Payment ` +
				`domain"},{"name":"admin","description":"Admin boundary"}]`,
			"ORISUN_ADMIN_BOUNDARY=admin", "ORISUN_PG_HOST=localhost",
		},
		"standalone": {
			"ORISUN_PG_HOST=localhost", "ORISUN_PG_PORT=5432", "ORISUN_PG_USER=postgres", "ORISUN_PG_PASSWORD=your_password",
			"ORISUN_PG_NAME=your_database", "ORISUN_PG_SCHEMAS=orisun_test_1:public,orisun_admin:admin",
			`ORISUN_BOUNDARIES=[{"name":"orisun_test_1","description":"test ` +
				`boundary"},{"name":"orisun_admin","description":"admin boundary"}]`,
			"ORISUN_ADMIN_BOUNDARY=orisun_admin", "ORISUN_GRPC_PORT=5005", "ORISUN_NATS_PORT=4222",
		},
		"clustered, node 1": {
			"ORISUN_PG_HOST=your-postgres-host", "ORISUN_PG_PORT=5432", "ORISUN_PG_USER=postgres",
			"ORISUN_PG_PASSWORD=your_password",
			"ORISUN_PG_NAME=your_database", "ORISUN_PG_SCHEMAS=orisun_test_1:public,orisun_test_2:test2,orisun_admin:admin",
			`ORISUN_BOUNDARIES=[{"name":"orisun_test_1","description":"test ` +
				`boundary"},{"name":"orisun_test_2","description":"test boundary 2"},{"name":"orisun_admin","description":"admin ` +
				`boundary"}]`,
			"ORISUN_ADMIN_BOUNDARY=orisun_admin", "ORISUN_GRPC_PORT=5005", "ORISUN_NATS_PORT=4222",
			"ORISUN_NATS_CLUSTER_ENABLED=true",
			"ORISUN_NATS_CLUSTER_NAME=orisun-cluster", "ORISUN_NATS_CLUSTER_HOST=node1.example.com",
			"ORISUN_NATS_CLUSTER_PORT=6222",
			"ORISUN_NATS_CLUSTER_USERNAME=nats", "ORISUN_NATS_CLUSTER_PASSWORD=secure_cluster_password",
			"ORISUN_NATS_CLUSTER_ROUTES=nats://node2.example.com:6222,nats://node3.example.com:6222",
			"ORISUN_NATS_SERVER_NAME=orisun-node-1",
			"ORISUN_NATS_STORE_DIR=./data/node1/nats",
		},
		"tls": {
			"ORISUN_GRPC_TLS_ENABLED=true", "ORISUN_GRPC_TLS_CERT_FILE=/path/to/server.crt",
			"ORISUN_GRPC_TLS_KEY_FILE=/path/to/server.key",
			"ORISUN_GRPC_TLS_CA_FILE=/path/to/ca.crt", "ORISUN_GRPC_TLS_CLIENT_AUTH_REQUIRED=true",
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := mustLoad(t, nil, environ...)
			for _, b := range c.Boundaries {
				if b.Schema == "" {
					t.Errorf("boundary %q has no schema", b.Name)
				}
			}
		})
	}
}
