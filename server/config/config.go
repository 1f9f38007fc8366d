// Package config reads the server's settings from defaults, then a YAML file, the environment and flags. A later
// source takes precedence. The tags of Config and descriptions describe each setting once. All else derives from them,
// docs/configuration.md included.
package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Config is every setting of the server. The environment, the flags, the keys of the YAML file, the limits, the masking
// and docs/configuration.md all derive from the tags of its fields and from descriptions.
//
//	env      the variable; its flag and its YAML key follow from it (fieldsOf)
//	min,max  the closed range of a number or duration; both are always there
//	enum     the allowed words, matched without regard to case
//	notempty "true" where an empty text is rejected
//	secret   "true" where the value is never shown; "userinfo" where only the part before an @ in a URL is not shown
type Config struct {
	PG        PG
	Admin     Admin
	GRPC      GRPC
	NATS      NATS
	Publisher Publisher
	Logging   Logging
	OTEL      OTEL
	Pprof     Pprof
	Auth      Auth
	Shutdown  Shutdown

	Subscription Subscription

	// Boundaries are never empty, have distinct names, and each has its schema. When only ORISUN_PG_SCHEMAS is given,
	// they are the boundaries that it names.
	Boundaries Boundaries `env:"ORISUN_BOUNDARIES"`
}

// Names reports whether a boundary is one of Boundaries.
func (c *Config) Names(boundary string) bool {
	return slices.ContainsFunc(c.Boundaries, func(b Boundary) bool { return b.Name == boundary })
}

// PG is where the events are stored. Host distinguishes the two ways of running: see Embedded.
type PG struct {
	Host             string        `env:"ORISUN_PG_HOST" secret:"userinfo"`
	Port             int           `env:"ORISUN_PG_PORT" min:"0" max:"65535"`
	User             string        `env:"ORISUN_PG_USER" notempty:"true"`
	Password         string        `env:"ORISUN_PG_PASSWORD" secret:"true"`
	Name             string        `env:"ORISUN_PG_NAME" notempty:"true"`
	SSLMode          string        `env:"ORISUN_PG_SSLMODE" enum:"disable,allow,prefer,require,verify-ca,verify-full"`
	Schemas          Schemas       `env:"ORISUN_PG_SCHEMAS"`
	WriteMaxOpen     int32         `env:"ORISUN_PG_WRITE_MAX_OPEN_CONNS" min:"1" max:"10000"`
	WriteMaxIdle     int32         `env:"ORISUN_PG_WRITE_MAX_IDLE_CONNS" min:"0" max:"10000"`
	WriteMaxLifetime time.Duration `env:"ORISUN_PG_WRITE_CONN_MAX_LIFETIME" min:"1s" max:"8760h"`
	WriteMaxIdleTime time.Duration `env:"ORISUN_PG_WRITE_CONN_MAX_IDLE_TIME" min:"1s" max:"24h"`
	ReadMaxOpen      int32         `env:"ORISUN_PG_READ_MAX_OPEN_CONNS" min:"1" max:"10000"`
	ReadMaxIdle      int32         `env:"ORISUN_PG_READ_MAX_IDLE_CONNS" min:"0" max:"10000"`
	ReadMaxLifetime  time.Duration `env:"ORISUN_PG_READ_CONN_MAX_LIFETIME" min:"1s" max:"8760h"`
	ReadMaxIdleTime  time.Duration `env:"ORISUN_PG_READ_CONN_MAX_IDLE_TIME" min:"1s" max:"24h"`
	AdminMaxOpen     int32         `env:"ORISUN_PG_ADMIN_MAX_OPEN_CONNS" min:"1" max:"10000"`
	AdminMaxIdle     int32         `env:"ORISUN_PG_ADMIN_MAX_IDLE_CONNS" min:"0" max:"10000"`
	AdminMaxLifetime time.Duration `env:"ORISUN_PG_ADMIN_CONN_MAX_LIFETIME" min:"1s" max:"8760h"`
	AdminMaxIdleTime time.Duration `env:"ORISUN_PG_ADMIN_CONN_MAX_IDLE_TIME" min:"1s" max:"24h"`
	StatementTimeout time.Duration `env:"ORISUN_PG_STATEMENT_TIMEOUT" min:"1ms" max:"24h"`
	AutoMigrate      bool          `env:"ORISUN_PG_AUTO_MIGRATE"`
	MigrationsTable  string        `env:"ORISUN_PG_MIGRATIONS_TABLE"`
	DataDir          string        `env:"ORISUN_PG_DATA_DIR" notempty:"true"`
	BinDir           string        `env:"ORISUN_PG_BIN_DIR"`
}

