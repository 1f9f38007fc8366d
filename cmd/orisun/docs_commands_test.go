package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/oexza/orisun/migrations/pgtest"
	"github.com/oexza/orisun/server/servertest"
)

// commandBlock is a block of commands on a page. What the page says about its test stands right above it, in comments:
//
//	<!-- test: not run, REASON -->          it needs what a test does not have, such as systemd
//	<!-- test: run by TestX as KEY -->      another test of this package runs it
//	<!-- test: fails with TEXT -->          it fails, and prints TEXT
//	<!-- test: prints TEXT -->             and <!-- test: prints no TEXT -->
//
// If the next block of the page is of language text, its lines are what the commands print, in that order. "…" in a
// line is any text.
type commandBlock struct {
	line         int
	language     string
	text         string
	notRun       string
	runBy, key   string
	failsWith    string
	prints       string
	printsNo     string
	wantedOutput string
}

var (
	fencedBlock = regexp.MustCompile("(?ms)((?:^ *<!-- test: [^\n]* -->\n)*)^ *```([a-z]*)\n(.*?)^ *```$")
	testMark    = regexp.MustCompile(`<!-- test: (not run|run by|fails with|prints no|prints),? (.*) -->`)
	namedTest   = regexp.MustCompile(`^(Test\w+) as (.+)$`)
)

// commandBlocks returns a page's blocks of commands in the order of the page.
func commandBlocks(t *testing.T, page string) (blocks []commandBlock) {
	t.Helper()
	text := readDoc(t, page)
	found := fencedBlock.FindAllStringSubmatchIndex(text, -1)
	for i, at := range found {
		part := func(n int) string { return text[at[2*n]:at[2*n+1]] }
		b := commandBlock{line: strings.Count(text[:at[4]], "\n") + 1, language: part(2), text: part(3)}
		if !slices.Contains([]string{"sh", "bash", "sql"}, b.language) {
			continue
		}
		for comment := range strings.Lines(part(1)) {
			mark := testMark.FindStringSubmatch(comment)
			if mark == nil {
				t.Fatalf("%s:%d: the test does not know the mark %s", page, b.line, comment)
			}
			switch mark[1] {
			case "not run":
				b.notRun = mark[2]
			case "run by":
				named := namedTest.FindStringSubmatch(mark[2])
				if named == nil {
					t.Fatalf("%s:%d: want <!-- test: run by TestX as KEY -->, the page has %s", page, b.line, comment)
				}
				b.runBy, b.key = named[1], named[2]
			case "fails with":
				b.failsWith = mark[2]
			case "prints":
				b.prints = mark[2]
			case "prints no":
				b.printsNo = mark[2]
			}
		}
		if i+1 < len(found) {
			if next := found[i+1]; text[next[4]:next[5]] == "text" {
				b.wantedOutput = text[next[6]:next[7]]
			}
		}
		blocks = append(blocks, b)
	}
	return blocks
}

// markedBlock is the text of the block that a page leaves to the test that calls this.
func markedBlock(t *testing.T, page, key string) string {
	t.Helper()
	for _, b := range commandBlocks(t, page) {
		if b.key == key && b.runBy == t.Name() {
			return b.text
		}
	}
	t.Fatalf("%s has no block that is run by %s as %s", page, t.Name(), key)
	return ""
}

// pages are all pages of documentation, named from the repository's root.
func pages(t *testing.T) (all []string) {
	t.Helper()
	for _, pattern := range []string{
		"*.md", "docs/*.md", "docs/*/*.md", "publisher/*.md", ".github/*.md", ".github/*/*.md",
	} {
		found, err := filepath.Glob("../../" + pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range found {
			all = append(all, strings.TrimPrefix(path, "../../"))
		}
	}
	return all
}

// TestTheCommandsOfTheDocsRunAsPrinted runs each page's blocks in bash, sh and SQL in the order of the page, against a
// server of the page's own with default settings. Only addresses differ from what is printed.
func TestTheCommandsOfTheDocsRunAsPrinted(t *testing.T) {
	ran := 0
	for _, page := range pages(t) {
		blocks := slices.DeleteFunc(commandBlocks(t, page), func(b commandBlock) bool {
			return b.notRun != "" || b.runBy != ""
		})
		if len(blocks) == 0 {
			continue
		}
		t.Run(page, func(t *testing.T) {
			d := startForDocs(t, page)
			for _, b := range blocks {
				ran++
				d.run(t, page, b)
			}
		})
	}
	if ran < 30 {
		t.Errorf("%d blocks of commands ran", ran)
	}
}

// A block that a page leaves to another test names a test that exists.
func TestTheTestsThatTheDocsNameExist(t *testing.T) {
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	var source strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		source.Write(text)
	}
	for _, page := range pages(t) {
		for _, b := range commandBlocks(t, page) {
			if b.runBy != "" && !strings.Contains(source.String(), "func "+b.runBy+"(t *testing.T)") {
				t.Errorf("%s:%d: there is no %s", page, b.line, b.runBy)
			}
		}
	}
}

