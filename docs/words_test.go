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
	{`told|tells?|telling`, "reports, returns, says; is notified"},
	{`[Ww]hoever|[Nn]obody|[Ss]omebody|Who [a-z]+`, "the actor: client, caller, reader, node"},
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

// unixAccount is a name that PostgreSQL may run as.
const unixAccount = `"nobody"`

// text is what people read in a file: a page without its code, or comments, literals and names of tests of a program.
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
		if kind == token.IDENT && testName.MatchString(literal) {
			literal = words(literal)
		} else if kind != token.COMMENT && kind != token.STRING {
			continue
		}
		first := file.Line(at) - 1
		for i, line := range strings.Split(literal, "\n") {
			lines[first+i] += " " + line
		}
	}
}

var (
	testName = regexp.MustCompile(`^(Test|Fuzz|Benchmark|Example)[A-Z]`)
	humps    = regexp.MustCompile(`[A-Z][^A-Z]*`)
)

// words writes a test's name as a sentence: TestTwoSavesOfPeople is "Two saves of people".
func words(name string) string {
	all := humps.FindAllString(name, -1)
	for i := 2; i < len(all); i++ {
		all[i] = strings.ToLower(all[i])
	}
	return strings.Join(all[1:], " ")
}

func TestTheWordsAreThoseOfTheField(t *testing.T) {
	for _, path := range files(t, ".md", ".go", ".sql", ".proto") {
		if path == "docs/words_test.go" || strings.HasSuffix(path, ".pb.go") {
			continue
		}
		for i, line := range strings.Split(text(t, path), "\n") {
			word := avoidedWord.FindString(strings.ReplaceAll(line, unixAccount, ""))
			if word == "" {
				continue
			}
			for _, a := range avoided {
				if regexp.MustCompile(`^(` + a.words + `)$`).MatchString(word) {
					t.Errorf("%s:%d says %q: write %s", path, i+1, word, a.instead)
				}
			}
		}
	}
}