// Embedded reports that no host is given, so the server starts a PostgreSQL of its own.
func (c PG) Embedded() bool { return c.Host == "" }

// Admin is the boundary that holds the users, the first of them, and the port for HTTP.
type Admin struct {
	Boundary string `env:"ORISUN_ADMIN_BOUNDARY" notempty:"true"`
	Username string `env:"ORISUN_ADMIN_USERNAME" notempty:"true"`
	Password string `env:"ORISUN_ADMIN_PASSWORD" notempty:"true" secret:"true"`
	Host     string `env:"ORISUN_ADMIN_HOST"`
	Port     int    `env:"ORISUN_ADMIN_PORT" min:"0" max:"65535"`

	AllowedHosts   string `env:"ORISUN_ADMIN_ALLOWED_HOSTS"`
	ConsoleEnabled bool   `env:"ORISUN_CONSOLE_ENABLED"`

	ReadTimeout  time.Duration `env:"ORISUN_ADMIN_READ_TIMEOUT" min:"1ms" max:"24h"`
	WriteTimeout time.Duration `env:"ORISUN_ADMIN_WRITE_TIMEOUT" min:"1ms" max:"24h"`
}

// GRPC is the gRPC server. Sizes are bytes and end at what an int32 holds; gRPC raises a keep-alive below 1s to 1s.
type GRPC struct {
	Host                  string        `env:"ORISUN_GRPC_HOST"`
	Port                  int           `env:"ORISUN_GRPC_PORT" min:"0" max:"65535"`
	EnableReflection      bool          `env:"ORISUN_GRPC_ENABLE_REFLECTION"`
	ConnectionTimeout     time.Duration `env:"ORISUN_GRPC_CONNECTION_TIMEOUT" min:"1ms" max:"24h"`
	KeepAliveTime         time.Duration `env:"ORISUN_GRPC_KEEP_ALIVE_TIME" min:"1s" max:"24h"`
	KeepAliveTimeout      time.Duration `env:"ORISUN_GRPC_KEEP_ALIVE_TIMEOUT" min:"1ms" max:"24h"`
	MaxConcurrentStreams  uint32        `env:"ORISUN_GRPC_MAX_CONCURRENT_STREAMS" min:"1" max:"2147483647"`
	MaxConcurrentCalls    int           `env:"ORISUN_GRPC_MAX_CONCURRENT_CALLS" min:"1" max:"1000000"`
	MaxBytesInFlight      int           `env:"ORISUN_GRPC_MAX_BYTES_IN_FLIGHT" min:"1048576" max:"1099511627776"`
	MaxSubscriberNames    int           `env:"ORISUN_GRPC_MAX_SUBSCRIBER_NAMES" min:"1" max:"100000"`
	MaxSubscriptions      int           `env:"ORISUN_MAX_SUBSCRIPTIONS" min:"1" max:"100000"`
	MaxConsumers          int           `env:"ORISUN_MAX_CONSUMERS" min:"1" max:"100000"`
	MaxParkedEvents       int           `env:"ORISUN_MAX_PARKED_EVENTS" min:"1" max:"1000000"`
	MaxReceiveMessageSize int           `env:"ORISUN_GRPC_MAX_RECEIVE_MESSAGE_SIZE" min:"1024" max:"2147483647"`
	MaxSendMessageSize    int           `env:"ORISUN_GRPC_MAX_SEND_MESSAGE_SIZE" min:"1024" max:"2147483647"`
	TLSEnabled            bool          `env:"ORISUN_GRPC_TLS_ENABLED"`
	TLSCertFile           string        `env:"ORISUN_GRPC_TLS_CERT_FILE"`
	TLSKeyFile            string        `env:"ORISUN_GRPC_TLS_KEY_FILE"`
	TLSCAFile             string        `env:"ORISUN_GRPC_TLS_CA_FILE"`
	TLSClientAuthRequired bool          `env:"ORISUN_GRPC_TLS_CLIENT_AUTH_REQUIRED"`
	TLSClientIdentity     string        `env:"ORISUN_GRPC_TLS_CLIENT_IDENTITY" enum:"off,cn,san"`
}

