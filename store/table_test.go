package store_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"

	"editpipe/dataset"
	"editpipe/row"
	"editpipe/store"
)

// fill sets every field of a row, so that a column that is lost shows. Lists
// get 0 to 3 elements; an empty list is not nil, as it reads back.
func fill(v reflect.Value, r *rand.Rand) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(fmt.Sprintf("é\x00%d \"'", r.IntN(9)))
	case reflect.Bool:
		v.SetBool(r.IntN(2) == 1)
	case reflect.Int32, reflect.Int64:
		v.SetInt(int64(r.Int32()) - 1<<30)
	case reflect.Float64:
		v.SetFloat(r.NormFloat64())
	case reflect.Pointer:
		if r.IntN(3) > 0 {
			v.Set(reflect.New(v.Type().Elem()))
			fill(v.Elem(), r)
		}
	case reflect.Slice:
		n := r.IntN(4)
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			fill(v.Index(i), r)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), r)
		}
	default:
		panic(v.Kind().String())
	}
}

func random[T any](n int, seed uint64) []T {
	r := rand.New(rand.NewPCG(seed, 0))
	rows := make([]T, n)
	for i := range rows {
		fill(reflect.ValueOf(&rows[i]).Elem(), r)
	}
	return rows
}

// blank returns a row with every column zero or NULL and every list empty.
func blank[T any]() T {
	var one T
	v := reflect.ValueOf(&one).Elem()
	for _, f := range reflect.VisibleFields(v.Type()) {
		if f.Type.Kind() == reflect.Slice {
			v.FieldByIndex(f.Index).Set(reflect.MakeSlice(f.Type, 0, 0))
		}
	}
	return one
}

func roundTrip[T any](t *testing.T) {
	t.Run(reflect.TypeFor[T]().String(), func(t *testing.T) {
		dir := t.TempDir()
		path := filepath.Join(dir, "a.parquet")
		for _, n := range []int{0, 1, 300} {
			rows := random[T](n, uint64(n))
			if n > 1 {
				rows[1] = blank[T]()
			}
			if err := store.Write(path, rows, nil); err != nil {
				t.Fatal(err)
			}
			got, err := store.Read[T](path)
			if err != nil {
				t.Fatal(err)
			}
			if len(got) != n {
				t.Fatalf("%d rows, want %d", len(got), n)
			}
			for i := range rows {
				if !reflect.DeepEqual(got[i], rows[i]) {
					t.Fatalf("row %d came back as\n%+v, want\n%+v", i, got[i], rows[i])
				}
			}
			first, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := store.Write(path, rows, nil); err != nil {
				t.Fatal(err)
			}
			if again, err := os.ReadFile(path); err != nil || !bytes.Equal(first, again) {
				t.Errorf("%d equal rows gave other bytes", n)
			}
		}
		if all, err := os.ReadDir(dir); err != nil || len(all) != 1 {
			t.Errorf("%d files in the folder", len(all))
		}
	})
}

func TestRoundTrip(t *testing.T) {
	roundTrip[dataset.Edit](t)
	roundTrip[dataset.Probe](t)
	roundTrip[row.Result](t)
	roundTrip[row.Base](t)
	roundTrip[row.Applied](t)
	roundTrip[row.Cost](t)
	roundTrip[row.Summary](t)
}

type small struct {
	Name  string    `parquet:"name"`
	Score *float64  `parquet:"score,optional"`
	List  []float64 `parquet:"list,list"`
	Raw   float32   `parquet:"raw"`
}

func TestNilListsReadAsEmpty(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.parquet")
	if err := store.Write(path, []small{{List: []float64{}}, {List: nil}}, nil); err != nil {
		t.Fatal(err)
	}
	got, err := store.Read[small](path)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got[0], got[1]) || got[0].List == nil || len(got[0].List) != 0 {
		t.Errorf("lists came back as %#v and %#v, want both empty", got[0].List, got[1].List)
	}
}

