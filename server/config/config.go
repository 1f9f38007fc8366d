// Package config reads the server's settings from defaults, then a YAML file, the environment and flags. A later
// source takes precedence. The tags of Config describe each setting once. All else derives from them,
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

// Config is every setting of the server. The tags of its fields are the only description of a setting. The
// environment, the flags, the keys of the YAML file, the limits, the masking and docs/configuration.md all derive
// from them.
//
//	env      the variable; its flag and its YAML key follow from it (fieldsOf)
//	default  the value when none is given, written as it would be in the environment
//	desc     one line for people
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
	Boundaries Boundaries `env:"ORISUN_BOUNDARIES" default:"[{\"name\":\"orisun_test_1\",\"description\":\"boundary1\"},{\"name\":\"orisun_test_2\",\"description\":\"boundary2\"},{\"name\":\"orisun_admin\",\"description\":\"admin boundary\"}]" desc:"JSON array of boundary definitions; when only ORISUN_PG_SCHEMAS is given, the boundaries it names"`
}

// Names reports whether a boundary is one of Boundaries.
func (c *Config) Names(boundary string) bool {
	return slices.ContainsFunc(c.Boundaries, func(b Boundary) bool { return b.Name == boundary })
}

// PG is where the events are stored. Host distinguishes the two ways of running: see Embedded.
type PG struct {
	Host             string        `env:"ORISUN_PG_HOST" secret:"userinfo" desc:"PostgreSQL host; several, with commas between them, are a primary and its standbys: the server uses the one that takes writes; when empty, the server runs a PostgreSQL of its own, reachable at localhost:ORISUN_PG_PORT"`
	Port             int           `env:"ORISUN_PG_PORT" default:"5434" min:"0" max:"65535" desc:"PostgreSQL port; 0 is any free port, for the server's own PostgreSQL only"`
	User             string        `env:"ORISUN_PG_USER" default:"postgres" notempty:"true" desc:"PostgreSQL username"`
	Password         string        `env:"ORISUN_PG_PASSWORD" default:"postgres" secret:"true" desc:"PostgreSQL password"`
	Name             string        `env:"ORISUN_PG_NAME" default:"orisun" notempty:"true" desc:"PostgreSQL database name"`
	SSLMode          string        `env:"ORISUN_PG_SSLMODE" default:"disable" enum:"disable,allow,prefer,require,verify-ca,verify-full" desc:"PostgreSQL SSL mode"`
	Schemas          Schemas       `env:"ORISUN_PG_SCHEMAS" default:"orisun_test_1:public,orisun_test_2:test2,orisun_admin:admin" desc:"Comma-separated boundary:schema mappings"`
	WriteMaxOpen     int32         `env:"ORISUN_PG_WRITE_MAX_OPEN_CONNS" default:"10" min:"1" max:"10000" desc:"Write pool max open connections"`
	WriteMaxIdle     int32         `env:"ORISUN_PG_WRITE_MAX_IDLE_CONNS" default:"3" min:"0" max:"10000" desc:"Write pool max idle connections, never more than the open ones"`
	WriteMaxLifetime time.Duration `env:"ORISUN_PG_WRITE_CONN_MAX_LIFETIME" default:"1h" min:"1s" max:"8760h" desc:"Write pool: time after which a connection is replaced by a new one, as rotated passwords and proxies need it"`
	WriteMaxIdleTime time.Duration `env:"ORISUN_PG_WRITE_CONN_MAX_IDLE_TIME" default:"10s" min:"1s" max:"24h" desc:"Write pool: time after which an unused connection is closed, unless it is one of the max idle ones"`
	ReadMaxOpen      int32         `env:"ORISUN_PG_READ_MAX_OPEN_CONNS" default:"10" min:"1" max:"10000" desc:"Read pool max open connections"`
	ReadMaxIdle      int32         `env:"ORISUN_PG_READ_MAX_IDLE_CONNS" default:"5" min:"0" max:"10000" desc:"Read pool max idle connections, never more than the open ones"`
	ReadMaxLifetime  time.Duration `env:"ORISUN_PG_READ_CONN_MAX_LIFETIME" default:"1h" min:"1s" max:"8760h" desc:"Read pool: time after which a connection is replaced by a new one, as rotated passwords and proxies need it"`
	ReadMaxIdleTime  time.Duration `env:"ORISUN_PG_READ_CONN_MAX_IDLE_TIME" default:"10s" min:"1s" max:"24h" desc:"Read pool: time after which an unused connection is closed, unless it is one of the max idle ones"`
	AdminMaxOpen     int32         `env:"ORISUN_PG_ADMIN_MAX_OPEN_CONNS" default:"5" min:"1" max:"10000" desc:"Admin pool max open connections"`
	AdminMaxIdle     int32         `env:"ORISUN_PG_ADMIN_MAX_IDLE_CONNS" default:"1" min:"0" max:"10000" desc:"Admin pool max idle connections, never more than the open ones"`
	AdminMaxLifetime time.Duration `env:"ORISUN_PG_ADMIN_CONN_MAX_LIFETIME" default:"1h" min:"1s" max:"8760h" desc:"Admin pool: time after which a connection is replaced by a new one, as rotated passwords and proxies need it"`
	AdminMaxIdleTime time.Duration `env:"ORISUN_PG_ADMIN_CONN_MAX_IDLE_TIME" default:"10s" min:"1s" max:"24h" desc:"Admin pool: time after which an unused connection is closed, unless it is one of the max idle ones"`
	StatementTimeout time.Duration `env:"ORISUN_PG_STATEMENT_TIMEOUT" default:"30s" min:"1ms" max:"24h" desc:"Time after which PostgreSQL cancels a statement of the server"`
	AutoMigrate      bool          `env:"ORISUN_PG_AUTO_MIGRATE" default:"true" desc:"Apply migrations at start; if false, the server refuses to start on an older schema"`
	MigrationsTable  string        `env:"ORISUN_PG_MIGRATIONS_TABLE" default:"public.goose_db_version" desc:"Table, with its schema, in which goose notes the migrations applied"`
	DataDir          string        `env:"ORISUN_PG_DATA_DIR" default:"./data/orisun/pg" notempty:"true" desc:"Data directory of the server's own PostgreSQL"`
	BinDir           string        `env:"ORISUN_PG_BIN_DIR" desc:"Folder with the programs of the server's own PostgreSQL; when empty, it is postgresql/bin beside the executable (./build.sh bundle), else where systems install them"`
}

