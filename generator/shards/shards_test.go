package shards

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"editpipe/demo/world"
	"editpipe/file"
	"editpipe/generator/catalogue"
	"editpipe/generator/kb"
	"editpipe/store"
)

// The tests' dumps are cut small: every block is a shard.
const (
	tinyShard = 1
	tinyBlock = 300_000
)

// entityOfAll is the world's topmost class. It has no statement, so nothing of
// the catalogue stands in its row, and a build leaves it out.
const entityOfAll = "Q900000001"

func worldDump(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := world.Write(&b, world.Seed); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func worldCatalogue(t testing.TB) *catalogue.Catalogue {
	t.Helper()
	c, err := catalogue.Load(bytes.NewReader(world.Catalogue()))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// someLines is a dump of four shards: every eighth line of the world's.
func someLines(t testing.TB) []byte {
	t.Helper()
	var out []byte
	i := 0
	for line := range bytes.Lines(worldDump(t)) {
		if i++; i%8 == 2 {
			out = append(out, line...)
		}
	}
	return out
}

func of(t testing.TB, dump []byte, out string) Build {
	t.Helper()
	return Build{In: bytes.NewReader(dump), Dump: "dump.json", Out: out, Catalogue: worldCatalogue(t), CatalogueHash: "of the world", workers: 2, shardBytes: tinyShard, blockBytes: tinyBlock}
}

func mustDo(t testing.TB, b Build) *Manifest {
	t.Helper()
	m, err := b.Do(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// contents returns the hash of every file below a folder.
func contents(t testing.TB, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		out[name], err = file.Hash(path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// rows reads a table of all shards.
func rows[T any](t testing.TB, out string, m *Manifest, table func(Shard) Table) []T {
	t.Helper()
	var all []T
	for _, s := range m.Shards {
		one, err := store.Read[T](filepath.Join(out, table(s).File))
		if err != nil {
			t.Fatal(err)
		}
		if len(one) != table(s).Rows {
			t.Errorf("%s has %d rows, the manifest says %d", table(s).File, len(one), table(s).Rows)
		}
		all = append(all, one...)
	}
	return all
}

func entitiesOf(s Shard) Table { return s.Entities }
func factsOf(s Shard) Table    { return s.Facts }

// TestSameAsInMemory compares every row with those of the knowledge base in
// memory that was filled from the same dump and went over no disk.
func TestSameAsInMemory(t *testing.T) {
	dump := worldDump(t)
	b := kb.NewBuilder(worldCatalogue(t), kb.Date{}, "dump.json")
	for e, err := range kb.Entities(bytes.NewReader(dump)) {
		if err != nil {
			t.Fatal(err)
		}
		b.Add(e)
	}
	base, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	out := t.TempDir()
	m := mustDo(t, of(t, dump, out))
	if m.AsOf != base.AsOf.String() || len(m.Shards) < 2 {
		t.Errorf("as of %s in %d shards, want %s in several", m.AsOf, len(m.Shards), base.AsOf)
	}
	got := map[string]kb.EntityRow{}
	for _, r := range rows[kb.EntityRow](t, out, m, entitiesOf) {
		got[r.ID] = r
	}
	for want := range base.EntityRows() {
		if want.ID == entityOfAll {
			continue
		}
		r := got[want.ID]
		if fmt.Sprint(r) != fmt.Sprint(want) {
			t.Errorf("entity\n%+v\nwant\n%+v", r, want)
		}
		delete(got, want.ID)
	}
	for id := range got {
		if id[0] != 'P' {
			t.Errorf("%s is no item of the knowledge base in memory", id)
		}
	}
	var facts, wanted []kb.FactRow
	for _, r := range rows[kb.FactRow](t, out, m, factsOf) {
		if r.SubjectID[0] == 'Q' {
			facts = append(facts, r)
		}
	}
	for r := range base.FactRows() {
		if r.ObjectID == entityOfAll {
			r.ObjectText = ""
		}
		r.AboutIDs = append([]string{}, r.AboutIDs...) // as a table gives none back
		wanted = append(wanted, r)
	}
	if len(facts) != len(wanted) || len(facts) < 1000 {
		t.Fatalf("%d facts, want %d", len(facts), len(wanted))
	}
	for i := range facts {
		if !reflect.DeepEqual(facts[i], wanted[i]) {
			t.Fatalf("fact\n%+v\nwant\n%+v", facts[i], wanted[i])
		}
	}
	opens(t, dump, out, m)
}

// opens reads the folder back and compares with the dump.
func opens(t *testing.T, dump []byte, out string, m *Manifest) {
	t.Helper()
	f := kb.NewFilter(worldCatalogue(t))
	want := map[string]*kb.Entity{}
	for row := range bytes.Lines(dump) {
		for e, err := range kb.ParseRow(row, f) {
			if err != nil {
				t.Fatal(err)
			}
			e.Modified = kb.Date{} // not in the tables
			e.Aliases = append([]string{}, e.Aliases...)
			e.Claims = slices.DeleteFunc(e.Claims, func(st kb.Statement) bool { return !st.HasValue }) // nor are these
			if len(e.Claims) == 0 {
				e.Claims = nil
			}
			want[e.ID] = e
		}
	}
	folder, err := Open(out)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	err = folder.Entities(context.Background(), func(e *kb.Entity) error {
		n++
		if len(e.Claims) == 0 {
			e.Claims = nil
		}
		if !reflect.DeepEqual(e, want[e.ID]) {
			t.Errorf("got\n%+v\nwant\n%+v", e, want[e.ID])
		}
		return nil
	})
	if err != nil || n != m.Entities || n+m.Unnamed != len(want) {
		t.Errorf("%d entities, %v; the manifest says %d and %d that no fact names, the dump has %d", n, err, m.Entities, m.Unnamed, len(want))
	}
	if lacking := folder.Lacks(worldCatalogue(t)); len(lacking) > 0 {
		t.Errorf("the folder lacks %v of its own catalogue", lacking)
	}
	general, err := catalogue.Load(bytes.NewReader(catalogue.General()))
	if err != nil {
		t.Fatal(err)
	}
	if lacking := folder.Lacks(general); !slices.Contains(lacking, "P171") {
		t.Errorf("the world's folder is said to lack %v; it has no taxa (P171)", lacking)
	}
}

// TestEqualBytes builds with one worker and several, from plain text and
// compressed.
func TestEqualBytes(t *testing.T) {
	dump := someLines(t)
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := z.Write(dump); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	var first map[string]string
	for _, c := range []struct {
		data    []byte
		workers int
	}{{dump, 1}, {dump, 5}, {packed.Bytes(), 2}} {
		out := t.TempDir()
		b := of(t, c.data, out)
		b.workers = c.workers
		if m := mustDo(t, b); len(m.Shards) < 3 {
			t.Fatalf("%d shards", len(m.Shards))
		}
		got := contents(t, out)
		delete(got, manifestName) // names the hash of the dump as it lies on disk
		if first == nil {
			first = got
		}
		if !maps.Equal(got, first) || len(got) < 6 {
			t.Errorf("%d workers, %d bytes of dump: %v, before %v", c.workers, len(c.data), got, first)
		}
	}
}

// childOut names the folder that a copy of the test's program builds in.
const childOut = "EDITPIPE_TEST_BUILD"

// TestBuildAsChild is no test: it builds for TestKilled and tells every step.
func TestBuildAsChild(t *testing.T) {
	out := os.Getenv(childOut)
	if out == "" {
		t.Skip("only for TestKilled")
	}
	b := of(t, someLines(t), out)
	b.Observe = func(p Progress) { fmt.Println(p.Step) }
	mustDo(t, b)
}

// TestKilled kills a build after more and more steps, without warning, lets it
// finish, and compares with a build that was not killed.
func TestKilled(t *testing.T) {
	whole, killed := t.TempDir(), t.TempDir()
	mustDo(t, of(t, someLines(t), whole))
	hit := 0
	for step := 1; ; step += 2 {
		cmd := exec.Command(os.Args[0], "-test.run", "^TestBuildAsChild$")
		cmd.Env = append(os.Environ(), childOut+"="+killed)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines, buf := 0, make([]byte, 1)
		for lines < step {
			if _, err := out.Read(buf); err != nil {
				break
			}
			if buf[0] == '\n' {
				lines++
			}
		}
		if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, out) // so that Wait finds the pipe closed
		if cmd.Wait() == nil {
			break // it came to its end
		}
		hit++
		if file.Exists(filepath.Join(killed, manifestName)) {
			break
		}
	}
	m := mustDo(t, of(t, someLines(t), killed))
	if hit < 3 {
		t.Errorf("only %d kills met a build at work", hit)
	}
	if a, b := contents(t, whole), contents(t, killed); !maps.Equal(a, b) || len(m.Shards) < 3 {
		t.Errorf("after %d kills: %v, want %v", hit, b, a)
	}
}

// stop returns a build that is cancelled once the first shard is finished.
func stop(t testing.TB, b Build) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	b.Observe = func(Progress) { cancel() }
	if _, err := b.Do(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v, want it cancelled", err)
	}
}

func TestAnotherDumpIsRefused(t *testing.T) {
	dump := someLines(t)
	out := t.TempDir()
	stop(t, of(t, dump, out))
	before := contents(t, out)
	other := bytes.Clone(dump)
	at := bytes.Index(other, []byte(`"value":"`)) + len(`"value":"`)
	other[at] ^= 1
	for name, data := range map[string][]byte{"changed": other, "shorter": dump[:1000]} {
		_, err := of(t, data, out).Do(context.Background())
		var different *DifferentError
		if !errors.As(err, &different) || different.What != "dump" {
			t.Errorf("%s: %v, want a DifferentError about the dump", name, err)
		}
	}
	if !maps.Equal(before, contents(t, out)) {
		t.Error("a refused dump changed the folder")
	}
	b := of(t, dump, out)
	b.CatalogueHash = "of another"
	for what, b := range map[string]Build{
		"catalogue":       b,
		"--min-sitelinks": func() Build { b := of(t, dump, out); b.MinSitelinks = 3; return b }(),
		"--as-of":         func() Build { b := of(t, dump, out); b.AsOf = kb.Date{Year: 2020, Month: 1, Day: 1}; return b }(),
		"--dump":          func() Build { b := of(t, dump, out); b.Dump = "other.json"; return b }(),
	} {
		for _, when := range []string{"begun", "finished"} {
			dir := out
			if when == "finished" {
				dir = t.TempDir()
				mustDo(t, of(t, someLines(t), dir))
			}
			b.Out, b.In = dir, bytes.NewReader(dump)
			_, err := b.Do(context.Background())
			var different *DifferentError
			if !errors.As(err, &different) || different.What != what || !strings.Contains(err.Error(), dir) {
				t.Errorf("%s, %s: %v", when, what, err)
			}
		}
	}
	// A finished folder is left alone by the command that made it.
	m := mustDo(t, of(t, dump, out))
	after := contents(t, out)
	if again := mustDo(t, of(t, dump, out)); !reflect.DeepEqual(again, m) || !maps.Equal(after, contents(t, out)) {
		t.Error("the same command changed a finished folder")
	}
}

func TestForeignFolders(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(dir); !errors.Is(err, ErrForeign) {
		t.Errorf("opening an empty folder: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "letter.txt"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := of(t, someLines(t), dir).Do(context.Background()); !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), "letter.txt") {
		t.Errorf("building beside a letter: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, manifestName), []byte(`{"name": "a data set"}`), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := of(t, someLines(t), dir).Do(context.Background()); !errors.Is(err, ErrForeign) {
		t.Errorf("building in a data set: %v", err)
	}
	begun := t.TempDir()
	stop(t, of(t, someLines(t), begun))
	if _, err := Open(begun); !errors.Is(err, ErrUnfinished) || !Is(begun) {
		t.Errorf("opening a folder that is not finished: %v", err)
	}
}

// TestBrokenLines damages a dump: a line cut short, one of garbage, an item
// without id, one whose claims are none.
func TestBrokenLines(t *testing.T) {
	lines := bytes.SplitAfter(someLines(t), []byte("\n"))
	lines[99] = append(lines[99][:200:200], '\n')
	lines[119] = []byte("garbage\n")
	lines[139] = []byte(`{"type":"item","labels":{"P36":1}},` + "\n")
	lines[159] = []byte(`{"type":"item","id":"Q1","claims":{"P36":{"a":"b"}}},` + "\n")
	broken := bytes.Join(lines, nil)
	out := t.TempDir()
	b := of(t, broken, out)
	b.MaxErrors = 4
	m := mustDo(t, b)
	want := map[kb.Fault]int{kb.FaultSyntax: 2, kb.FaultNoID: 1, kb.FaultClaims: 1}
	if !maps.Equal(m.Broken, want) || m.BrokenLines() != 4 {
		t.Errorf("faults %v, want %v", m.Broken, want)
	}
	var at []int
	for _, l := range m.FirstBroken {
		at = append(at, l.Line)
		if l.Error == "" {
			t.Errorf("line %d has no reason", l.Line)
		}
	}
	if !slices.Equal(at, []int{100, 120, 140, 160}) {
		t.Errorf("lines %v, want 100, 120, 140, 160", at)
	}
	all := mustDo(t, of(t, someLines(t), t.TempDir()))
	if lost := all.Entities + all.Unnamed - m.Entities - m.Unnamed; lost < 1 || lost > 4 {
		t.Errorf("%d entities are missing, want those of four lines at most", lost)
	}
	b = of(t, broken, t.TempDir())
	b.MaxErrors = 2
	var too *BrokenError
	if _, err := b.Do(context.Background()); !errors.As(err, &too) || too.N <= too.Most || !strings.Contains(err.Error(), "line 100: ") {
		t.Errorf("more errors than tolerated: %v", err)
	}
}

// TestDumpCutShort keeps what was finished before the end of a broken file.
func TestDumpCutShort(t *testing.T) {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	dump := someLines(t)
	if _, err := z.Write(dump); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	out := t.TempDir()
	_, err := of(t, packed.Bytes()[:packed.Len()*9/10], out).Do(context.Background())
	if !errors.Is(err, io.ErrUnexpectedEOF) || !strings.Contains(err.Error(), "after line") {
		t.Errorf("error %v, want the place of the end", err)
	}
	var s state
	if err := readJSON(filepath.Join(out, workDir, stateName), &s); err != nil || s.Shards == 0 {
		t.Errorf("%d shards are kept, %v", s.Shards, err)
	}
	whole := t.TempDir()
	mustDo(t, of(t, packed.Bytes(), whole))
	mustDo(t, of(t, packed.Bytes(), out))
	if a, b := contents(t, whole), contents(t, out); !maps.Equal(a, b) {
		t.Errorf("gone on with the whole file: %v, want %v", b, a)
	}
}

// TestTheLaterCounts gives an item twice.
func TestTheLaterCounts(t *testing.T) {
	row := func(id, label string) string {
		return fmt.Sprintf(`{"type":"item","id":"%s","labels":{"en":{"value":"%s"}},"claims":{"P36":[{"mainsnak":{"snaktype":"value","datavalue":{"type":"wikibase-entityid","value":{"id":"Q7"}}}}]}},`, id, label) + "\n"
	}
	out := t.TempDir()
	m := mustDo(t, of(t, []byte(row("Q7", "old")+row("Q8", "eight")+row("Q7", "older")+row("Q7", "seven")), out))
	got := rows[kb.EntityRow](t, out, m, entitiesOf)
	if got[0].LabelCollisions+got[1].LabelCollisions != 0 {
		t.Errorf("labels %q and %q collide", got[0].Label, got[1].Label)
	}
	if len(got) != 2 || got[0].Label != "eight" || got[1].Label != "seven" || m.Superseded != 2 || len(m.Warnings) == 0 {
		t.Errorf("entities %+v, %d superseded, warnings %v", got, m.Superseded, m.Warnings)
	}
	for _, f := range rows[kb.FactRow](t, out, m, factsOf) {
		if f.ObjectText != "seven" || f.SubjectsCurrent != 2 {
			t.Errorf("fact %+v, want the later label and two subjects", f)
		}
	}
}

// TestWhatIsLeftOut gives items without use, unpopular ones, and ones that only
// a fact makes worth keeping.
func TestWhatIsLeftOut(t *testing.T) {
	text := `[
{"type":"item","id":"Q1","labels":{"en":{"value":"one"}},"sitelinks":{"a":{},"b":{}},"claims":{"P36":[{"mainsnak":{"snaktype":"value","datavalue":{"type":"wikibase-entityid","value":{"id":"Q2"}}}}]}},
{"type":"item","id":"Q2","labels":{"en":{"value":"named"}},"sitelinks":{"a":{},"b":{}},"claims":{"P31":[{"mainsnak":{"snaktype":"value","datavalue":{"type":"wikibase-entityid","value":{"id":"Q3"}}}}]}},
{"type":"item","id":"Q3","labels":{"en":{"value":"class of what is named"}},"sitelinks":{"a":{},"b":{}},"claims":{"P31":[{"mainsnak":{"snaktype":"value","datavalue":{"type":"wikibase-entityid","value":{"id":"Q4"}}}}]}},
{"type":"item","id":"Q5","labels":{"en":{"value":"few know it"}},"sitelinks":{"a":{}},"claims":{"P36":[{"mainsnak":{"snaktype":"novalue"}}]}},
{"type":"item","id":"Q6","labels":{"en":{"value":"of no use"}},"sitelinks":{"a":{},"b":{}},"claims":{"P9999":[]}},
{"type":"lexeme","id":"L1","lemmas":{"en":{"value":"P36"}}},
{"type":"property","id":"P36","labels":{"en":{"value":"capital"}},"claims":{}},
{"type":"property","id":"P9998","labels":{"en":{"value":"other"}},"claims":{}}
]
`
	out := t.TempDir()
	b := of(t, []byte(text), out)
	b.MinSitelinks = 2
	m := mustDo(t, b)
	var ids []string
	for _, r := range rows[kb.EntityRow](t, out, m, entitiesOf) {
		ids = append(ids, r.ID)
	}
	if !slices.Equal(ids, []string{"Q1", "Q2", "P36"}) {
		t.Errorf("kept %v, want Q1, the Q2 it names, and the catalogue's P36", ids)
	}
	if m.Lines != 10 || m.Filtered != 2 || m.Unnamed != 1 || m.Unpopular != 1 || m.Unlabelled != 0 || m.Facts != 2 {
		t.Errorf("counts %+v", m)
	}
	facts := rows[kb.FactRow](t, out, m, factsOf)
	if facts[1].ObjectText != "class of what is named" {
		t.Errorf("class of Q2 is %+v; its label is known though it is not kept", facts[1])
	}
	empty := of(t, []byte("[\n]\n"), t.TempDir())
	if _, err := empty.Do(context.Background()); !errors.Is(err, ErrNothing) {
		t.Errorf("an empty dump: %v", err)
	}
}

// TestDamageIsNoticed damages tables and files of the work folder.
func TestDamageIsNoticed(t *testing.T) {
	out := t.TempDir()
	m := mustDo(t, of(t, someLines(t), out))
	read := func() error {
		folder, err := Open(out)
		if err != nil {
			return err
		}
		return folder.Entities(context.Background(), func(*kb.Entity) error { return nil })
	}
	if err := read(); err != nil {
		t.Fatal(err)
	}
	// The facts of another shard are whole, but of other subjects.
	at := filepath.Join(out, m.Shards[0].Facts.File)
	data, err := os.ReadFile(filepath.Join(out, m.Shards[1].Facts.File))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(at, data, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := read(); err == nil || !strings.Contains(err.Error(), m.Shards[0].Entities.File) {
		t.Errorf("facts of other subjects: %v", err)
	}
	if err := os.Truncate(at, 100); err != nil {
		t.Fatal(err)
	}
	if err := read(); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("a table cut short: %v", err)
	}
	begun := t.TempDir()
	stop(t, of(t, someLines(t), begun))
	w := work{dir: filepath.Join(begun, workDir)}
	if err := os.Truncate(w.path(records, 0), 1000); err != nil {
		t.Fatal(err)
	}
	if _, err := of(t, someLines(t), begun).Do(context.Background()); !errors.Is(err, errDamaged) || !strings.Contains(err.Error(), records) {
		t.Errorf("records cut short: %v", err)
	}
}

// TestRecords writes entities as records and reads them back.
func TestRecords(t *testing.T) {
	want := &kb.Entity{ID: "Q7", Type: "item", Label: "seven", LabelLang: "mul", Description: "a number", Aliases: []string{"7", ""}, Sitelinks: 12, Revision: 1 << 40,
		Claims: kb.Claims{
			{Property: "P1", Rank: kb.Normal, HasValue: true, Value: kb.Value{Kind: catalogue.Quantity, Text: "12"}}, {Property: "P1", Rank: kb.Normal, HasValue: true, Value: kb.Value{Kind: catalogue.String, Text: "x"}},
			{Property: "P36", Rank: kb.Preferred, HasValue: true, Value: kb.Value{Kind: catalogue.Item, ID: "Q1"}, Start: kb.Date{Year: -44, Month: 3, Day: 15}, Ended: true, End: kb.Date{Year: 1999}},
			{Property: "P36", Rank: kb.Deprecated, HasValue: true, Value: kb.Value{Kind: catalogue.Item, ID: "L1-S2"}, Ended: true, Items: []string{"P1", "P2"}},
			{Property: "P571", Rank: kb.Normal, HasValue: true, Value: kb.Value{Kind: catalogue.Year, Text: "1700"}},
		}}
	var out encoder
	out.entity(want, kb.Always)
	in := decoder{rest: string(out.buf)}
	in = decoder{rest: in.text()}
	if use := kb.Use(in.byte()); use != kb.Always {
		t.Errorf("use %d", use)
	}
	whole := in.rest
	got, err := in.entity(in.text(), nil)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v, %v\nwant\n%+v", got, err, want)
	}
	for n := range len(whole) {
		short := decoder{rest: whole[:n]}
		if _, err := short.entity(short.text(), nil); !errors.Is(err, errDamaged) {
			t.Fatalf("%d of %d bytes read without an error", n, len(whole))
		}
	}
}

func TestKeys(t *testing.T) {
	seen := map[uint64]string{}
	for _, id := range []string{"Q1", "P1", "Q2", "Q1099511627775", "Q1099511627776", "L1", "L1-F1", "", "Q", "Q01", "Q-1"} {
		k := idKey(id)
		if other, ok := seen[k]; ok {
			t.Errorf("%q and %q share a key", id, other)
		}
		seen[k] = id
	}
	pairs := map[uint64]string{}
	for _, p := range []string{"P1", "P2", "P1000000", "P99999999"} {
		for _, o := range []string{"Q1", "Q2", "P1", "Q1099511627775", "L1"} {
			k := pairKey(p, o)
			if other, ok := pairs[k]; ok {
				t.Errorf("%s %s and %s share a key", p, o, other)
			}
			pairs[k] = p + " " + o
		}
	}
}

// TestCollisions counts who bears a label, over shards, once for each item.
func TestCollisions(t *testing.T) {
	row := func(id, label, aliases string) string {
		return fmt.Sprintf(`{"type":"item","id":"%s","labels":{"en":{"value":"%s"}},"aliases":{"en":[%s]},"claims":{"P36":[{"mainsnak":{"snaktype":"somevalue"}}]}},`, id, label, aliases) + "\n"
	}
	text := row("Q1", "The North", `{"value":"North"},{"value":"north"}`) + row("Q2", "South", `{"value":"NORTH"}`) + row("Q3", "north", "") + row("Q4", "West", "") +
		`{"type":"property","id":"P36","labels":{"en":{"value":"west"}},"claims":{"P1696":[{"mainsnak":{"snaktype":"value","datavalue":{"type":"wikibase-entityid","value":{"id":"P1376"}}}}]}},` + "\n"
	out := t.TempDir()
	b := of(t, []byte(text), out)
	b.blockBytes = 200
	m := mustDo(t, b)
	if len(m.Shards) < 3 {
		t.Fatalf("%d shards", len(m.Shards))
	}
	got := map[string]int32{}
	for _, r := range rows[kb.EntityRow](t, out, m, entitiesOf) {
		got[r.ID] = r.LabelCollisions
	}
	if want := map[string]int32{"Q1": 2, "Q2": 0, "Q3": 2, "Q4": 0, "P36": 0}; !maps.Equal(got, want) {
		t.Errorf("collisions %v, want %v", got, want)
	}
}
