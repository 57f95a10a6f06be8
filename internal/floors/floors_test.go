package floors

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"testing"
)

const module = "editpipe"

// floor maps a package (or a folder pattern ending in /*) to its floor. A
// package that is not listed fails the test: decide where it stands first.
var floor = map[string]int{
	"cmd/editpipe": 9,

	"stages": 8, "edit/all": 8, "report": 8,

	"edit/*": 7, // the methods; no method imports a method

	"edit/locate": 6, "edit/meta": 6, "edit/adapter": 6, "edit/edittest": 6,

	"edit": 5, "demo/pretrain": 5,

	"models": 4, "demo": 4,

	"train": 3, "internal/leak": 3,

	"audit": 2, "ort/orttest": 2, "onnx/grad": 2, "generator/shards": 2, "models/arch": 2, "internal/tinylm": 2,

	"onnx": 1, "ort": 1, "metric": 1, "generator": 1, "store": 1,

	"tensor/safetensors": 0, "tensor/npz": 0,
	"token/component": 0, "token/oniguruma": 0, "token/character": 0, "token/pattern": 0, "token/bytelevel": 0, "token/piece": 0,
	"token/normal": 0, "token/split": 0, "token/subword": 0, "token/decode": 0,
	"tensor": 0, "dataset": 0, "ask": 0, "row": 0, "token": 0, "pipeline": 0, "dataset/corpus": 0, "demo/world": 0,
	"dataset/importer": 0, "dataset/importer/rows": 0, "dataset/exporter": 0, "generator/catalogue": 0, "generator/kb": 0, "generator/dump": 0,

	"checkpoint": 0,

	"lfs": -1, "file": -1, // below the floors: every reader of files asks the one, every writer the other
}

// sameFloor lists the imports allowed within a floor: an archive format is
// part of the noun it stores, a reader of files of the noun it fills, and a
// knowledge base is kept to what its catalogue names.
// The stages of a text lie below token, which joins them.
var sameFloor = map[[2]string]bool{
	{"tensor/safetensors", "tensor"}:              true,
	{"tensor/npz", "tensor"}:                      true,
	{"dataset/importer", "dataset"}:               true,
	{"dataset/importer", "dataset/importer/rows"}: true,
	{"dataset/importer", "generator/dump"}:        true, // one place unpacks what is published packed
	{"dataset/corpus", "generator/dump"}:          true,
	{"dataset/exporter", "dataset"}:               true,
	{"generator/kb", "generator/catalogue"}:       true,

	{"token/oniguruma", "token/component"}: true,
	{"token/pattern", "token/oniguruma"}:   true,
	{"token/character", "token/oniguruma"}: true,

	{"token/bytelevel", "token/pattern"}: true,
	{"token/piece", "token/pattern"}:     true,

	{"token/bytelevel", "token/character"}: true,

	{"token/normal", "token/component"}: true,
	{"token/normal", "token/character"}: true,
	{"token/normal", "token/pattern"}:   true,
	{"token/normal", "token/bytelevel"}: true,
	{"token/normal", "token/piece"}:     true,

	{"token/split", "token/component"}: true,
	{"token/split", "token/character"}: true,
	{"token/split", "token/pattern"}:   true,
	{"token/split", "token/bytelevel"}: true,
	{"token/split", "token/piece"}:     true,

	{"token/subword", "token/bytelevel"}: true,

	{"token/decode", "token/component"}: true,
	{"token/decode", "token/pattern"}:   true,
	{"token/decode", "token/bytelevel"}: true,
	{"token/decode", "token/split"}:     true, // Metaspace is both a way of cutting and its undoing

	{"token", "checkpoint"}: true, // as of models/arch, one reader of what Python writes

	{"token", "token/component"}: true,
	{"token", "token/bytelevel"}: true,
	{"token", "token/piece"}:     true,
	{"token", "token/normal"}:    true,
	{"token", "token/split"}:     true,
	{"token", "token/subword"}:   true,
	{"token", "token/decode"}:    true,
}