// Embedded reports that no host is given, so the server starts a PostgreSQL of its own.
func (c PG) Embedded() bool { return c.Host == "" }

// Admin is the boundary that holds the users, the first of them, and the port for HTTP.
type Admin struct {
	Boundary string `env:"ORISUN_ADMIN_BOUNDARY" default:"orisun_admin" notempty:"true" desc:"Boundary used for admin operations"`
	Username string `env:"ORISUN_ADMIN_USERNAME" default:"admin" notempty:"true" desc:"Username of the first admin, created at the first start"`
	Password string `env:"ORISUN_ADMIN_PASSWORD" default:"changeit" notempty:"true" secret:"true" desc:"Password of the first admin, created at the first start"`
	Host     string `env:"ORISUN_ADMIN_HOST" desc:"Address the admin HTTP service listens on; empty is all"`
	Port     int    `env:"ORISUN_ADMIN_PORT" default:"8991" min:"0" max:"65535" desc:"Admin HTTP service port; 0 is any free port"`

	AllowedHosts   string `env:"ORISUN_ADMIN_ALLOWED_HOSTS" default:"localhost" desc:"Names by which requests may call the admin HTTP service while it listens on loopback only, with commas between them; addresses are always allowed"`
	ConsoleEnabled bool   `env:"ORISUN_CONSOLE_ENABLED" default:"true" desc:"Serve the web console at / of the admin HTTP service"`

	ReadTimeout  time.Duration `env:"ORISUN_ADMIN_READ_TIMEOUT" default:"60s" min:"1ms" max:"24h" desc:"Time that a client of the admin HTTP service has to send a request"`
	WriteTimeout time.Duration `env:"ORISUN_ADMIN_WRITE_TIMEOUT" default:"120s" min:"1ms" max:"24h" desc:"Time in which a call by HTTP is answered and its client has read the answer, unless that is a stream"`
}

