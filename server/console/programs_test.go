package console_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/oexza/orisun/server/servertest"
)

// shell runs what the pages offer to copy, in a folder with ca.pem.
type shell struct {
	t        *testing.T
	dir      string
	programs string // the folder of orisun and grpcurl
}

// run runs a command as an admin, who types the password where it is prompted for.
func (s shell) run(command string, environment ...string) (string, error) {
	command = strings.NewReplacer("curl -u USERNAME", "curl --fail-with-body -u admin:changeit", "USERNAME", "admin",
		"PASSWORD", "changeit").Replace(command)
	program := exec.CommandContext(s.t.Context(), "sh", "-c", command)
	program.Dir, program.Stdin = s.dir, strings.NewReader("changeit\n")
	program.Env = append(append(os.Environ(), "PATH="+s.programs+":"+os.Getenv("PATH")), environment...)
	out, err := program.CombinedOutput()
	return string(out), err
}

func (s shell) write(name, content string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(content), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// buildPrograms builds those that commands of the pages name.
func buildPrograms(t *testing.T) string {
	t.Helper()
	servertest.ReadSources(t, "../../cmd/orisun", "../../client", "../../tools")
	programs := t.TempDir()
	for name, from := range map[string][]string{
		"orisun":  {"./cmd/orisun"},
		"grpcurl": {"-modfile=tools/grpcurl.mod", "github.com/fullstorydev/grpcurl/cmd/grpcurl"},
	} {
		args := append([]string{"build", "-buildvcs=false", "-o", filepath.Join(programs, name)}, from...)
		build := exec.CommandContext(t.Context(), "go", args...)
		build.Dir = "../.."
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v\n%s", name, err, out)
		}
	}
	return programs
}