// NATS is the embedded NATS server. Its payload is at least 4 kB, so that an event fits beside its headers, and at most
// 64 MB, as NATS refuses a payload larger than what may be pending to one client.
type NATS struct {
	ServerName       string        `env:"ORISUN_NATS_SERVER_NAME" notempty:"true"`
	Host             string        `env:"ORISUN_NATS_HOST"`
	Port             int           `env:"ORISUN_NATS_PORT" min:"0" max:"65535"`
	TLSEnabled       bool          `env:"ORISUN_NATS_TLS_ENABLED"`
	TLSCertFile      string        `env:"ORISUN_NATS_TLS_CERT_FILE"`
	TLSKeyFile       string        `env:"ORISUN_NATS_TLS_KEY_FILE"`
	TLSCAFile        string        `env:"ORISUN_NATS_TLS_CA_FILE"`
	MaxPayload       int32         `env:"ORISUN_NATS_MAX_PAYLOAD" min:"4096" max:"67108864"`
	StoreDir         string        `env:"ORISUN_NATS_STORE_DIR" notempty:"true"`
	StreamReplicas   int           `env:"ORISUN_NATS_STREAM_REPLICAS" min:"0" max:"5"`
	StreamMaxBytes   int           `env:"ORISUN_NATS_STREAM_MAX_BYTES" min:"134217728" max:"1099511627776"`
	StreamMaxAge     time.Duration `env:"ORISUN_NATS_STREAM_MAX_AGE" min:"0s" max:"87600h"`
	StreamMaxMsgs    int           `env:"ORISUN_NATS_STREAM_MAX_MSGS" min:"0" max:"1000000000000"`
	ClusterEnabled   bool          `env:"ORISUN_NATS_CLUSTER_ENABLED"`
	ClusterName      string        `env:"ORISUN_NATS_CLUSTER_NAME" notempty:"true"`
	ClusterHost      string        `env:"ORISUN_NATS_CLUSTER_HOST"`
	ClusterPort      int           `env:"ORISUN_NATS_CLUSTER_PORT" min:"0" max:"65535"`
	ClusterUsername  string        `env:"ORISUN_NATS_CLUSTER_USERNAME"`
	ClusterPassword  string        `env:"ORISUN_NATS_CLUSTER_PASSWORD" secret:"true"`
	ClusterAdvertise string        `env:"ORISUN_NATS_CLUSTER_ADVERTISE"`
	ClusterTimeout   time.Duration `env:"ORISUN_NATS_CLUSTER_TIMEOUT" min:"1ms" max:"24h"`
	ClusterRoutes    Routes        `env:"ORISUN_NATS_CLUSTER_ROUTES" secret:"userinfo"`
}

// Replicas is how many copies of a stream JetStream keeps.
func (c NATS) Replicas() int {
	const clusterReplicas = 3
	switch {
	case c.StreamReplicas > 0:
		return c.StreamReplicas
	case c.ClusterEnabled:
		return clusterReplicas
	default:
		return 1
	}
}

// Publisher configures publishing from the outbox to JetStream.
type Publisher struct {
	BatchSize int `env:"ORISUN_POLLING_PUBLISHER_BATCH_SIZE" min:"1" max:"100000"`
}

// Logging configures the log.
type Logging struct {
	Level slog.Level `env:"ORISUN_LOGGING_LEVEL" enum:"DEBUG,INFO,WARN,ERROR"`
}

// OTEL is where traces go.
type OTEL struct {
	Enabled     bool   `env:"ORISUN_OTEL_ENABLED"`
	Endpoint    string `env:"ORISUN_OTEL_ENDPOINT" secret:"userinfo"`
	ServiceName string `env:"ORISUN_OTEL_SERVICE_NAME" notempty:"true"`
}

// Pprof is Go's profiler. Profiles are not for other people, so by default it listens on loopback only.
type Pprof struct {
	Enabled bool   `env:"ORISUN_PPROF_ENABLED"`
	Host    string `env:"ORISUN_PPROF_HOST"`
	Port    int    `env:"ORISUN_PPROF_PORT" min:"0" max:"65535"`
}

// Auth is how long a login lasts.
type Auth struct {
	SessionTTL time.Duration `env:"ORISUN_AUTH_SESSION_TTL" min:"1s" max:"8760h"`
}

// Shutdown is how long the server drains before it cuts what is left.
type Shutdown struct {
	Timeout time.Duration `env:"ORISUN_SHUTDOWN_TIMEOUT" min:"0s" max:"24h"`
}

// Subscription is when /readyz warns of durable subscriptions.
type Subscription struct {
	LagWarning time.Duration `env:"ORISUN_SUBSCRIPTION_LAG_WARNING" min:"0s" max:"8760h"`
}