// GRPC is the gRPC server. Sizes are bytes and end at what an int32 holds; gRPC raises a keep-alive below 1s to 1s.
type GRPC struct {
	Host                  string        `env:"ORISUN_GRPC_HOST" desc:"Address the gRPC server listens on; empty is all"`
	Port                  int           `env:"ORISUN_GRPC_PORT" default:"5005" min:"0" max:"65535" desc:"gRPC server port; 0 is any free port"`
	EnableReflection      bool          `env:"ORISUN_GRPC_ENABLE_REFLECTION" default:"true" desc:"Enable gRPC reflection"`
	ConnectionTimeout     time.Duration `env:"ORISUN_GRPC_CONNECTION_TIMEOUT" default:"60s" min:"1ms" max:"24h" desc:"gRPC connection timeout"`
	KeepAliveTime         time.Duration `env:"ORISUN_GRPC_KEEP_ALIVE_TIME" default:"30s" min:"1s" max:"24h" desc:"gRPC keep-alive interval"`
	KeepAliveTimeout      time.Duration `env:"ORISUN_GRPC_KEEP_ALIVE_TIMEOUT" default:"5s" min:"1ms" max:"24h" desc:"gRPC keep-alive timeout"`
	MaxConcurrentStreams  uint32        `env:"ORISUN_GRPC_MAX_CONCURRENT_STREAMS" default:"10000" min:"1" max:"2147483647" desc:"Max concurrent gRPC streams of a connection"`
	MaxConcurrentCalls    int           `env:"ORISUN_GRPC_MAX_CONCURRENT_CALLS" default:"1000" min:"1" max:"1000000" desc:"Calls of a gRPC connection that are under way at once, subscriptions apart; further ones wait"`
	MaxBytesInFlight      int           `env:"ORISUN_GRPC_MAX_BYTES_IN_FLIGHT" default:"201326592" min:"1048576" max:"1099511627776" desc:"Bytes of requests and answers that all calls together hold; one caller holds at most as many as are left to the others. The default is 192MB"`
	MaxSubscriberNames    int           `env:"ORISUN_GRPC_MAX_SUBSCRIBER_NAMES" default:"1000" min:"1" max:"100000" desc:"Subscriptions with a subscriber_name, and consumers of durable subscriptions, that one user may have open on this node, those that stand by included"`
	MaxSubscriptions      int           `env:"ORISUN_MAX_SUBSCRIPTIONS" default:"1000" min:"1" max:"100000" desc:"Durable subscriptions that a boundary may have"`
	MaxReceiveMessageSize int           `env:"ORISUN_GRPC_MAX_RECEIVE_MESSAGE_SIZE" default:"67108864" min:"1024" max:"2147483647" desc:"Max receive message size in bytes; the default is 64MB"`
	MaxSendMessageSize    int           `env:"ORISUN_GRPC_MAX_SEND_MESSAGE_SIZE" default:"67108864" min:"1024" max:"2147483647" desc:"Max send message size in bytes; the default is 64MB"`
	TLSEnabled            bool          `env:"ORISUN_GRPC_TLS_ENABLED" default:"false" desc:"Enable TLS for gRPC"`
	TLSCertFile           string        `env:"ORISUN_GRPC_TLS_CERT_FILE" default:"/etc/orisun/tls/server.crt" desc:"TLS certificate file path"`
	TLSKeyFile            string        `env:"ORISUN_GRPC_TLS_KEY_FILE" default:"/etc/orisun/tls/server.key" desc:"TLS private key file path"`
	TLSCAFile             string        `env:"ORISUN_GRPC_TLS_CA_FILE" default:"/etc/orisun/tls/ca.crt" desc:"CA certificate for client auth"`
	TLSClientAuthRequired bool          `env:"ORISUN_GRPC_TLS_CLIENT_AUTH_REQUIRED" default:"false" desc:"Require client certificates"`
	TLSClientIdentity     string        `env:"ORISUN_GRPC_TLS_CLIENT_IDENTITY" default:"off" enum:"off,cn,san" desc:"Whom a client certificate stands for when a call has no other credentials: off is no user, cn the user that its common name names, san the one that its only e-mail address, URI or DNS name does"`
}