// documented is a server for the commands of one page.
type documented struct {
	server   *process
	database *pgx.Conn
	programs *programs
}

func startForDocs(t *testing.T, page string) documented {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	natsPort := freePort(t)
	settings := []string{"ORISUN_NATS_PORT=" + strconv.Itoa(natsPort)}
	var config *pgx.ConnConfig
	if strings.Contains(readDoc(t, page), ":5434") { // the server's own PostgreSQL, with its default user and password
		port := freePort(t)
		settings = append(settings, "ORISUN_PG_PORT="+strconv.Itoa(port))
		if config, err = pgx.ParseConfig(fmt.Sprintf("postgres://postgres:postgres@localhost:%d/orisun", port)); err != nil {
			t.Fatal(err)
		}
	} else {
		config = pgtest.NewEmpty(t)
		settings = append(settings, outside(config)...)
	}
	server := launch(t, environment(t.TempDir(), settings...))
	database, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := database.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	servertest.ReadSources(t, "../../examples", "../../client") // examples are built when a page runs them
	return documented{server, database, &programs{
		addresses: strings.NewReplacer("localhost:5005", server.address, "localhost:8991", server.http,
			"localhost:4224", fmt.Sprintf("localhost:%d", natsPort), "localhost:5434", fmt.Sprintf("localhost:%d", config.Port)),
		root: root, built: t.TempDir(),
	}}
}

func (d documented) run(t *testing.T, page string, b commandBlock) {
	t.Helper()
	var output string
	var failure error
	if b.language == "sql" {
		output, failure = runSQL(t.Context(), b.text, d.database)
	} else {
		output, failure = d.programs.run(t, b.text)
	}
	switch {
	case b.failsWith == "" && failure != nil:
		t.Errorf("%s:%d: %v\n%s\n%s", page, b.line, failure, b.text, output)
	case b.failsWith != "" && (failure == nil || !strings.Contains(output, b.failsWith)):
		t.Errorf("%s:%d: want a failure with %s, got %v\n%s\n%s", page, b.line, b.failsWith, failure, b.text, output)
	}
	if !strings.Contains(output, b.prints) {
		t.Errorf("%s:%d: %s\ndoes not print %s but\n%s", page, b.line, b.text, b.prints, output)
	}
	if b.printsNo != "" && strings.Contains(output, b.printsNo) {
		t.Errorf("%s:%d: %s\nprints %s\n%s", page, b.line, b.text, b.printsNo, output)
	}
	if missing := missingFrom(output, b.wantedOutput); missing != "" {
		t.Errorf("%s:%d: %s\ndoes not print, in its place, %q but\n%s", page, b.line, b.text, missing, output)
	}
}

// missingFrom is the first line of wanted that output does not have after the lines before it, or "". Runs of white
// space count as one space.
func missingFrom(output, wanted string) string {
	rest := strings.Join(strings.Fields(output), " ")
	for line := range strings.Lines(wanted) {
		for part := range strings.SplitSeq(line, "…") {
			part = strings.Join(strings.Fields(part), " ")
			_, after, found := strings.Cut(rest, part)
			if !found {
				return part
			}
			rest = after
		}
	}
	return ""
}

func TestWhatADocumentSaysIsPrintedIsLookedForInItsOrder(t *testing.T) {
	for _, test := range []struct{ output, wanted, missing string }{
		{"a  b\nc\n", "a b\nc\n", ""},
		{"a 17 b\nc\n", "a … b\nc\n", ""},
		{"c\na b\n", "a b\nc\n", "c"},
		{"a b\n", "", ""},
		{"", "a\n", "a"},
	} {
		if missing := missingFrom(test.output, test.wanted); missing != test.missing {
			t.Errorf("%q in %q: missing is %q, want %q", test.wanted, test.output, missing, test.missing)
		}
	}
}

// runSQL runs statements as psql does, and returns the text of their rows. A statement that returns no row is an error.
func runSQL(ctx context.Context, script string, database *pgx.Conn) (output string, failure error) {
	results, err := database.PgConn().Exec(ctx, script).ReadAll()
	if err != nil {
		return err.Error(), err
	}
	var text strings.Builder
	for _, result := range results {
		if len(result.Rows) == 0 {
			failure = errors.New("one of the statements returns no row")
		}
		for _, row := range result.Rows {
			fmt.Fprintf(&text, "%s\n", row)
		}
	}
	return text.String(), failure
}
