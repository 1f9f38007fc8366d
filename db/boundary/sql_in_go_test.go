package boundary_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// statement matches a string that begins as SQL does, or holds a part of it, with keywords in upper case as all SQL
// here has them.
var statement = regexp.MustCompile(
	`^\s*(--\s|(SELECT|INSERT|UPDATE|DELETE|WITH|CREATE|ALTER|DROP|GRANT|REVOKE|SET|RESET|LOCK|NOTIFY|LISTEN|UNLISTEN|` +
		`BEGIN|COMMIT|ROLLBACK|COPY|CALL|DO|TRUNCATE|ANALYZE|VACUUM|EXPLAIN|DECLARE|FETCH|VALUES)(\s+[^/\s]|;|$))` +
		`|\b(INSERT INTO|DELETE FROM|ORDER BY|GROUP BY|UNION ALL|ON CONFLICT)\b|\bFROM orisun`)

// notSQL are the folders that hold SQL beside sql/: what runs before there is a schema, or in every session.
var notSQL = []string{"../../server/postgres", "../pgsession"}

// onlyText are parts of messages, and the mark by which traces name sqlc's queries.
var onlyText = []string{"REVOKE CREATE ON SCHEMA ", "ALTER SYSTEM, ROLE or DATABASE", "-- name: "}

// SQL that the server runs stands in sql/, where sqlc checks it. What measures from outside, in cmd, is not the
// server's.
func TestServicesHoldNoSQL(t *testing.T) {
	files := 0
	for _, folder := range []string{"../../service", "../../publisher", "../../server", "../"} {
		err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if slices.Contains(notSQL, path) {
				return filepath.SkipDir
			}
			if entry.IsDir() || !strings.HasSuffix(path, ".go") ||
				strings.HasSuffix(path, "_test.go") || strings.HasSuffix(path, ".sql.go") {
				return nil
			}
			files++
			set := token.NewFileSet()
			file, err := parser.ParseFile(set, path, nil, 0)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(n ast.Node) bool {
				literal, ok := n.(*ast.BasicLit)
				if !ok || literal.Kind != token.STRING {
					return true
				}
				text, err := strconv.Unquote(literal.Value)
				if err == nil && statement.MatchString(text) && !slices.Contains(onlyText, text) {
					t.Errorf("%s: %s is SQL: put it into sql/, and run make generate", set.Position(literal.Pos()), literal.Value)
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, sql := range []string{
		"\n SELECT 1", "-- name: X :one", "BEGIN", "COMMIT;", "ANALYZE x", " ORDER BY ", "x FROM orisun.boundary",
	} {
		if !statement.MatchString(sql) {
			t.Errorf("%v does not match %q", statement, sql)
		}
	}
	if files < 150 {
		t.Fatalf("only %d files were read", files)
	}
}