// NATS is the embedded NATS server. Its payload is at least 4 kB, so that an event fits beside its headers, and at most
// 64 MB, as NATS refuses a payload larger than what may be pending to one client.
type NATS struct {
	ServerName       string        `env:"ORISUN_NATS_SERVER_NAME" default:"orisun-nats-2" notempty:"true" desc:"NATS server name; distinct for each node of a cluster"`
	Host             string        `env:"ORISUN_NATS_HOST" default:"127.0.0.1" desc:"Address the NATS server listens on; empty is all"`
	Port             int           `env:"ORISUN_NATS_PORT" default:"4224" min:"0" max:"65535" desc:"NATS server port; 0 is any free port"`
	TLSEnabled       bool          `env:"ORISUN_NATS_TLS_ENABLED" default:"false" desc:"Enable TLS for NATS: clients verify the server, and the nodes of a cluster each other"`
	TLSCertFile      string        `env:"ORISUN_NATS_TLS_CERT_FILE" default:"/etc/orisun/tls/server.crt" desc:"Certificate file of NATS; a node of a cluster shows it to the others as server and as client"`
	TLSKeyFile       string        `env:"ORISUN_NATS_TLS_KEY_FILE" default:"/etc/orisun/tls/server.key" desc:"Private key file of NATS"`
	TLSCAFile        string        `env:"ORISUN_NATS_TLS_CA_FILE" default:"/etc/orisun/tls/ca.crt" desc:"CA certificate that signs the certificates of a cluster's nodes"`
	MaxPayload       int32         `env:"ORISUN_NATS_MAX_PAYLOAD" default:"1048576" min:"4096" max:"67108864" desc:"Maximum NATS message payload size in bytes"`
	StoreDir         string        `env:"ORISUN_NATS_STORE_DIR" default:"./data/orisun/nats" notempty:"true" desc:"NATS storage directory"`
	StreamReplicas   int           `env:"ORISUN_NATS_STREAM_REPLICAS" default:"0" min:"0" max:"5" desc:"Copies of each boundary's stream; 0 is 3 in a cluster, else 1"`
	StreamMaxBytes   int           `env:"ORISUN_NATS_STREAM_MAX_BYTES" default:"1073741824" min:"134217728" max:"1099511627776" desc:"Bytes of events that a boundary's stream keeps, the latest ones; PostgreSQL has all. The default is 1GB"`
	StreamMaxAge     time.Duration `env:"ORISUN_NATS_STREAM_MAX_AGE" default:"168h" min:"0s" max:"87600h" desc:"Time for which a boundary's stream keeps an event; 0 is no limit"`
	StreamMaxMsgs    int           `env:"ORISUN_NATS_STREAM_MAX_MSGS" default:"0" min:"0" max:"1000000000000" desc:"Events that a boundary's stream keeps, the latest ones; 0 is no limit"`
	ClusterEnabled   bool          `env:"ORISUN_NATS_CLUSTER_ENABLED" default:"false" desc:"Enable NATS clustering"`
	ClusterName      string        `env:"ORISUN_NATS_CLUSTER_NAME" default:"orisun-nats-cluster" notempty:"true" desc:"NATS cluster name"`
	ClusterHost      string        `env:"ORISUN_NATS_CLUSTER_HOST" default:"0.0.0.0" desc:"NATS cluster host"`
	ClusterPort      int           `env:"ORISUN_NATS_CLUSTER_PORT" default:"6222" min:"0" max:"65535" desc:"NATS cluster port; 0 is any free port"`
	ClusterUsername  string        `env:"ORISUN_NATS_CLUSTER_USERNAME" default:"nats" desc:"NATS cluster username"`
	ClusterPassword  string        `env:"ORISUN_NATS_CLUSTER_PASSWORD" default:"password@1" secret:"true" desc:"NATS cluster password, the same on all nodes; a cluster does not start with the default"`
	ClusterAdvertise string        `env:"ORISUN_NATS_CLUSTER_ADVERTISE" desc:"host:port at which the other nodes reach this one, where that is not what it listens on; empty is what it listens on"`
	ClusterTimeout   time.Duration `env:"ORISUN_NATS_CLUSTER_TIMEOUT" default:"1800s" min:"1ms" max:"24h" desc:"NATS cluster operation timeout: how long a node recovers its streams at its start before it gives up"`
	ClusterRoutes    Routes        `env:"ORISUN_NATS_CLUSTER_ROUTES" default:"nats://0.0.0.0:6223,nats://0.0.0.0:6224" secret:"userinfo" desc:"Comma-separated cluster routes, each nats://host:port"`
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
	BatchSize int `env:"ORISUN_POLLING_PUBLISHER_BATCH_SIZE" default:"1000" min:"1" max:"100000" desc:"Batch size for event polling"`
}