// soleImporter says which folder speaks to a third-party module, itself or a
// package below it. Everybody else goes through it, so that a replacement
// touches one folder.
var soleImporter = map[string]string{
	"github.com/yalue/onnxruntime_go":  "ort",
	"github.com/sugarme/tokenizer":     "token",
	"github.com/parquet-go/parquet-go": "store",
	"github.com/urfave/cli/v2":         "cmd/editpipe",
}

// outside lists folders that are programs or checks of their own and stand on
// no floor: nothing imports them.
var outside = []string{"internal/floors", "internal/ortinstall", "internal/dumpgen", "internal/kbbench", "internal/tokencheck", "internal/families", "edit/all/gen", "demo/pretrain/build", "tools", "notebooks", "examples"}

// importsOf returns the non-test imports of every package folder, by folder
// path relative to the root. It parses in this process: a test that shells out
// to the go command would be cached as a stale pass.
func importsOf(t *testing.T, root string) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if d.IsDir() {
			if name := d.Name(); rel != "." && (strings.HasPrefix(name, ".") || name == "testdata" || name == "node_modules") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(p, ".go") || strings.HasSuffix(p, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), p, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		dir := path.Dir(rel)
		out[dir] = append(out[dir], "") // present even without imports
		for _, im := range f.Imports {
			s, err := strconv.Unquote(im.Path.Value)
			if err != nil {
				return err
			}
			out[dir] = append(out[dir], s)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// floorOf returns the floor of a package folder.
func floorOf(pkg string) (int, bool) {
	if f, ok := floor[pkg]; ok {
		return f, true
	}
	if f, ok := floor[path.Dir(pkg)+"/*"]; ok {
		return f, true
	}
	return 0, false
}

func isOutside(pkg string) bool {
	for _, o := range outside {
		if pkg == o || strings.HasPrefix(pkg, o+"/") {
			return true
		}
	}
	return false
}

func TestImportsGoDown(t *testing.T) {
	root := filepath.Join("..", "..")
	if _, err := os.Stat(filepath.Join(root, "go.mod")); err != nil {
		t.Fatalf("repository root not found: %v", err)
	}
	imports := importsOf(t, root)
	var pkgs []string
	for p := range imports {
		pkgs = append(pkgs, p)
	}
	sort.Strings(pkgs)
	if len(pkgs) < 5 {
		t.Fatalf("only %d packages found", len(pkgs))
	}
	for _, pkg := range pkgs {
		if isOutside(pkg) {
			continue
		}
		mine, ok := floorOf(pkg)
		if !ok {
			t.Errorf("%s stands on no floor: add it to the table and to docs/architecture.md", pkg)
			continue
		}
		for _, im := range imports[pkg] {
			for mod, sole := range soleImporter {
				if (im == mod || strings.HasPrefix(im, mod+"/")) && pkg != sole && !strings.HasPrefix(pkg, sole+"/") {
					t.Errorf("%s imports %s; only %s may", pkg, im, sole)
				}
			}
			dep, internal := strings.CutPrefix(im, module+"/")
			if !internal {
				continue
			}
			theirs, ok := floorOf(dep)
			if isOutside(dep) || !ok {
				t.Errorf("%s imports %s, which stands on no floor", pkg, dep)
				continue
			}
			if theirs >= mine && !sameFloor[[2]string{pkg, dep}] {
				t.Errorf("%s (floor %d) imports %s (floor %d): imports go down only", pkg, mine, dep, theirs)
			}
		}
	}
}

// TestGuardCatches makes sure that the guard itself can fail.
func TestGuardCatches(t *testing.T) {
	for _, c := range []struct{ from, to string }{
		{"models", "edit"}, {"onnx", "ort"}, {"edit/rome", "edit/memit"}, {"metric", "models"}, {"pipeline", "stages"},
		{"dataset", "dataset/importer"}, {"generator/catalogue", "generator/kb"}, {"generator/kb", "generator"},
	} {
		a, ok1 := floorOf(c.from)
		b, ok2 := floorOf(c.to)
		if !ok1 || !ok2 || a > b {
			t.Errorf("%s -> %s would pass (floors %d, %d)", c.from, c.to, a, b)
		}
	}
}