// Boundary is one domain of events. Schema is where its tables are; it comes from ORISUN_PG_SCHEMAS.
type Boundary struct {
	Name        string `json:"name"`
	Description string `json:"description"`
	Schema      string `json:"-"`
}

// Boundaries reads the JSON of ORISUN_BOUNDARIES.
type Boundaries []Boundary

// UnmarshalText expects one JSON array of {"name", "description"} and nothing beside it. checkBoundaries validates
// the names.
func (b *Boundaries) UnmarshalText(text []byte) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	var read []Boundary
	if err := decoder.Decode(&read); err != nil {
		return fmt.Errorf(`must be a JSON array such as [{"name":"orders","description":"Order domain"}]: %w`, err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("must be one JSON array, and nothing after it (byte %d)", decoder.InputOffset())
	}
	*b = read
	return nil
}

// MarshalText writes what UnmarshalText reads.
func (b Boundaries) MarshalText() ([]byte, error) { return json.Marshal([]Boundary(b)) }

// SchemaMapping is one boundary:schema of ORISUN_PG_SCHEMAS.
type SchemaMapping struct{ Boundary, Schema string }

// Schemas reads ORISUN_PG_SCHEMAS.
type Schemas []SchemaMapping

// UnmarshalText expects boundary:schema pairs with commas between them. Space around a name is ignored.
// checkBoundaries validates the names.
func (s *Schemas) UnmarshalText(text []byte) error {
	var read Schemas
	for i, pair := range strings.Split(string(text), ",") {
		boundary, schema, found := strings.Cut(pair, ":")
		if !found {
			return fmt.Errorf("must be boundary:schema pairs with commas between them; pair %d is %q", i+1, pair)
		}
		read = append(read, SchemaMapping{strings.TrimSpace(boundary), strings.TrimSpace(schema)})
	}
	*s = read
	return nil
}

// MarshalText writes what UnmarshalText reads.
func (s Schemas) MarshalText() ([]byte, error) {
	pairs := make([]string, len(s))
	for i, m := range s {
		pairs[i] = m.Boundary + ":" + m.Schema
	}
	return []byte(strings.Join(pairs, ",")), nil
}

// Routes reads ORISUN_NATS_CLUSTER_ROUTES. A route may carry a user and a password.
type Routes []*url.URL

// UnmarshalText expects nats://host:port URLs with commas between them. An empty text is no routes. Errors never
// repeat a route, as it may hold a password.
func (r *Routes) UnmarshalText(text []byte) error {
	var read Routes
	if len(text) == 0 {
		*r = read
		return nil
	}
	for i, route := range strings.Split(string(text), ",") {
		u, err := url.Parse(strings.TrimSpace(route))
		if err != nil || !isRoute(u) {
			return fmt.Errorf("must be nats://host:port URLs with commas between them; route %d is not", i+1)
		}
		read = append(read, u)
	}
	*r = read
	return nil
}

func isRoute(u *url.URL) bool {
	port, err := strconv.Atoi(u.Port())
	bare := url.URL{Scheme: "nats", User: u.User, Host: u.Host}
	return err == nil && port >= 1 && port <= 65535 && u.Hostname() != "" && bare.String() == u.String()
}

// MarshalText writes what UnmarshalText reads, passwords included; a comma in a password is escaped.
func (r Routes) MarshalText() ([]byte, error) {
	texts := make([]string, len(r))
	for i, u := range r {
		texts[i] = strings.ReplaceAll(u.String(), ",", "%2C")
	}
	return []byte(strings.Join(texts, ",")), nil
}

// PostgreSQL truncates identifiers at 63 bytes without an error, so two long names could share one table. The longest
// name derived from a boundary is that of its publisher's table, which leaves 26 bytes.
const (
	maxIdentifier   = 63
	maxBoundaryName = maxIdentifier - len("_orisun_last_published_event_position")
)

var (
	nameRule  = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]*$`)
	tableRule = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,62}\.[a-z_][a-z0-9_]{0,62}$`)
)

func checkBoundaryName(name string) error {
	if len(name) > maxBoundaryName || !nameRule.MatchString(name) {
		return fmt.Errorf("boundary %q: a name is 1 to %d bytes of A-Z, a-z, 0-9, _ and -, and starts with a letter or _",
			name, maxBoundaryName)
	}
	return nil
}