// Logging configures the log.
type Logging struct {
	Level slog.Level `env:"ORISUN_LOGGING_LEVEL" default:"INFO" enum:"DEBUG,INFO,WARN,ERROR" desc:"Logging level"`
}

// OTEL is where traces go.
type OTEL struct {
	Enabled     bool   `env:"ORISUN_OTEL_ENABLED" default:"true" desc:"Enable OpenTelemetry tracing"`
	Endpoint    string `env:"ORISUN_OTEL_ENDPOINT" default:"localhost:4317" secret:"userinfo" desc:"OTLP gRPC endpoint for tracing, host:port"`
	ServiceName string `env:"ORISUN_OTEL_SERVICE_NAME" default:"orisun" notempty:"true" desc:"Service name for traces"`
}

// Pprof is Go's profiler. Profiles are not for other people, so by default it listens on loopback only.
type Pprof struct {
	Enabled bool   `env:"ORISUN_PPROF_ENABLED" default:"false" desc:"Enable pprof profiling endpoint"`
	Host    string `env:"ORISUN_PPROF_HOST" default:"127.0.0.1" desc:"Address the pprof HTTP service listens on; empty is all"`
	Port    int    `env:"ORISUN_PPROF_PORT" default:"6060" min:"0" max:"65535" desc:"pprof HTTP port; 0 is any free port"`
}

// Auth is how long a login lasts.
type Auth struct {
	SessionTTL time.Duration `env:"ORISUN_AUTH_SESSION_TTL" default:"24h" min:"1s" max:"8760h" desc:"Time for which a client may use the token that a login returns"`
}

// Shutdown is how long the server drains before it cuts what is left.
type Shutdown struct {
	Timeout time.Duration `env:"ORISUN_SHUTDOWN_TIMEOUT" default:"30s" min:"0s" max:"24h" desc:"Time for calls in flight to finish when the server ends"`
}

// Subscription is when /readyz warns of durable subscriptions.
type Subscription struct {
	LagWarning time.Duration `env:"ORISUN_SUBSCRIPTION_LAG_WARNING" default:"5m" min:"0s" max:"8760h" desc:"/readyz warns of a durable subscription while the first event that it has not acknowledged is older; 0 is no warning"`
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

// Defaults that the server warns about, or that clients use as well. A test compares them with the tags of Config.
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
