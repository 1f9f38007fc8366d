package config

// descriptions are the default of each setting, written as it would be in the environment, and its description in
// docs/configuration.md and --help, by its variable. Each setting has one.
var descriptions = map[string]struct{ defaultText, description string }{
	"ORISUN_BOUNDARIES": {
		`[{"name":"orisun_test_1","description":"boundary1"},{"name":"orisun_test_2","description":"boundary2"},` +
			`{"name":"orisun_admin","description":"admin boundary"}]`,
		"JSON array of boundary definitions; when only ORISUN_PG_SCHEMAS is given, the boundaries it names",
	},
	"ORISUN_PG_HOST": {
		"",
		"PostgreSQL host; several, with commas between them, are a primary and its standbys: the server uses the " +
			"one that takes writes; when empty, the server runs a PostgreSQL of its own, reachable at " +
			"localhost:ORISUN_PG_PORT",
	},
	"ORISUN_PG_PORT":     {"5434", "PostgreSQL port; 0 is any free port, for the server's own PostgreSQL only"},
	"ORISUN_PG_USER":     {"postgres", "PostgreSQL username"},
	"ORISUN_PG_PASSWORD": {"postgres", "PostgreSQL password"},
	"ORISUN_PG_NAME":     {"orisun", "PostgreSQL database name"},
	"ORISUN_PG_SSLMODE":  {"disable", "PostgreSQL SSL mode"},
	"ORISUN_PG_SCHEMAS": {
		"orisun_test_1:public,orisun_test_2:test2,orisun_admin:admin", "Comma-separated boundary:schema mappings",
	},
	"ORISUN_PG_WRITE_MAX_OPEN_CONNS": {"10", "Write pool max open connections"},
	"ORISUN_PG_WRITE_MAX_IDLE_CONNS": {"3", "Write pool max idle connections, never more than the open ones"},
	"ORISUN_PG_WRITE_CONN_MAX_LIFETIME": {
		"1h", "Write pool: time after which a connection is replaced by a new one, as rotated passwords and proxies need it",
	},
	"ORISUN_PG_WRITE_CONN_MAX_IDLE_TIME": {
		"10s", "Write pool: time after which an unused connection is closed, unless it is one of the max idle ones",
	},
	"ORISUN_PG_READ_MAX_OPEN_CONNS": {"10", "Read pool max open connections"},
	"ORISUN_PG_READ_MAX_IDLE_CONNS": {"5", "Read pool max idle connections, never more than the open ones"},
	"ORISUN_PG_READ_CONN_MAX_LIFETIME": {
		"1h", "Read pool: time after which a connection is replaced by a new one, as rotated passwords and proxies need it",
	},
	"ORISUN_PG_READ_CONN_MAX_IDLE_TIME": {
		"10s", "Read pool: time after which an unused connection is closed, unless it is one of the max idle ones",
	},
	"ORISUN_PG_ADMIN_MAX_OPEN_CONNS": {"5", "Admin pool max open connections"},
	"ORISUN_PG_ADMIN_MAX_IDLE_CONNS": {"1", "Admin pool max idle connections, never more than the open ones"},
	"ORISUN_PG_ADMIN_CONN_MAX_LIFETIME": {
		"1h", "Admin pool: time after which a connection is replaced by a new one, as rotated passwords and proxies need it",
	},
	"ORISUN_PG_ADMIN_CONN_MAX_IDLE_TIME": {
		"10s", "Admin pool: time after which an unused connection is closed, unless it is one of the max idle ones",
	},
	"ORISUN_PG_STATEMENT_TIMEOUT": {"30s", "Time after which PostgreSQL cancels a statement of the server"},
	"ORISUN_PG_AUTO_MIGRATE": {
		"true", "Apply migrations at start; if false, the server refuses to start on an older schema",
	},
	"ORISUN_PG_MIGRATIONS_TABLE": {
		"public.goose_db_version", "Table, with its schema, in which goose notes the migrations applied",
	},
	"ORISUN_PG_DATA_DIR": {"./data/orisun/pg", "Data directory of the server's own PostgreSQL"},
	"ORISUN_PG_BIN_DIR": {
		"",
		"Folder with the programs of the server's own PostgreSQL; when empty, it is postgresql/bin beside the " +
			"executable (./build.sh bundle), else where systems install them",
	},
	"ORISUN_ADMIN_BOUNDARY": {"orisun_admin", "Boundary used for admin operations"},
	"ORISUN_ADMIN_USERNAME": {"admin", "Username of the first admin, created at the first start"},
	"ORISUN_ADMIN_PASSWORD": {"changeit", "Password of the first admin, created at the first start"},
	"ORISUN_ADMIN_HOST":     {"", "Address the admin HTTP service listens on; empty is all"},
	"ORISUN_ADMIN_PORT":     {"8991", "Admin HTTP service port; 0 is any free port"},
	"ORISUN_ADMIN_ALLOWED_HOSTS": {
		"localhost",
		"Names by which requests may call the admin HTTP service while it listens on loopback only, with commas " +
			"between them; addresses are always allowed",
	},
	"ORISUN_CONSOLE_ENABLED":    {"true", "Serve the web console at / of the admin HTTP service"},
	"ORISUN_ADMIN_READ_TIMEOUT": {"60s", "Time that a client of the admin HTTP service has to send a request"},
	"ORISUN_ADMIN_WRITE_TIMEOUT": {
		"120s", "Time in which a call by HTTP is answered and its client has read the answer, unless that is a stream",
	},
	"ORISUN_GRPC_HOST":                   {"", "Address the gRPC server listens on; empty is all"},
	"ORISUN_GRPC_PORT":                   {"5005", "gRPC server port; 0 is any free port"},
	"ORISUN_GRPC_ENABLE_REFLECTION":      {"true", "Enable gRPC reflection"},
	"ORISUN_GRPC_CONNECTION_TIMEOUT":     {"60s", "gRPC connection timeout"},
	"ORISUN_GRPC_KEEP_ALIVE_TIME":        {"30s", "gRPC keep-alive interval"},
	"ORISUN_GRPC_KEEP_ALIVE_TIMEOUT":     {"5s", "gRPC keep-alive timeout"},
	"ORISUN_GRPC_MAX_CONCURRENT_STREAMS": {"10000", "Max concurrent gRPC streams of a connection"},
	"ORISUN_GRPC_MAX_CONCURRENT_CALLS": {
		"1000", "Calls of a gRPC connection that are under way at once, subscriptions apart; further ones wait",
	},
	"ORISUN_GRPC_MAX_BYTES_IN_FLIGHT": {
		"201326592",
		"Bytes of requests and answers that all calls together hold; one caller holds at most as many as are left " +
			"to the others. The default is 192MB",
	},
	"ORISUN_GRPC_MAX_SUBSCRIBER_NAMES": {
		"1000",
		"Subscriptions with a subscriber_name, and consumers of durable subscriptions, that one user may have " +
			"open on this node, those that stand by included",
	},
	"ORISUN_MAX_SUBSCRIPTIONS": {"1000", "Durable subscriptions that a boundary may have"},
	"ORISUN_MAX_CONSUMERS": {
		"1000", "Consumers that a durable subscription may have on all nodes, standbys included",
	},
	"ORISUN_MAX_PARKED_EVENTS": {
		"10000", "Events that a durable subscription may have parked; further ones are delivered again every 30 s",
	},
	"ORISUN_GRPC_MAX_RECEIVE_MESSAGE_SIZE": {"67108864", "Max receive message size in bytes; the default is 64MB"},
	"ORISUN_GRPC_MAX_SEND_MESSAGE_SIZE":    {"67108864", "Max send message size in bytes; the default is 64MB"},
	"ORISUN_GRPC_TLS_ENABLED":              {"false", "Enable TLS for gRPC"},
	"ORISUN_GRPC_TLS_CERT_FILE":            {"/etc/orisun/tls/server.crt", "TLS certificate file path"},
	"ORISUN_GRPC_TLS_KEY_FILE":             {"/etc/orisun/tls/server.key", "TLS private key file path"},
	"ORISUN_GRPC_TLS_CA_FILE":              {"/etc/orisun/tls/ca.crt", "CA certificate for client auth"},
	"ORISUN_GRPC_TLS_CLIENT_AUTH_REQUIRED": {"false", "Require client certificates"},
	"ORISUN_GRPC_TLS_CLIENT_IDENTITY": {
		"off",
		"Whom a client certificate stands for when a call has no other credentials: off is no user, cn the user " +
			"that its common name names, san the one that its only e-mail address, URI or DNS name does",
	},
	"ORISUN_NATS_SERVER_NAME": {"orisun-nats-2", "NATS server name; distinct for each node of a cluster"},
	"ORISUN_NATS_HOST":        {"127.0.0.1", "Address the NATS server listens on; empty is all"},
	"ORISUN_NATS_PORT":        {"4224", "NATS server port; 0 is any free port"},
	"ORISUN_NATS_TLS_ENABLED": {
		"false", "Enable TLS for NATS: clients verify the server, and the nodes of a cluster each other",
	},
	"ORISUN_NATS_TLS_CERT_FILE": {
		"/etc/orisun/tls/server.crt",
		"Certificate file of NATS; a node of a cluster shows it to the others as server and as client",
	},
	"ORISUN_NATS_TLS_KEY_FILE": {"/etc/orisun/tls/server.key", "Private key file of NATS"},
	"ORISUN_NATS_TLS_CA_FILE": {
		"/etc/orisun/tls/ca.crt", "CA certificate that signs the certificates of a cluster's nodes",
	},
	"ORISUN_NATS_MAX_PAYLOAD":     {"1048576", "Maximum NATS message payload size in bytes"},
	"ORISUN_NATS_STORE_DIR":       {"./data/orisun/nats", "NATS storage directory"},
	"ORISUN_NATS_STREAM_REPLICAS": {"0", "Copies of each boundary's stream; 0 is 3 in a cluster, else 1"},
	"ORISUN_NATS_STREAM_MAX_BYTES": {
		"1073741824",
		"Bytes of events that a boundary's stream stores, the latest ones; PostgreSQL has all. The default is 1GB",
	},
	"ORISUN_NATS_STREAM_MAX_AGE":   {"168h", "Time for which a boundary's stream stores an event; 0 is no limit"},
	"ORISUN_NATS_STREAM_MAX_MSGS":  {"0", "Events that a boundary's stream stores, the latest ones; 0 is no limit"},
	"ORISUN_NATS_CLUSTER_ENABLED":  {"false", "Enable NATS clustering"},
	"ORISUN_NATS_CLUSTER_NAME":     {"orisun-nats-cluster", "NATS cluster name"},
	"ORISUN_NATS_CLUSTER_HOST":     {"0.0.0.0", "NATS cluster host"},
	"ORISUN_NATS_CLUSTER_PORT":     {"6222", "NATS cluster port; 0 is any free port"},
	"ORISUN_NATS_CLUSTER_USERNAME": {"nats", "NATS cluster username"},
	"ORISUN_NATS_CLUSTER_PASSWORD": {
		"password@1", "NATS cluster password, the same on all nodes; a cluster does not start with the default",
	},
	"ORISUN_NATS_CLUSTER_ADVERTISE": {
		"",
		"host:port at which the other nodes reach this one, where that is not what it listens on; empty is what " +
			"it listens on",
	},
	"ORISUN_NATS_CLUSTER_TIMEOUT": {
		"1800s", "NATS cluster operation timeout: how long a node recovers its streams at its start before it gives up",
	},
	"ORISUN_NATS_CLUSTER_ROUTES": {
		"nats://0.0.0.0:6223,nats://0.0.0.0:6224", "Comma-separated cluster routes, each nats://host:port",
	},
	"ORISUN_POLLING_PUBLISHER_BATCH_SIZE": {"1000", "Batch size for event polling"},
	"ORISUN_LOGGING_LEVEL":                {"INFO", "Logging level"},
	"ORISUN_OTEL_ENABLED":                 {"true", "Enable OpenTelemetry tracing"},
	"ORISUN_OTEL_ENDPOINT":                {"localhost:4317", "OTLP gRPC endpoint for tracing, host:port"},
	"ORISUN_OTEL_SERVICE_NAME":            {"orisun", "Service name for traces"},
	"ORISUN_PPROF_ENABLED":                {"false", "Enable pprof profiling endpoint"},
	"ORISUN_PPROF_HOST":                   {"127.0.0.1", "Address the pprof HTTP service listens on; empty is all"},
	"ORISUN_PPROF_PORT":                   {"6060", "pprof HTTP port; 0 is any free port"},
	"ORISUN_AUTH_SESSION_TTL":             {"24h", "Time for which a client may use the token that a login returns"},
	"ORISUN_SHUTDOWN_TIMEOUT":             {"30s", "Time for calls in flight to finish when the server ends"},
	"ORISUN_SUBSCRIPTION_LAG_WARNING": {
		"5m",
		"/readyz warns of a durable subscription while the first event that it has not acknowledged is older; 0 " +
			"is no warning",
	},
}
