package imports

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"iter"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const project = "editpipe"

// root is the repository, seen from the folder of this test.
var root = filepath.Join("..", "..")

var update = flag.Bool("update", false, "write the table of packages of docs/architecture.md")

// room is a line of the list: a package, what it is, and the packages of the
// project that it imports, separated by spaces.
type room struct{ folder, noun, imports string }

// exception is an import, or several, with the reason. Folders are separated by
// spaces.
type exception struct{ from, to, why string }

// each yields the imports of an exception, from one package to another.
func (e exception) each() iter.Seq2[string, string] {
	return func(yield func(from, to string) bool) {
		for _, from := range strings.Fields(e.from) {
			for _, to := range strings.Fields(e.to) {
				if !yield(from, to) {
					return
				}
			}
		}
	}
}

// module is a module of others with the folders that import it.
type module struct{ path, folders, use string }

// rules is what is asked of the imports of a tree.
type rules struct {
	house                      []room
	exceptions, testExceptions []exception
	forTests                   []string
	outside                    []module
}

func ours() rules { return rules{house, exceptions, testExceptions, forTests, outside} }

// source is what the files of one package import, without repetition: those
// that belong to it, and its tests beyond that. All build tags count.
type source struct{ code, tests map[string]bool }

// read returns the packages below a folder by their own folder. It parses in
// this process: a test that asks the go command would be cached as a stale pass.
func read(dir string) (map[string]source, error) {
	tree := map[string]source{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		if err != nil {
			return err
		}
		if d.IsDir() && rel != "." {
			_, err := os.Stat(filepath.Join(p, "go.mod"))
			if name := d.Name(); strings.HasPrefix(name, ".") || name == "testdata" || name == "node_modules" || err == nil {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(p, ".go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), p, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		folder := path.Dir(filepath.ToSlash(rel))
		if _, ok := tree[folder]; !ok {
			tree[folder] = source{map[string]bool{}, map[string]bool{}}
		}
		into := tree[folder].code
		if strings.HasSuffix(p, "_test.go") {
			into = tree[folder].tests
		}
		for _, im := range f.Imports {
			s, err := strconv.Unquote(im.Path.Value)
			if err != nil {
				return err
			}
			into[s] = true
		}
		return nil
	})
	return tree, err
}

// within are the packages of the project among imports, sorted.
func within(imports map[string]bool) []string {
	var out []string
	for im := range imports {
		if folder, ok := strings.CutPrefix(im, project+"/"); ok {
			out = append(out, folder)
		}
	}
	slices.Sort(out)
	return out
}

// line gives the index of the line of a package, -1 if it has none.
func (r rules) line(folder string) int {
	own := func(name string) int {
		return slices.IndexFunc(r.house, func(l room) bool { return l.folder == name })
	}
	if i := own(folder); i >= 0 {
		return i
	}
	return own(path.Join(path.Dir(folder), path.Base(method)))
}

// kind is the line that a method shares with others of its kind, "" of a package
// that is no method.
func (r rules) kind(folder string) string {
	if i := r.line(folder); i >= 0 && folder != r.house[i].folder {
		return r.house[i].folder
	}
	return ""
}

// isMethod reports whether a package is an editing method.
func (r rules) isMethod(folder string) bool { return r.kind(folder) != "" }

// names reports whether one of the exceptions is from one package to another.
func names(list []exception, from, to string) bool {
	return slices.ContainsFunc(list, func(e exception) bool {
		return slices.Contains(strings.Fields(e.from), from) && slices.Contains(strings.Fields(e.to), to)
	})
}

// group is the folder at the top that a package belongs to. Those of internal
// and examples have nothing in common.
func group(folder string) string {
	top, rest, _ := strings.Cut(folder, "/")
	if top != "internal" && top != "examples" {
		return top
	}
	below, _, _ := strings.Cut(rest, "/")
	return top + "/" + below
}

// faults names what in the tree, and in the list itself, is against the rules.
func (r rules) faults(tree map[string]source) []string {
	var out []string
	fault := func(format string, a ...any) { out = append(out, fmt.Sprintf(format, a...)) }
	folders := slices.Sorted(maps.Keys(tree))
	exists := func(folder string) bool {
		return tree[folder].code != nil || slices.ContainsFunc(folders, func(f string) bool { return r.kind(f) == folder })
	}

	done := map[string]bool{} // groups whose lines have ended
	for i, l := range r.house {
		if !exists(l.folder) {
			fault("%s is listed and does not exist", l.folder)
		}
		if l.noun == "" {
			fault("the line of %s does not say what it is", l.folder)
		}
		if i > 0 && group(r.house[i-1].folder) != group(l.folder) {
			done[group(r.house[i-1].folder)] = true
		}
		if done[group(l.folder)] {
			fault("the line of %s is apart from those of %s: the folders between them would lie above and below it", l.folder, group(l.folder))
		}
		if slices.ContainsFunc(r.house[:i], func(o room) bool { return o.folder == l.folder }) {
			fault("%s is listed twice", l.folder)
		}
		for _, to := range strings.Fields(l.imports) {
			if to != anything && !exists(to) {
				fault("the line of %s names %s, which does not exist", l.folder, to)
			}
		}
	}
	for _, name := range r.forTests {
		if !exists(name) {
			fault("%s is a package for tests and does not exist", name)
		}
	}

	for _, folder := range folders {
		at := r.line(folder)
		if at < 0 {
			fault("%s is not listed: add {%q, \"what it is\", %q} below what it imports", folder, folder, strings.Join(within(tree[folder].code), " "))
			continue
		}
		for _, to := range within(tree[folder].code) {
			if why := r.forbidden(folder, at, to); why != "" {
				fault("%s imports %s, %s", folder, to, why)
			}
		}
		reach := r.reachOfTests(tree, folder)
		for _, to := range within(tree[folder].tests) {
			if !reach[to] && to != folder && !slices.Contains(r.forTests, to) && !names(r.testExceptions, folder, to) && !names(r.testExceptions, folder, r.kind(to)) && !r.mayAnything(at, to) {
				fault("the tests of %s import %s, which neither the package nor a package for tests needs", folder, to)
			}
		}
	}
	r.unused(tree, fault)
	r.foreign(tree, fault)
	return out
}

// mayAnything reports whether a package may import another because its line
// says anything.
func (r rules) mayAnything(at int, to string) bool {
	return r.house[at].imports == anything && !r.isMethod(to)
}

// forbidden says why a package, whose line is the one at, may not import
// another; "" if it may.
func (r rules) forbidden(folder string, at int, to string) string {
	l, below := r.house[at], r.line(to)
	allowed := strings.Fields(l.imports)
	switch {
	case below < 0:
		return "which is not listed"
	case !slices.Contains(allowed, to) && !r.mayAnything(at, to) && (!r.isMethod(to) || !slices.Contains(allowed, r.kind(to))):
		return "which its line does not name"
	case names(r.exceptions, folder, to):
		return ""
	case r.isMethod(to) && (r.isMethod(folder) || !slices.Contains(allowed, r.kind(to))):
		return "a method: only the list of methods may"
	case slices.Contains(r.forTests, to) && !slices.Contains(r.forTests, folder):
		return "which is for tests"
	case below >= at:
		return "which does not stand above it in the list"
	}
	return ""
}

// reachOfTests are the packages that the tests of a package may import without
// being an exception: what the package needs, however indirectly, and what the
// packages for tests need that its tests import.
func (r rules) reachOfTests(tree map[string]source, folder string) map[string]bool {
	reach := map[string]bool{}
	var visit func(string)
	visit = func(from string) {
		for _, to := range within(tree[from].code) {
			if !reach[to] {
				reach[to] = true
				visit(to)
			}
		}
	}
	visit(folder)
	for _, to := range within(tree[folder].tests) {
		if slices.Contains(r.forTests, to) {
			visit(to)
		}
	}
	return reach
}

// unused finds what the list allows and nobody does.
func (r rules) unused(tree map[string]source, fault func(string, ...any)) {
	does := func(folder, to string) bool {
		for _, im := range within(tree[folder].code) {
			if im == to || r.kind(im) == to {
				return true
			}
		}
		return false
	}
	for _, l := range r.house {
		for _, to := range strings.Fields(l.imports) {
			used := to == anything || does(l.folder, to)
			for folder := range tree {
				used = used || r.kind(folder) == l.folder && does(folder, to)
			}
			if !used {
				fault("the line of %s names %s, which it does not import", l.folder, to)
			}
		}
	}
	for _, e := range r.exceptions {
		bare := r
		bare.exceptions = nil
		for from, to := range e.each() {
			if at := r.line(from); at < 0 || !does(from, to) || bare.forbidden(from, at, to) == "" {
				fault("the exception of %s for %s is not needed", from, to)
			}
		}
		if e.why == "" {
			fault("the exception of %s has no reason", e.from)
		}
	}
	for _, e := range r.testExceptions {
		for from, to := range e.each() {
			imported := slices.ContainsFunc(within(tree[from].tests), func(im string) bool { return im == to || r.kind(im) == to })
			if !imported || r.reachOfTests(tree, from)[to] {
				fault("the exception of the tests of %s for %s is not needed", from, to)
			}
		}
		if e.why == "" {
			fault("the exception of the tests of %s has no reason", e.from)
		}
	}
}

// foreign checks who imports the modules of others.
func (r rules) foreign(tree map[string]source, fault func(string, ...any)) {
	used := map[string]bool{} // module and folder
	for _, folder := range slices.Sorted(maps.Keys(tree)) {
		all := maps.Clone(tree[folder].code)
		maps.Copy(all, tree[folder].tests)
		for _, im := range slices.Sorted(maps.Keys(all)) {
			first, _, _ := strings.Cut(im, "/")
			if !strings.Contains(first, ".") {
				continue // the standard library, or the project
			}
			i := slices.IndexFunc(r.outside, func(m module) bool { return im == m.path || strings.HasPrefix(im, m.path+"/") })
			if i < 0 {
				fault("%s imports %s, whose module is not listed", folder, im)
				continue
			}
			m := r.outside[i]
			sole := ""
			for _, f := range strings.Fields(m.folders) {
				if folder == f || strings.HasPrefix(folder, f+"/") {
					sole = f
				}
			}
			if sole == "" {
				fault("%s imports %s; only %s may", folder, im, strings.Join(strings.Fields(m.folders), " and "))
			}
			used[m.path+" "+sole] = true
		}
	}
	for _, m := range r.outside {
		for _, f := range strings.Fields(m.folders) {
			if !used[m.path+" "+f] {
				fault("%s is listed with %s, which does not import it", m.path, f)
			}
		}
		if m.use == "" {
			fault("the line of %s does not say what it is used for", m.path)
		}
	}
}

func TestImports(t *testing.T) {
	tree, err := read(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range ours().faults(tree) {
		t.Error(f)
	}
	// A method that is not in the list of methods would be dead code.
	for folder := range tree {
		if ours().kind(folder) == method && !tree["edit/all"].code[project+"/"+folder] {
			t.Errorf("edit/all does not list %s", folder)
		}
	}
}

// The table of packages stands in docs/architecture.md between these lines.
const (
	begin = "<!-- written by: go test ./internal/imports -update -->\n"
	end   = "<!-- end of what is written -->\n"
)

func TestTable(t *testing.T) {
	file := filepath.Join(root, "docs", "architecture.md")
	page, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	want, err := replaced(page, ours().table())
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	if *update {
		if err := os.WriteFile(file, want, 0o666); err != nil {
			t.Fatal(err)
		}
	} else if !bytes.Equal(page, want) {
		t.Errorf("the table of packages of docs/architecture.md is not that of the list: run go test ./internal/imports -update")
	}
}

// replaced puts a table in place of the one in a page.
func replaced(page []byte, table string) ([]byte, error) {
	before, rest, ok := bytes.Cut(page, []byte(begin))
	_, after, ok2 := bytes.Cut(rest, []byte(end))
	if !ok || !ok2 {
		return nil, errors.New("the lines that mark the table are not there")
	}
	return slices.Concat(before, []byte(begin+table+end), after), nil
}

// table writes the list in Markdown.
func (r rules) table() string {
	var b strings.Builder
	b.WriteString("\n| package | what it is | imports |\n|---|---|---|\n")
	for _, l := range r.house {
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", l.folder, l.noun, commas(l.imports))
	}
	for _, l := range []struct {
		of   string
		list []exception
	}{{"Exceptions", r.exceptions}, {"Exceptions of tests", r.testExceptions}} {
		fmt.Fprintf(&b, "\n%s:\n\n", l.of)
		for _, e := range l.list {
			fmt.Fprintf(&b, "- %s on %s: %s\n", commas(e.from), commas(e.to), e.why)
		}
	}
	b.WriteString("\n| module | imported by | for |\n|---|---|---|\n")
	for _, m := range r.outside {
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", m.path, commas(m.folders), m.use)
	}
	b.WriteString("\n")
	return b.String()
}

// commas writes what is separated by spaces with commas.
func commas(list string) string { return strings.Join(strings.Fields(list), ", ") }

// TestRules makes sure that each rule can fail, on a small house that keeps them
// all but for one change.
func TestRules(t *testing.T) {
	of := func(code, tests string) source {
		s := source{map[string]bool{}, map[string]bool{}}
		for _, f := range []struct {
			names string
			into  map[string]bool
		}{{code, s.code}, {tests, s.tests}} {
			for _, im := range strings.Fields(f.names) {
				if !strings.Contains(im, ".") {
					im = project + "/" + im
				}
				f.into[im] = true
			}
		}
		return s
	}
	good := func() (rules, map[string]source) {
		return rules{
				house: []room{
					{"lfs", "n", ""}, {"onnx", "n", "lfs"}, {"onnx/read", "n", "lfs onnx"}, {"onnx/tiny", "n", "onnx"},
					{"edit", "n", "onnx"}, {method, "n", "edit lfs"}, {"edit/all", "n", "edit edit/METHOD"},
					{"demo", "n", "edit/rome"}, {"cmd", "n", anything},
				},
				exceptions:     []exception{{"demo", "edit/rome", "because"}},
				testExceptions: []exception{{"onnx", "demo", "because"}},
				forTests:       []string{"onnx/tiny"},
				outside:        []module{{"x.org/y", "onnx", "u"}},
			}, map[string]source{
				"lfs": of("", "onnx/tiny onnx"), "onnx": of("lfs", "onnx demo"), "onnx/read": of("lfs onnx x.org/y/z", ""), "onnx/tiny": of("onnx", ""),
				"edit": of("onnx", "lfs"), "edit/rome": of("edit", ""), "edit/kn": of("edit lfs", ""), "edit/all": of("edit edit/rome edit/kn", ""),
				"demo": of("edit/rome", ""), "cmd": of("edit/all demo lfs", "onnx/read"),
			}
	}
	for _, c := range []struct {
		name   string
		change func(r *rules, tree map[string]source)
		want   string // "" for none
	}{
		{"nothing", func(*rules, map[string]source) {}, ""},
		{"an import more", func(_ *rules, tree map[string]source) { tree["edit"] = of("lfs onnx", "") }, "edit imports lfs, which its line does not name"},
		{"an import less", func(_ *rules, tree map[string]source) { tree["onnx/read"] = of("onnx x.org/y", "") }, "the line of onnx/read names lfs, which it does not import"},
		{"an import upwards", func(r *rules, tree map[string]source) {
			r.house[0].imports = "edit"
			tree["lfs"] = of("edit", "")
		}, "lfs imports edit, which does not stand above it in the list"},
		{"a new package", func(_ *rules, tree map[string]source) { tree["file"] = of("lfs", "") }, `file is not listed: add {"file", "what it is", "lfs"} below what it imports`},
		{"an import of a new package", func(_ *rules, tree map[string]source) {
			tree["file"] = of("", "")
			tree["cmd"] = of("file", "")
		}, "cmd imports file, which is not listed"},
		{"a package that vanished", func(_ *rules, tree map[string]source) { delete(tree, "onnx/read") }, "onnx/read is listed and does not exist"},
		{"methods that vanished", func(_ *rules, tree map[string]source) {
			delete(tree, "edit/rome")
			delete(tree, "edit/kn")
		}, "edit/METHOD is listed and does not exist"},
		{"an import that vanished", func(r *rules, _ map[string]source) { r.house[2].imports += " file" }, "the line of onnx/read names file, which does not exist"},
		{"a package for tests that vanished", func(r *rules, _ map[string]source) { r.forTests = append(r.forTests, "leak") }, "leak is a package for tests and does not exist"},
		{"two lines", func(r *rules, _ map[string]source) { r.house = append(r.house, r.house[8]) }, "cmd is listed twice"},
		{"no noun", func(r *rules, _ map[string]source) { r.house[0].noun = "" }, "the line of lfs does not say what it is"},
		{"folders that need each other", func(r *rules, _ map[string]source) { r.house[2], r.house[4] = r.house[4], r.house[2] }, "the line of onnx/read is apart from those of onnx: the folders between them would lie above and below it"},
		{"a method imports a method", func(r *rules, tree map[string]source) {
			r.house[5].imports += " edit/kn"
			tree["edit/rome"] = of("edit edit/kn", "")
		}, "edit/rome imports edit/kn, a method: only the list of methods may"},
		{"a program imports a method", func(_ *rules, tree map[string]source) { tree["cmd"] = of("edit/rome", "") }, "cmd imports edit/rome, which its line does not name"},
		{"a program's test imports a method", func(_ *rules, tree map[string]source) { tree["lfs"] = of("", "edit/rome") }, "the tests of lfs import edit/rome, which neither the package nor a package for tests needs"},
		{"a package for tests elsewhere", func(r *rules, tree map[string]source) {
			r.house[4].imports += " onnx/tiny"
			tree["edit"] = of("onnx onnx/tiny", "")
		}, "edit imports onnx/tiny, which is for tests"},
		{"a test that reaches far", func(_ *rules, tree map[string]source) { tree["edit"] = of("onnx", "demo") }, "the tests of edit import demo, which neither the package nor a package for tests needs"},
		{"an exception too many", func(r *rules, _ map[string]source) {
			r.exceptions = append(r.exceptions, exception{"onnx", "lfs", "because"})
		}, "the exception of onnx for lfs is not needed"},
		{"an exception of tests too many", func(r *rules, _ map[string]source) {
			r.testExceptions = append(r.testExceptions, exception{"edit", "lfs", "because"})
		}, "the exception of the tests of edit for lfs is not needed"},
		{"an exception without a reason", func(r *rules, _ map[string]source) { r.exceptions[0].why = "" }, "the exception of demo has no reason"},
		{"a second importer", func(_ *rules, tree map[string]source) { tree["edit"] = of("onnx", "x.org/y") }, "edit imports x.org/y; only onnx may"},
		{"a new module", func(_ *rules, tree map[string]source) { tree["lfs"] = of("x.org/yy", "") }, "lfs imports x.org/yy, whose module is not listed"},
		{"a module that vanished", func(_ *rules, tree map[string]source) { tree["onnx/read"] = of("lfs onnx", "") }, "x.org/y is listed with onnx, which does not import it"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, tree := good()
			c.change(&r, tree)
			got := r.faults(tree)
			if c.want == "" && len(got) > 0 || c.want != "" && !slices.Contains(got, c.want) {
				t.Errorf("faults %q, want %q", got, c.want)
			}
		})
	}
	r, _ := good()
	page := []byte("a\n" + begin + "old\n" + end + "b\n")
	if got, err := replaced(page, r.table()); err != nil || !strings.Contains(string(got), "| `onnx/read` | n | lfs, onnx |\n") || strings.Contains(string(got), "old") || !strings.HasSuffix(string(got), end+"b\n") {
		t.Errorf("the page became %q (%v)", got, err)
	}
	if _, err := replaced([]byte("a\n"+begin), ""); err == nil {
		t.Error("a page without the marks has no error")
	}
}
