package boundary_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// statement matches a string that begins as SQL does, with keywords in upper case as all SQL here has them.
var statement = regexp.MustCompile(
	`^\s*(--|SELECT|INSERT|UPDATE|DELETE|WITH|CREATE|ALTER|DROP|GRANT|SET|LOCK|NOTIFY|LISTEN)\s`)

// SQL that the server runs stands in sql/, where sqlc checks it. What runs before there is a schema, or measures from
// outside, is not the server's: server/postgres, migrations, the commands.
func TestServicesHoldNoSQL(t *testing.T) {
	files := 0
	for _, folder := range []string{
		"../../service", "../../publisher", "../boundary", "../../server/httpapi", "../../server/transport",
	} {
		err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
			if err != nil {
				if path == folder { // a package that does not exist
					return nil
				}
				return err
			}
			if entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
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
				if text, err := strconv.Unquote(literal.Value); err == nil && statement.MatchString(text) {
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
	if !statement.MatchString("\n SELECT 1") || !statement.MatchString("-- name: X :one") {
		t.Errorf("%v does not match SQL", statement)
	}
	if files < 50 {
		t.Fatalf("only %d files were read", files)
	}
}
