package all_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"editpipe/edit/all"
)

// allowed are the folders that may use the id of a method as a string, by id, and
// why. Ids that are words of their own are used in other senses.
var allowed = map[string]map[string]string{
	"ice": {
		"cmd/editpipe":        "default of edit --method",
		"demo/pretrain/build": "default of -in-context",
	},
	"rome": {
		"demo/pretrain/build": "default of -in-weights",
	},
	"none": {
		"cmd/editpipe":     "default of eval --method",
		"dataset/importer": "a word of a data set's files",
		"internal/tinylm":  "value of an attribute of an ONNX operator",
		"models/patch":     "a patch that leaves the graph alone",
		"onnx/grad":        "value of an attribute of an ONNX operator",
		"sets":             "an empty list, as text",
	},
	"patch": {
		"cmd/editpipe": "flag of export: a saved patch",
	},
}

// TestNobodyNamesAMethod: no package but this one imports a method, and none but the
// method's own uses its id.
func TestNobodyNamesAMethod(t *testing.T) {
	root := filepath.Join("..", "..")
	if _, err := os.Stat(filepath.Join(root, "go.mod")); err != nil {
		t.Fatalf("repository root not found: %v", err)
	}
	methods, imported := folders(t), map[string]bool{}
	var ids []string
	for _, m := range all.Methods() {
		ids = append(ids, m.Name)
	}
	used := map[[2]string]bool{}
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name := d.Name(); d.IsDir() && p != root && (strings.HasPrefix(name, ".") || name == "testdata" || name == "node_modules") {
			return filepath.SkipDir
		}
		rel, err := filepath.Rel(root, p)
		if err != nil || d.IsDir() || !strings.HasSuffix(p, ".go") || strings.HasSuffix(p, "_test.go") {
			return err
		}
		rel = filepath.ToSlash(rel)
		folder := path.Dir(rel)
		f, err := parser.ParseFile(token.NewFileSet(), p, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(f, func(n ast.Node) bool {
			l, ok := n.(*ast.BasicLit)
			if !ok || l.Kind != token.STRING {
				return true
			}
			s, err := strconv.Unquote(l.Value)
			if err != nil {
				t.Errorf("%s: %v", rel, err)
			}
			if slices.Contains(methods, s) {
				if imported[s] = true; folder != "edit/all" {
					t.Errorf("%s imports %s: ask edit/all for a method by its id", rel, s)
				}
			}
			if slices.Contains(ids, s) && !slices.Contains(methods, "editpipe/"+folder) {
				if used[[2]string{s, folder}] = true; allowed[s][folder] == "" {
					t.Errorf("%s names method %s: only its own package may, or one that is listed here with a reason", rel, s)
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range methods {
		if !imported[m] {
			t.Errorf("%s is a method, but the list lacks it", m)
		}
	}
	for id, folders := range allowed {
		for folder := range folders {
			if !used[[2]string{id, folder}] {
				t.Errorf("%s may name %s, but does not: take it out of this test", folder, id)
			}
		}
	}
}

// folders are the packages below edit that define methods.
func folders(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", "*", "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, p := range files {
		folder := "editpipe/edit/" + filepath.Base(filepath.Dir(p))
		if strings.HasSuffix(p, "_test.go") || folder == "editpipe/edit/all" || slices.Contains(list, folder) {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), p, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && (fn.Name.Name == "Method" || fn.Name.Name == "Methods") {
				list = append(list, folder)
			}
		}
	}
	return list
}
