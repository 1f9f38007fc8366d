// Package docs_test checks the form of all documentation: links, lengths and words. What its commands print is checked
// in cmd/orisun.
package docs_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

const (
	root = ".."

	maxLines   = 200 // of a page
	maxColumns = 120 // of a line outside of tables
)

// longPages are generated or records, and read by looking something up.
var longPages = []string{
	"docs/api.md", "docs/configuration.md", "docs/decisions/", "CHANGELOG.md", "publisher/DESIGN.md",
}

// generatedPages have the columns that their sources give them.
var generatedPages = []string{"docs/configuration.md", "docs/benchmarks.md"}

// files are those of the project with one of the extensions, named from the root.
func files(t *testing.T, extensions ...string) (paths []string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		path, err = filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if entry.IsDir() && slices.Contains([]string{".git", ".cache", "bin", "data", "dist", "node_modules", "testdata"},
			entry.Name()) {
			return fs.SkipDir
		}
		if !entry.IsDir() && slices.Contains(extensions, filepath.Ext(path)) {
			paths = append(paths, filepath.ToSlash(path))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(paths) == 0 {
		t.Fatalf("there are no files %v", extensions)
	}
	return paths
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func isOneOf(path string, prefixes []string) bool {
	return slices.ContainsFunc(prefixes, func(prefix string) bool { return strings.HasPrefix(path, prefix) })
}

var (
	fence      = regexp.MustCompile("(?ms)^ *```.*?^ *```$")
	inlineCode = regexp.MustCompile("`[^`\n]*`")
	link       = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading    = regexp.MustCompile(`(?m)^#{1,6} (.+)$`)
	notInSlug  = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// prose is a page without its blocks of code. Lines stay where they are.
func prose(page string) string {
	return fence.ReplaceAllStringFunc(page, func(block string) string {
		return strings.Repeat("\n", strings.Count(block, "\n"))
	})
}

// anchors are the names of a page's headings, as forges make them.
func anchors(page string) map[string]bool {
	names := map[string]bool{}
	for _, found := range heading.FindAllStringSubmatch(prose(page), -1) {
		text := strings.ReplaceAll(link.ReplaceAllString(found[1], ""), "`", "")
		names[strings.ReplaceAll(notInSlug.ReplaceAllString(strings.ToLower(text), ""), " ", "-")] = true
	}
	return names
}

func TestEveryLinkOfThePagesLeadsSomewhere(t *testing.T) {
	links := 0
	for _, page := range files(t, ".md") {
		text := inlineCode.ReplaceAllString(prose(read(t, page)), "")
		for _, found := range link.FindAllStringSubmatch(text, -1) {
			target, anchor, _ := strings.Cut(found[1], "#")
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			links++
			path := page
			if target != "" {
				path = filepath.ToSlash(filepath.Join(filepath.Dir(page), target))
			}
			if _, err := os.Stat(filepath.Join(root, path)); err != nil {
				t.Errorf("%s links to %s: %v", page, found[1], err)
				continue
			}
			if anchor != "" && strings.HasSuffix(path, ".md") && !anchors(read(t, path))[anchor] {
				t.Errorf("%s links to %s: %s has no such heading", page, found[1], path)
			}
		}
	}
	if links < 50 {
		t.Errorf("%d links are found", links)
	}
}

func TestPagesAndTheirLinesAreShort(t *testing.T) {
	for _, page := range files(t, ".md") {
		text := read(t, page)
		if lines := strings.Count(text, "\n"); lines > maxLines && !isOneOf(page, longPages) {
			t.Errorf("%s has %d lines, at most %d are allowed: split it, or move what is history to docs/decisions",
				page, lines, maxLines)
		}
		if isOneOf(page, generatedPages) {
			continue
		}
		n := 0
		for line := range strings.Lines(text) {
			n++
			line = strings.TrimRight(line, "\n")
			isTable := strings.HasPrefix(strings.TrimSpace(line), "|")
			if utf8.RuneCountInString(line) > maxColumns && !isTable && !strings.Contains(line, "://") &&
				!strings.HasPrefix(line, "<!-- ") {
				t.Errorf("%s:%d has %d columns, at most %d are allowed", page, n, utf8.RuneCountInString(line), maxColumns)
			}
		}
	}
}

// TestLinesOfCodeAreShort checks what lll of .golangci.yml does not see. A tab is one column.
func TestLinesOfCodeAreShort(t *testing.T) {
	for _, path := range files(t, "", ".sql", ".proto", ".sh", ".js", ".css", ".py", ".c", ".yml", ".yaml", ".service") {
		if strings.Contains(path, "/vendor/") {
			continue
		}
		text := read(t, path)
		if !utf8.ValidString(text) { // a program that was built here
			continue
		}
		n := 0
		for line := range strings.Lines(text) {
			n++
			if columns := utf8.RuneCountInString(strings.TrimRight(line, "\n")); columns > maxColumns {
				t.Errorf("%s:%d has %d columns, at most %d are allowed", path, n, columns, maxColumns)
			}
		}
	}
}

// The files that docs/architecture.md and README.md name are where they say.
func TestTheFilesThatTheArchitectureNamesExist(t *testing.T) {
	named := 0
	for _, page := range []string{"docs/architecture.md", "CONTRIBUTING.md"} {
		for _, code := range inlineCode.FindAllString(prose(read(t, page)), -1) {
			path := strings.Trim(code, "`")
			if !strings.Contains(path, "/") || strings.ContainsAny(path, " *{}:@") || strings.HasPrefix(path, "/") {
				continue
			}
			named++
			if _, err := os.Stat(filepath.Join(root, path)); err != nil {
				t.Errorf("%s names `%s`: %v", page, path, err)
			}
		}
	}
	if named < 20 {
		t.Errorf("%d files are named", named)
	}
}