func checkSchemaName(name string) error {
	switch {
	case len(name) > maxIdentifier || !nameRule.MatchString(name):
		return fmt.Errorf("schema %q: a name is 1 to %d bytes of A-Z, a-z, 0-9, _ and -, and starts with a letter or _",
			name, maxIdentifier)
	case strings.HasPrefix(name, "pg_") || name == "information_schema":
		return fmt.Errorf("schema %q belongs to PostgreSQL: choose one that is neither pg_* nor information_schema", name)
	case name == "orisun" || name == "orisun_boundary":
		return fmt.Errorf("schema %q belongs to Orisun: choose one that is neither orisun nor orisun_boundary, such as "+
			"public", name)
	}
	return nil
}

const (
	boundariesVariable    = "ORISUN_BOUNDARIES"
	schemasVariable       = "ORISUN_PG_SCHEMAS"
	adminBoundaryVariable = "ORISUN_ADMIN_BOUNDARY"
)

// checkBoundaries gives each boundary its schema. It rejects invalid names, duplicates, a boundary without a schema,
// a schema without a boundary and an unknown admin boundary. Default boundaries follow from configured schemas.
// Default schemas may be without a boundary.
func (r *Reading) checkBoundaries() {
	if !r.valid(boundariesVariable) || !r.valid(schemasVariable) {
		return
	}
	c := r.config
	schemas := r.checkSchemas()
	if !r.given(boundariesVariable) && r.given(schemasVariable) {
		c.Boundaries = make(Boundaries, len(schemas))
		for i, m := range schemas {
			c.Boundaries[i] = Boundary{Name: m.Boundary}
		}
		r.derive(boundariesVariable, schemasVariable, c.Boundaries)
	}

	if len(c.Boundaries) == 0 {
		r.reject(boundariesVariable, "must name at least one boundary")
	}
	known := make(map[string]bool)
	for i := range c.Boundaries {
		b := &c.Boundaries[i]
		if known[b.Name] {
			r.reject(boundariesVariable, "boundary %q stands twice: define it once", b.Name)
			continue
		}
		known[b.Name] = true
		if strings.Contains(b.Description, "\x00") {
			r.reject(boundariesVariable, "boundary %q: PostgreSQL cannot store the NUL in its description", b.Name)
		}
		if err := checkBoundaryName(b.Name); err != nil {
			r.reject(boundariesVariable, "%v", err)
			continue
		}
		place := slices.IndexFunc(schemas, func(m SchemaMapping) bool { return m.Boundary == b.Name })
		if place < 0 {
			r.reject(boundariesVariable, "boundary %q has no schema: add %s:<schema> to %s", b.Name, b.Name, schemasVariable)
			continue
		}
		b.Schema = schemas[place].Schema
	}
	for _, m := range schemas {
		if !known[m.Boundary] && r.given(schemasVariable) {
			r.reject(schemasVariable, "schema %q is for boundary %q, which is not configured: add it to %s or remove %s:%s",
				m.Schema, m.Boundary, boundariesVariable, m.Boundary, m.Schema)
		}
	}
	if r.valid(adminBoundaryVariable) && !known[c.Admin.Boundary] {
		r.reject(adminBoundaryVariable, "boundary %q is not configured: add it to %s and %s, or name one that is",
			c.Admin.Boundary, boundariesVariable, schemasVariable)
	}
}

// checkSchemas rejects invalid names and duplicates of ORISUN_PG_SCHEMAS, and returns the mappings of distinct, valid
// boundaries.
func (r *Reading) checkSchemas() Schemas {
	var sound Schemas
	for _, m := range r.config.PG.Schemas {
		if err := checkSchemaName(m.Schema); err != nil {
			r.reject(schemasVariable, "%v", err)
		}
		if err := checkBoundaryName(m.Boundary); err != nil {
			r.reject(schemasVariable, "%v", err)
			continue
		}
		if slices.ContainsFunc(sound, func(s SchemaMapping) bool { return s.Boundary == m.Boundary }) {
			r.reject(schemasVariable, "boundary %q stands twice: give it one schema", m.Boundary)
			continue
		}
		sound = append(sound, m)
	}
	return sound
}

// Defaults that the server warns about, or that clients use as well. A test compares them with descriptions.
const (
	DefaultGRPCPort         = "5005"
	DefaultAdminUsername    = "admin"
	DefaultAdminPassword    = "changeit"
	DefaultDatabasePassword = "postgres"
	defaultClusterPassword  = "password@1"
)