// certificate writes ca.pem, an authority whose certificate is the server's as well, and returns the server's settings.
func (s shell) certificate() []string {
	s.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		s.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "orisun"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	signed, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		s.t.Fatal(err)
	}
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		s.t.Fatal(err)
	}
	s.write("ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: signed})))
	s.write("key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: private})))
	return []string{
		"ORISUN_GRPC_TLS_ENABLED=true", "ORISUN_GRPC_TLS_CERT_FILE=" + filepath.Join(s.dir, "ca.pem"),
		"ORISUN_GRPC_TLS_KEY_FILE=" + filepath.Join(s.dir, "key.pem"),
	}
}

// Each command and each program runs as the page shows it, but for the words in capitals, with and without TLS.
func TestCommandsAndProgramsRunAsTheyAreShown(t *testing.T) {
	programs := buildPrograms(t)
	for name, secured := range map[string]bool{"plain": false, "TLS": true} {
		t.Run(name, func(t *testing.T) {
			s := shell{t, t.TempDir(), programs}
			var settings []string
			if secured {
				settings = s.certificate()
			}
			checkCommands(t, s, servertest.Start(t, settings...), secured)
		})
	}
}

func checkCommands(t *testing.T, s shell, server *servertest.Server, secured bool) {
	t.Helper()
	ctx := browser(t, chromedp.IgnoreCertErrors)
	var save string
	run(ctx, t, "the first save", logIn(server, "admin", "changeit"),
		visit(server, "events?boundary=orisun_test_1", "No events yet"),
		chromedp.Text(`.empty .command pre`, &save, chromedp.ByQuery))
	if out, err := s.run(save); err != nil {
		t.Fatalf("%s\n%s: %v", save, out, err)
	}
	var commands []string
	run(ctx, t, "the commands of an event", chromedp.Click(`//td[text()="UserRegistered"]`), see("grpcurl"),
		chromedp.Evaluate(`[...document.querySelectorAll('dialog .command pre')].map(e => e.textContent)`, &commands))
	if len(commands) != 3 {
		t.Errorf("%d commands read an event: %q", len(commands), commands)
	}
	for _, command := range commands {
		if out, err := s.run(command); err != nil || !strings.Contains(out, "UserRegistered") {
			t.Errorf("%s\n%s: %v", command, out, err)
		}
	}
	var subscription string
	run(ctx, t, "the commands of a subscription", visit(server, "subscriptions?boundary=orisun_test_1",
		"No durable subscriptions"), chromedp.Text(`.empty .command pre`, &subscription, chromedp.ByQuery))
	create, _, _ := strings.Cut(subscription, "\n")
	if out, err := s.run(create); err != nil {
		t.Errorf("%s\n%s: %v", create, out, err)
	}
	run(ctx, t, "the subscription exists", gone("No durable subscriptions"), see("mailer"))

	sums, err := os.ReadFile("../../client/go.sum")
	if err != nil {
		t.Fatal(err)
	}
	client, err := filepath.Abs("../../client")
	if err != nil {
		t.Fatal(err)
	}
	s.write("go.sum", string(sums))
	s.write("go.mod", "module save\n\ngo 1.26.0\n\nrequire github.com/oexza/orisun/client v0.0.0\n\n"+
		"replace github.com/oexza/orisun/client => "+client+"\n")
	languages := []struct{ name, shows, file, command, trust string }{
		{"Go", "client.IfUnchanged(", "main.go", "go run -mod=mod .", ""},
		{"Node", "await fetch(", "save.mjs", "node save.mjs", "NODE_EXTRA_CA_CERTS=ca.pem"},
		{"Python", "urllib.request", "save.py", "python3 save.py", "SSL_CERT_FILE=ca.pem"},
	}
	texts := map[string]string{}
	run(ctx, t, "the playground", visit(server,
		"playground?boundary=orisun_test_1&c=username%3Dalice&c=event_type%3DUserRenamed%26username%3Dalice",
		"How it is found"))
	for _, language := range languages {
		var text string
		run(ctx, t, language.name, click(language.name), see(language.shows),
			chromedp.Evaluate(`document.querySelector('.command pre').textContent`, &text))
		if secured != strings.Contains(text, "ca.pem") || secured && !strings.Contains(text, language.trust) {
			t.Errorf("with TLS %t: %s", secured, text)
		}
		texts[language.name] = text
	}
	if !strings.Contains(texts["Go"], `client.Where("event_type", "UserRenamed").Where("username", "alice")`) ||
		!strings.Contains(texts["Go"], "{TransactionID: 1, GlobalID: 0}") {
		t.Errorf("the context of the page is not in %s", texts["Go"])
	}
	runProgram := func(language, id string) (string, error) {
		for _, l := range languages {
			if l.name != language {
				continue
			}
			s.write(l.file, strings.NewReplacer("USERNAME", "admin", "PASSWORD", "changeit", "CHOOSE-ONE", id).
				Replace(texts[language]))
			if !secured {
				return s.run(l.command)
			}
			return s.run(l.command, l.trust)
		}
		return "", fmt.Errorf("no program in %s", language)
	}
	for _, language := range languages {
		if out, err := runProgram(language.name, language.name); err != nil {
			t.Errorf("%s\n%s: %v", texts[language.name], out, err)
		}
	}
	run(ctx, t, "the events of the programs", visit(server, "events?boundary=orisun_test_1", "UserRegistered"),
		holds(`[...document.querySelectorAll('.events tbody td:nth-child(2)')].map(td => td.innerText).join(' ') ===
			'TYPE TYPE TYPE UserRegistered'`))
	again := strings.Replace(save, `"event_id":"`, `"event_id":"again-`, 1)
	if out, err := s.run(again); err != nil {
		t.Fatalf("%s\n%s: %v", again, out, err)
	}
	for _, language := range languages {
		out, err := runProgram(language.name, language.name+"-again")
		if err == nil || !strings.Contains(out, "the context changed: read it again") {
			t.Errorf("a conflict in %s: %v, %s", language.name, err, out)
		}
	}
}