// TestManyRows crosses pages and row groups and checks that no two rows share memory.
func TestManyRows(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.parquet")
	w, err := store.NewWriter[small](path, map[string]string{"k": "v"})
	if err != nil {
		t.Fatal(err)
	}
	const n = 120_000 // three row groups
	want := func(i int) small {
		x := float64(i)
		return small{Name: fmt.Sprint("row ", i), Score: &x, List: []float64{x, -x}, Raw: float32(i)}
	}
	for i := range n {
		if err := w.Append(want(i)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file is there before Close: %v", err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := w.Append(want(0)); err == nil {
		t.Error("a closed writer takes rows")
	}
	got, err := store.Read[small](path)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != n {
		t.Fatalf("%d rows", len(got))
	}
	for i := range got {
		if !reflect.DeepEqual(got[i], want(i)) {
			t.Fatalf("row %d is %+v", i, got[i])
		}
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o644 {
		t.Errorf("mode %v", info.Mode())
	}
	pf, err := parquet.OpenFile(f, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	if g := len(pf.RowGroups()); g != 3 {
		t.Errorf("%d row groups, want 3", g)
	}
	if by := pf.Metadata().CreatedBy; !strings.HasPrefix(by, "editpipe version "+store.SchemaVersion) {
		t.Errorf("created by %q", by)
	}
	meta, err := store.ReadMeta(path)
	if err != nil || !maps.Equal(meta, map[string]string{"k": "v", "editpipe.schema": store.SchemaVersion}) {
		t.Errorf("metadata %v, %v", meta, err)
	}
}

func TestNotFiniteIsRefused(t *testing.T) {
	type nested struct {
		Inner []struct {
			P *float64 `parquet:"p,optional"`
		} `parquet:"inner,list"`
	}
	nan, inf := math.NaN(), math.Inf(-1)
	dir := t.TempDir()
	path := filepath.Join(dir, "a.parquet")
	refuse := func(column string, err error) {
		t.Helper()
		if !errors.Is(err, store.ErrNotFinite) || !strings.Contains(err.Error(), "row 1, column "+column+":") || !strings.Contains(err.Error(), path) {
			t.Errorf("column %s: %v", column, err)
		}
	}
	refuse("score", store.Write(path, []small{{}, {Score: &nan}}, nil))
	refuse("list", store.Write(path, []small{{}, {List: []float64{1, inf}}}, nil))
	refuse("raw", store.Write(path, []small{{}, {Raw: float32(nan)}}, nil))
	refuse("kl", store.Write(path, []row.Result{{}, {Scores: row.Scores{KL: &inf}}}, nil))
	refuse("logps", store.Write(path, []row.Base{{}, {Baseline: row.Baseline{LogPs: []float64{nan}}}}, nil))
	bad := nested{}
	bad.Inner = append(bad.Inner, struct {
		P *float64 `parquet:"p,optional"`
	}{&nan})
	refuse("inner.p", store.Write(path, []nested{{}, bad}, nil))

	w, err := store.NewWriter[small](path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Append(small{}); err != nil {
		t.Fatal(err)
	}
	refuse("score", w.Append(small{Score: &nan})) // rows are counted over the whole file
	if err := w.Close(); !errors.Is(err, store.ErrNotFinite) {
		t.Errorf("Close after a refused row: %v", err)
	}
	w.Abort()
	if err := store.Write(path, []small{{}}, map[string]string{"editpipe.schema": "9"}); err == nil || !strings.Contains(err.Error(), "editpipe.schema") {
		t.Errorf("a taken metadata key: %v", err)
	}
	if all, err := os.ReadDir(dir); err != nil || len(all) != 0 {
		t.Errorf("refused writes left %v", all)
	}
}

func TestColumnsAreChecked(t *testing.T) {
	type other struct {
		Name  string    `parquet:"name"`
		List  []float64 `parquet:"list,list"`
		Raw   float32   `parquet:"raw"`
		Extra string    `parquet:"extra"`
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "a.parquet")
	if err := store.Write(path, []other{{Name: "n", Extra: "e", List: []float64{1}}}, nil); err != nil {
		t.Fatal(err)
	}
	// score is optional and absent, extra is not asked for.
	if got, err := store.Read[small](path); err != nil || len(got) != 1 || got[0].Name != "n" || got[0].Score != nil {
		t.Errorf("read %+v, %v", got, err)
	}
	refuse := func(says string, err error) {
		t.Helper()
		if !errors.Is(err, store.ErrColumn) || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), path) {
			t.Errorf("want %q: %v", says, err)
		}
	}
	type missing struct {
		Name string `parquet:"title"`
	}
	_, err := store.Read[missing](path)
	refuse("column title is missing", err)
	type noList struct {
		List []string `parquet:"tags,list"`
	}
	_, err = store.Read[noList](path)
	refuse("column tags is missing", err)
	type kind struct {
		Name int64 `parquet:"name"`
	}
	_, err = store.Read[kind](path)
	refuse("column name is", err)
	type element struct {
		List []string `parquet:"list,list"`
	}
	_, err = store.Read[element](path)
	refuse("column list.list.element is", err)
	type flat struct {
		List float64 `parquet:"list"`
	}
	_, err = store.Read[flat](path)
	refuse("column list is a group", err)

	type nullable struct {
		Name *string   `parquet:"name,optional"`
		List []float64 `parquet:"list,list"`
		Raw  *float32  `parquet:"raw,optional"`
	}
	name, raw := "x", float32(1)
	if err := store.Write(path, []nullable{{Name: &name, Raw: &raw}}, nil); err != nil {
		t.Fatal(err)
	}
	if got, err := store.Read[small](path); err != nil || got[0].Name != "x" {
		t.Errorf("nullable columns without NULL: %v", err)
	}
	if err := store.Write(path, []nullable{{Name: &name, Raw: &raw}, {Name: &name}}, nil); err != nil {
		t.Fatal(err)
	}
	_, err = store.Read[small](path)
	refuse("column raw is required and is NULL in 1 rows", err)
}

// TestDamagedFiles cuts and flips bytes: there may be an error or, where the
// damage is in a place without a checksum, rows; never a panic.
func TestDamagedFiles(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.parquet")
	if err := store.Write(path, random[dataset.Probe](60, 1), nil); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	bad := filepath.Join(dir, "bad.parquet")
	read := func(b []byte) error {
		t.Helper()
		if err := os.WriteFile(bad, b, 0o644); err != nil {
			t.Fatal(err)
		}
		_, err := store.Read[dataset.Probe](bad)
		if err != nil && (!strings.Contains(err.Error(), bad) || !errors.Is(err, store.ErrCorrupt) && !errors.Is(err, store.ErrColumn)) {
			t.Errorf("error without file or kind: %v", err)
		}
		return err
	}
	for _, n := range []int{0, 1, 3, 4, 8, 11, 100, len(whole) / 2, len(whole) - 1} {
		if read(whole[:n]) == nil {
			t.Errorf("%d of %d bytes were read as a file", n, len(whole))
		}
	}
	if read([]byte("not parquet at all, just text")) == nil {
		t.Error("text was read as a file")
	}
	r := rand.New(rand.NewPCG(5, 5))
	refused := 0
	const flips = 120
	for range flips {
		b := bytes.Clone(whole)
		b[r.IntN(len(b))] ^= 1 << r.IntN(8)
		if read(b) != nil {
			refused++
		}
	}
	if refused < flips/2 {
		t.Errorf("only %d of %d flipped bits were noticed", refused, flips)
	}
	t.Logf("%d of %d flipped bits were noticed", refused, flips)
}

func TestReadDir(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"b", "c", "a"} {
		if err := store.Write(filepath.Join(dir, name+".parquet"), []small{{Name: name + "1"}, {Name: name + "2"}}, nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{".a.parquet.12.draft", ".d.parquet", "notes.txt"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	rows, err := store.ReadDir[small](dir)
	if err != nil {
		t.Fatal(err)
	}
	names := ""
	for _, r := range rows {
		names += r.Name + " "
	}
	if names != "a1 a2 b1 b2 c1 c2 " {
		t.Errorf("rows in order %s", names)
	}
	foreign := filepath.Join(dir, "z.parquet")
	if err := os.WriteFile(foreign, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := store.ReadDir[small](dir); !errors.Is(err, store.ErrCorrupt) || !strings.Contains(err.Error(), foreign) {
		t.Errorf("a foreign file gave %v", err)
	}
	if _, err := store.ReadDir[small](filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing folder gave %v", err)
	}
}

func BenchmarkWriteResults(b *testing.B) {
	rows := random[row.Result](20_000, 1)
	path := filepath.Join(b.TempDir(), "a.parquet")
	for b.Loop() {
		if err := store.Write(path, rows, nil); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N*len(rows))/b.Elapsed().Seconds(), "rows/s")
}

func BenchmarkReadResults(b *testing.B) {
	rows := random[row.Result](20_000, 1)
	path := filepath.Join(b.TempDir(), "a.parquet")
	if err := store.Write(path, rows, nil); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := store.Read[row.Result](path); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N*len(rows))/b.Elapsed().Seconds(), "rows/s")
}
