package docs_test

import (
	"go/scanner"
	"go/token"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// avoided are the words of a private vocabulary, and what to write instead.
var avoided = []struct{ words, instead string }{
	{`questions?`, "query, read, or what it is"},
	{`anew`, "again, recreated"},
	{`(is|are|was|were|be|been|being) told|tells?|telling`, "reports, returns, says; is notified"},
	{`whoever|nobody|Who [a-z]+`, "the actor: client, caller, reader, node"},
	{`kept|remember(s|ed|ing)?`, "cached, stored, held"},
	{`by turns|turns by|gives? way|patience|rests between`, "throttle, limit, priority, timeout"},
	{`losers?`, "retried saves, conflicting saves"},
	{`(sent|sends?|saved?) again|saves again`, "a retry; saves are idempotent"},
	{`in the way`, "the conflicting event, or what prevents it"},
}

var avoidedWord = func() *regexp.Regexp {
	var all []string
	for _, a := range avoided {
		all = append(all, a.words)
	}
	return regexp.MustCompile(`\b(` + strings.Join(all, "|") + `)\b`)
}()

// uncleaned still have such words: packages that are cleaned are removed from this list, and nothing is added to it.
var uncleaned = []string{
	"CHANGELOG.md",
	"cmd/orisun/",
	"cmd/torture/",
	"server/",
	"service/",
}

// text is what people read in a file: a page without its code, or comments and literals of a program.
func text(t *testing.T, path string) string {
	t.Helper()
	content := read(t, path)
	switch filepath.Ext(path) {
	case ".md":
		return inlineCode.ReplaceAllString(prose(content), "")
	case ".go":
		return commentsAndLiterals(path, content)
	default:
		return content
	}
}

func commentsAndLiterals(path, content string) string {
	fileSet := token.NewFileSet()
	file := fileSet.AddFile(path, -1, len(content))
	var s scanner.Scanner
	s.Init(file, []byte(content), nil, scanner.ScanComments)
	lines := make([]string, strings.Count(content, "\n")+1)
	for {
		at, kind, literal := s.Scan()
		if kind == token.EOF {
			return strings.Join(lines, "\n")
		}
		if kind == token.COMMENT || kind == token.STRING {
			first := file.Line(at) - 1
			for i, line := range strings.Split(literal, "\n") {
				lines[first+i] += " " + line
			}
		}
	}
}

func TestTheWordsAreThoseOfTheField(t *testing.T) {
	dirty := map[string]bool{}
	for _, path := range files(t, ".md", ".go", ".sql", ".proto") {
		if path == "docs/words_test.go" || strings.HasSuffix(path, ".pb.go") {
			continue
		}
		isClean := true
		for i, line := range strings.Split(text(t, path), "\n") {
			word := avoidedWord.FindString(line)
			if word == "" {
				continue
			}
			isClean = false
			if isOneOf(path, uncleaned) {
				break
			}
			for _, a := range avoided {
				if regexp.MustCompile(`^(` + a.words + `)$`).MatchString(word) {
					t.Errorf("%s:%d says %q: write %s", path, i+1, word, a.instead)
				}
			}
		}
		for _, prefix := range uncleaned {
			if strings.HasPrefix(path, prefix) {
				dirty[prefix] = dirty[prefix] || !isClean
			}
		}
	}
	for _, prefix := range uncleaned {
		if !dirty[prefix] {
			t.Errorf("%s is clean: remove it from the list of what is not", prefix)
		}
	}
}
