package client_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// undemonstrated are methods that other packages call: of error, errors, gRPC and fmt.
var undemonstrated = []string{"Error", "Is", "Unwrap", "GRPCStatus", "String"}

// Each exported function and method is called by a runnable Example of its package.
func TestEachExportedCallHasAnExample(t *testing.T) {
	for _, folder := range []string{".", "clienttest", "projection"} {
		calls, shown := exportedAndShown(t, folder)
		for _, call := range calls {
			if !shown[call] && !slices.Contains(undemonstrated, call) {
				t.Errorf("%s: no Example calls %s", folder, call)
			}
		}
		if len(calls) == 0 {
			t.Errorf("%s exports nothing", folder)
		}
	}
}

func exportedAndShown(t *testing.T, folder string) (calls []string, shown map[string]bool) {
	t.Helper()
	shown = map[string]bool{}
	names, err := filepath.Glob(filepath.Join(folder, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, declaration := range file.Decls {
			f, isFunction := declaration.(*ast.FuncDecl)
			switch {
			case !isFunction:
			case !strings.HasSuffix(name, "_test.go"):
				if f.Name.IsExported() && (f.Recv == nil || exportedReceiver(f.Recv.List[0].Type)) {
					calls = append(calls, f.Name.Name)
				}
			case strings.HasPrefix(f.Name.Name, "Example") && hasOutput(file, f):
				ast.Inspect(f, func(n ast.Node) bool {
					if selector, ok := n.(*ast.SelectorExpr); ok {
						shown[selector.Sel.Name] = true
					}
					return true
				})
			}
		}
	}
	return calls, shown
}

func exportedReceiver(receiver ast.Expr) bool {
	if pointer, ok := receiver.(*ast.StarExpr); ok {
		receiver = pointer.X
	}
	name, ok := receiver.(*ast.Ident)
	return ok && name.IsExported()
}

// hasOutput says whether `go test` runs an Example: only one with a comment about its output.
func hasOutput(file *ast.File, f *ast.FuncDecl) bool {
	return slices.ContainsFunc(file.Comments, func(c *ast.CommentGroup) bool {
		return c.Pos() > f.Pos() && c.End() < f.End() && strings.HasPrefix(strings.ToLower(c.Text()), "output:")
	})
}