// checkTogether rejects settings that are valid alone and invalid in combination.
func (r *Reading) checkTogether() {
	c := r.config
	otelHost, otelPort, otelErr := net.SplitHostPort(c.OTEL.Endpoint)
	for _, rule := range []struct {
		broken  bool
		env     string
		allowed string
	}{
		{
			c.PG.Embedded() && c.PG.Password == "", "ORISUN_PG_PASSWORD",
			"must not be empty for the server's own PostgreSQL: set it, or set ORISUN_PG_HOST",
		},
		{
			!c.PG.Embedded() && c.PG.Port == 0, "ORISUN_PG_PORT",
			"must be 1 to 65535 when ORISUN_PG_HOST is set; 0 is for the server's own PostgreSQL",
		},
		{
			!tableRule.MatchString(c.PG.MigrationsTable), "ORISUN_PG_MIGRATIONS_TABLE",
			"must be schema.table, each 1 to 63 of a-z, 0-9 and _, and not starting with a digit",
		},
		{
			c.GRPC.TLSEnabled && c.GRPC.TLSCertFile == "", "ORISUN_GRPC_TLS_CERT_FILE",
			"must not be empty when ORISUN_GRPC_TLS_ENABLED is true",
		},
		{
			c.GRPC.TLSEnabled && c.GRPC.TLSKeyFile == "", "ORISUN_GRPC_TLS_KEY_FILE",
			"must not be empty when ORISUN_GRPC_TLS_ENABLED is true",
		},
		{
			c.GRPC.TLSClientAuthRequired && c.GRPC.TLSCAFile == "", "ORISUN_GRPC_TLS_CA_FILE",
			"must not be empty when ORISUN_GRPC_TLS_CLIENT_AUTH_REQUIRED is true",
		},
		{
			c.GRPC.TLSClientAuthRequired && !c.GRPC.TLSEnabled, "ORISUN_GRPC_TLS_CLIENT_AUTH_REQUIRED",
			"must be false without TLS, which alone carries client certificates: set ORISUN_GRPC_TLS_ENABLED=true",
		},
		{
			c.GRPC.TLSClientIdentity != "off" && !c.GRPC.TLSClientAuthRequired, "ORISUN_GRPC_TLS_CLIENT_IDENTITY",
			"must be off unless ORISUN_GRPC_TLS_CLIENT_AUTH_REQUIRED is true",
		},
		{
			c.NATS.ClusterEnabled && len(c.NATS.ClusterRoutes) == 0, "ORISUN_NATS_CLUSTER_ROUTES",
			"must name the other nodes when ORISUN_NATS_CLUSTER_ENABLED is true",
		},
		{
			c.NATS.ClusterEnabled && c.NATS.ClusterPassword == defaultClusterPassword, "ORISUN_NATS_CLUSTER_PASSWORD",
			"must not be the default when ORISUN_NATS_CLUSTER_ENABLED is true, since it is public and lets a client join as a " +
				"node and read every boundary: set another one, the same on all nodes",
		},
		{
			c.NATS.ClusterEnabled && c.PG.Embedded(), "ORISUN_PG_HOST",
			"must name the database that all nodes share when ORISUN_NATS_CLUSTER_ENABLED is true: a PostgreSQL of its own " +
				"would make this node another store",
		},
		{
			c.NATS.TLSEnabled && c.NATS.TLSCertFile == "", "ORISUN_NATS_TLS_CERT_FILE",
			"must not be empty when ORISUN_NATS_TLS_ENABLED is true",
		},
		{
			c.NATS.TLSEnabled && c.NATS.TLSKeyFile == "", "ORISUN_NATS_TLS_KEY_FILE",
			"must not be empty when ORISUN_NATS_TLS_ENABLED is true",
		},
		{
			c.NATS.TLSEnabled && c.NATS.ClusterEnabled && c.NATS.TLSCAFile == "", "ORISUN_NATS_TLS_CA_FILE",
			"must not be empty when ORISUN_NATS_TLS_ENABLED and ORISUN_NATS_CLUSTER_ENABLED are true: nodes verify each other " +
				"with it",
		},
		{
			c.OTEL.Enabled && (otelErr != nil || otelHost == "" || otelPort == ""), "ORISUN_OTEL_ENDPOINT",
			"must be host:port, without a scheme, when ORISUN_OTEL_ENABLED is true",
		},
	} {
		if rule.broken && r.valid(rule.env) {
			r.reject(rule.env, "%s", rule.allowed)
		}
	}
}
