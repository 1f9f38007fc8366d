package main

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"

	"github.com/oexza/orisun/migrations/pgtest"
)

// certified is the environment of a node whose NATS has TLS by the files in a directory.
func certified(directory string) []string {
	return []string{
		"ORISUN_NATS_TLS_ENABLED=true", "ORISUN_NATS_TLS_CERT_FILE=" + directory + "/node.crt",
		"ORISUN_NATS_TLS_KEY_FILE=" + directory + "/node.key", "ORISUN_NATS_TLS_CA_FILE=" + directory + "/ca.crt",
	}
}

// certify writes a node's certificate, its key and the authority's.
func certify(t *testing.T, directory string, by, trusted *authority, change func(*x509.Certificate)) {
	t.Helper()
	certificate, key := by.issue("node", change)
	writeFile(t, directory+"/node.crt", certificate)
	writeFile(t, directory+"/node.key", key)
	writeFile(t, directory+"/ca.crt", trusted.pem)
}

// routesOf is how many routes a node has, by what its NATS logs at level DEBUG.
func routesOf(node *process) int {
	return strings.Count(node.logged(), "Route connection created") - strings.Count(node.logged(),
		"Router connection closed")
}

func tlsNode(t *testing.T, config *pgx.ConnConfig, name, directory string, port int, routes ...int) []string {
	t.Helper()
	return append(append(clustered(t, config, name, port, routes...), certified(directory)...),
		"ORISUN_LOGGING_LEVEL=DEBUG")
}

func TestNodesVerifyEachOtherByTheirCertificates(t *testing.T) {
	config, ours, theirs := pgtest.Clone(t), newAuthority(t, "ours"), newAuthority(t, "theirs")
	ports := []int{freePort(t), freePort(t), freePort(t), freePort(t)}
	good, foreign, impostor := t.TempDir(), t.TempDir(), t.TempDir()
	certify(t, good, ours, ours, nil)
	certify(t, foreign, theirs, ours, nil) // it believes ours, so ours has to refuse it
	certify(t, impostor, ours, ours, func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(203, 0, 113, 1)} })

	one := launch(t, tlsNode(t, config, "one", good, ports[0], ports[1]))
	two := launch(t, tlsNode(t, config, "two", good, ports[1], ports[0]))
	waitFor(t, func() bool { return routesOf(one) > 0 && routesOf(two) > 0 })

	stranger := launch(t, tlsNode(t, config, "stranger", foreign, ports[2], ports[0]))
	waitFor(t, func() bool { return strings.Contains(one.logged(), "certificate signed by unknown authority") })
	plain := launch(t, clustered(t, config, "plain", ports[3], ports[0]))
	waitFor(t, func() bool { return strings.Contains(one.logged(), "first record does not look like a TLS handshake") })
	for _, node := range []*process{stranger, plain} {
		if routes := routesOf(node); routes > 0 {
			t.Errorf("a node without a certificate of ours has %d routes", routes)
		}
	}
	// A node verifies the name of the one that it connects to.
	misled := launch(t, tlsNode(t, config, "misled", good, freePort(t), freePort(t), launchImpostor(t, config, impostor)))
	waitFor(t, func() bool { return strings.Contains(misled.logged(), "not 127.0.0.1") })
}

// launchImpostor starts a node whose certificate is for another address, and returns where its routes are.
func launchImpostor(t *testing.T, config *pgx.ConnConfig, directory string) int {
	t.Helper()
	port := freePort(t)
	launch(t, tlsNode(t, config, "impostor", directory, port, 1))
	return port
}

func TestTheNATSPortHasTLSAndAsksClientsForNoCertificate(t *testing.T) {
	ours, directory, port := newAuthority(t, "ours"), t.TempDir(), freePort(t)
	certify(t, directory, ours, ours, nil)
	server := launch(t, environment(t.TempDir(), append(append(outside(pgtest.Clone(t)), certified(directory)...),
		"ORISUN_NATS_TLS_CA_FILE=", "ORISUN_NATS_PORT="+strconv.Itoa(port))...))
	url := "tls://127.0.0.1:" + strconv.Itoa(port)
	logIn := nats.UserInfo("admin", "changeit")
	verified := nats.Secure(&tls.Config{MinVersion: tls.VersionTLS12, RootCAs: trust(ours)})
	conn, err := nats.Connect(url, logIn, verified)
	if err != nil {
		t.Fatalf("%v\n%s", err, server.logged())
	}
	if state, err := conn.TLSConnectionState(); err != nil || state.Version < tls.VersionTLS12 {
		t.Errorf("%+v, %v", state, err)
	}
	conn.Close()
	if conn, err := nats.Connect(url, logIn,
		nats.Secure(&tls.Config{MinVersion: tls.VersionTLS12, RootCAs: trust(newAuthority(t, "theirs"))})); err == nil {
		conn.Close()
		t.Error("a client that does not know the authority connects")
	}
	raw, err := net.Dial("tcp", "127.0.0.1:"+strconv.Itoa(port))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := raw.Close(); err != nil {
			t.Error(err)
		}
	}()
	if _, err := raw.Write([]byte("CONNECT {\"user\":\"admin\",\"pass\":\"changeit\"}\r\nPING\r\n")); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 64<<10)
	for text := ""; ; {
		n, err := raw.Read(answer)
		text += string(answer[:n])
		if strings.Contains(text, "PONG") {
			t.Fatal("a client logs in without TLS")
		}
		if err != nil {
			break // the server hung up
		}
	}

	// The files are read again for each connection.
	theirs := newAuthority(t, "theirs")
	certify(t, directory, theirs, theirs, nil)
	if conn, err := nats.Connect(url, logIn, verified); err == nil {
		conn.Close()
		t.Error("the old certificate is still shown")
	}
}
