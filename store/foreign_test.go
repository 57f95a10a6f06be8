package store

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"

	"editpipe/dataset"
	"editpipe/lfs"
)

// foreign writes a file as somebody else would: with the library alone.
func foreign[T any](t *testing.T, rows []T, options ...parquet.WriterOption) string {
	t.Helper()
	var b bytes.Buffer
	w := parquet.NewGenericWriter[T](&b, options...)
	if _, err := w.Write(rows); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return save(t, b.Bytes())
}

func save(t *testing.T, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "foreign.parquet")
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// texts reads a column to its end.
func texts(path, column string) (got []string, err error) {
	for text, err := range Texts(path, column) {
		if err != nil {
			return got, err
		}
		got = append(got, text)
	}
	return got, nil
}

type line struct {
	Text string `parquet:"text,plain"`
}

// hardLines are lines that compress to more than a third of their length.
func hardLines(n int) []line {
	rng := rand.New(rand.NewPCG(1, 2))
	rows := make([]line, n)
	for i := range rows {
		b := make([]byte, 40)
		for j := range b {
			b[j] = byte('a' + rng.IntN(26))
		}
		rows[i].Text = string(b)
	}
	return rows
}

// Whatever a column is packed with, it comes back as it was, or is refused by the
// name of the compression before any text.
func TestPackings(t *testing.T) {
	rows := hardLines(3000)
	for _, c := range []struct {
		codec parquet.WriterOption
		name  string
		read  bool
	}{
		{parquet.Compression(&parquet.Uncompressed), "UNCOMPRESSED", true}, {parquet.Compression(&parquet.Snappy), "SNAPPY", true}, {parquet.Compression(&parquet.Gzip), "GZIP", true},
		{parquet.Compression(&parquet.Brotli), "BROTLI", true}, {parquet.Compression(&parquet.Zstd), "ZSTD", true}, {parquet.Compression(&parquet.Lz4Raw), "LZ4_RAW", false},
	} {
		for _, version := range []int{1, 2} {
			path := foreign(t, rows, c.codec, parquet.DataPageVersion(version))
			got, err := texts(path, "text")
			read, readErr := Read[line](path)
			var objects []line
			var objectErr error
			for raw, err := range Objects(path) {
				if objectErr = err; err != nil {
					break
				}
				var l line
				if objectErr = json.Unmarshal(raw, &l); objectErr != nil {
					break
				}
				objects = append(objects, l)
			}
			if !c.read {
				for _, err := range []error{err, readErr, objectErr} {
					if !errors.Is(err, ErrPacking) || !strings.Contains(err.Error(), "column text: "+c.name) || !strings.Contains(err.Error(), path) {
						t.Errorf("%s: %v", c.name, err)
					}
				}
				if got != nil || read != nil || objects != nil {
					t.Errorf("%s: %d texts, %d rows and %d objects of a column that is refused", c.name, len(got), len(read), len(objects))
				}
				continue
			}
			if err = errors.Join(err, readErr, objectErr); err != nil || !slices.Equal(read, rows) || len(objects) != len(rows) || len(got) != len(rows) {
				t.Errorf("%s, pages %d: %d texts, %d rows, %d objects, %v", c.name, version, len(got), len(read), len(objects), err)
				continue
			}
			for i, r := range rows {
				if got[i] != r.Text || objects[i] != r {
					t.Fatalf("%s, pages %d: row %d is %q", c.name, version, i, got[i])
				}
			}
		}
	}
	// Only the columns that are read have to be readable.
	type two struct {
		Text string `parquet:"text,zstd"`
		Raw  string `parquet:"raw,lz4"`
	}
	path := foreign(t, []two{{"a", "b"}})
	if got, err := texts(path, "text"); err != nil || !slices.Equal(got, []string{"a"}) {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := Read[struct {
		Text string `parquet:"text"`
	}](path); err != nil || len(got) != 1 {
		t.Errorf("%v, %v", got, err)
	}
}

// withoutValue takes the value off the one metadata entry named key.
func withoutValue(t *testing.T, path, key string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := len(data) - 8
	length := int(binary.LittleEndian.Uint32(data[at:]))
	footer := data[at-length : at]
	name := append([]byte{0x18, byte(len(key))}, key...)
	short := bytes.Replace(footer, append(bytes.Clone(name), 0x18, 0, 0), append(bytes.Clone(name), 0), 1)
	if len(short) != length-2 {
		t.Fatal("no such entry")
	}
	out := append(bytes.Clone(data[:at-length]), short...)
	out = binary.LittleEndian.AppendUint32(out, uint32(len(short)))
	return save(t, append(out, "PAR1"...))
}

// Metadata may have keys without values, of the file and of a column.
func TestKeysWithoutValue(t *testing.T) {
	rows := hardLines(10)
	whole := foreign(t, rows, parquet.KeyValueMetadata("ofTheFile", ""), parquet.KeyValueMetadata("other", "value"))
	data, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	// The library writes no metadata of columns: it is put into the footer here.
	at := len(data) - 8
	length := int(binary.LittleEndian.Uint32(data[at:]))
	var meta format.FileMetaData
	if err := thrift.Unmarshal(new(thrift.CompactProtocol), data[at-length:at], &meta); err != nil {
		t.Fatal(err)
	}
	meta.RowGroups[0].Columns[0].MetaData.KeyValueMetadata = []format.KeyValue{{Key: "ofTheColumn"}, {Key: "more", Value: "x"}}
	footer, err := thrift.Marshal(new(thrift.CompactProtocol), &meta)
	if err != nil {
		t.Fatal(err)
	}
	column := append(bytes.Clone(data[:at-length]), footer...)
	column = binary.LittleEndian.AppendUint32(column, uint32(len(footer)))
	both := save(t, append(column, "PAR1"...))
	for name, path := range map[string]string{
		"as the library writes it": both, "without a value of the file": withoutValue(t, whole, "ofTheFile"), "without a value of a column": withoutValue(t, both, "ofTheColumn"),
		"without either": withoutValue(t, withoutValue(t, both, "ofTheColumn"), "ofTheFile"),
	} {
		got, err := Read[line](path)
		if err != nil || !slices.Equal(got, rows) {
			t.Errorf("%s: %d rows, %v", name, len(got), err)
		}
		m, err := ReadMeta(path)
		if v, ok := m["ofTheFile"]; err != nil || !ok || v != "" || m["other"] != "value" {
			t.Errorf("%s: %v, %v", name, m, err)
		}
	}
	// Damage in such a file is still an error, never a panic.
	data, err = os.ReadFile(withoutValue(t, both, "ofTheColumn"))
	if err != nil {
		t.Fatal(err)
	}
	for at := len(data) - 200; at < len(data); at++ {
		broken := bytes.Clone(data)
		broken[at] ^= 0x55
		_, _ = Read[line](save(t, broken))
	}
}

// A column means what its logical type says, whatever its bytes are.
func TestLogicalTypes(t *testing.T) {
	type decimal struct {
		Start int32 `parquet:"start,decimal(1:9)"`
	}
	type small struct {
		Start int8 `parquet:"start"`
	}
	type unsigned struct {
		Start uint32 `parquet:"start"`
	}
	type day struct {
		Start int32 `parquet:"start,date"`
	}
	type want struct {
		Start int32 `parquet:"start"`
	}
	for _, c := range []struct{ path, what string }{
		{foreign(t, []decimal{{123}}), "DECIMAL(9,1)"}, {foreign(t, []unsigned{{math.MaxUint32}}), "INT(32,false)"}, {foreign(t, []day{{18262}}), "DATE"},
	} {
		if got, err := Read[want](c.path); !errors.Is(err, ErrColumn) || !strings.Contains(err.Error(), "column start is "+c.what) {
			t.Errorf("%s: %v, %v", c.what, got, err)
		}
	}
	for _, path := range []string{foreign(t, []want{{7}}), foreign(t, []small{{7}})} {
		if got, err := Read[want](path); err != nil || got[0].Start != 7 {
			t.Errorf("%v, %v", got, err)
		}
	}
	type named struct {
		Text string `parquet:"text"`
	}
	type enum struct {
		Text string `parquet:"text,enum"`
	}
	type bare struct {
		Text []byte `parquet:"text"`
	}
	type amount struct {
		Text []byte `parquet:"text,decimal(0:20)"`
	}
	for _, path := range []string{foreign(t, []enum{{"a"}}), foreign(t, []bare{{[]byte("a")}})} {
		if got, err := Read[named](path); err != nil || got[0].Text != "a" {
			t.Errorf("%v, %v", got, err)
		}
		if got, err := texts(path, "text"); err != nil || !slices.Equal(got, []string{"a"}) {
			t.Errorf("%v, %v", got, err)
		}
	}
	schema := parquet.NewSchema("amounts", parquet.Group{"text": parquet.Decimal(0, 20, parquet.ByteArrayType)})
	path := foreign(t, []amount{{[]byte{1, 2}}}, schema)
	if _, err := Read[named](path); !errors.Is(err, ErrColumn) {
		t.Errorf("a decimal as text: %v", err)
	}
	if _, err := texts(path, "text"); !errors.Is(err, ErrColumn) || !strings.Contains(err.Error(), "none of strings") {
		t.Errorf("a decimal as text: %v", err)
	}
	path = foreign(t, []bare{{[]byte("good")}, {[]byte("bad \xff")}})
	if got, err := texts(path, "text"); !errors.Is(err, ErrColumn) || !strings.Contains(err.Error(), "row 1 ") || len(got) != 1 {
		t.Errorf("bytes that are no text: %v, %v", got, err)
	}
}

// A data set whose spans were rewritten as decimals is refused, not read ten times
// too large.
func TestDecimalSpans(t *testing.T) {
	dir := t.TempDir()
	records := []dataset.Record{{Edit: dataset.Edit{ID: "a", Prompt: "in Oslo", Subject: "Oslo", SubjectStart: 3, SubjectEnd: 7, Target: "x"}}}
	if err := WriteDataset(dir, records, DatasetManifest{}); err != nil {
		t.Fatal(err)
	}
	rows, err := Read[dataset.Edit](filepath.Join(dir, editsName))
	if err != nil {
		t.Fatal(err)
	}
	fields := parquet.Group{}
	for _, f := range parquet.SchemaOf(dataset.Edit{}).Fields() {
		fields[f.Name()] = f
		if f.Name() == "subject_byte_start" {
			fields[f.Name()] = parquet.Decimal(1, 9, parquet.Int32Type)
		}
	}
	var b bytes.Buffer
	w := parquet.NewGenericWriter[dataset.Edit](&b, parquet.NewSchema("edits", fields))
	if _, err := w.Write(rows); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, editsName), b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	if got, _, err := ReadDataset(dir); !errors.Is(err, ErrColumn) || !strings.Contains(err.Error(), "subject_byte_start is DECIMAL(9,1)") {
		t.Errorf("%v, %v", got, err)
	}
}

// Rows of nested columns come as JSON.
func TestObjects(t *testing.T) {
	type question struct {
		Loc    string  `parquet:"loc"`
		Answer *string `parquet:"loc_ans,optional"`
	}
	type row struct {
		Prompt   string              `parquet:"prompt"`
		Subject  *string             `parquet:"subject,optional"`
		N        int32               `parquet:"n"`
		X        float64             `parquet:"x"`
		Tags     []string            `parquet:"tags,list"`
		Locality []question          `parquet:"locality,list"`
		Nested   map[string]question `parquet:"nested"`
		Deep     struct {
			Q question `parquet:"q"`
		} `parquet:"deep"`
	}
	s, a := "S", "A"
	first := row{Prompt: "p \"é\"", Subject: &s, N: 3, X: 1.5, Tags: []string{"a", "b"}, Locality: []question{{"q", &a}, {"r", nil}}}
	first.Deep.Q = question{"d", nil}
	rows := []row{first, {Prompt: "q", X: math.NaN()}}
	path := foreign(t, rows)
	var got []string
	for raw, err := range Objects(path) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, string(raw))
	}
	want := []string{
		`{"deep":{"q":{"loc":"d","loc_ans":null}},"locality":[{"loc":"q","loc_ans":"A"},{"loc":"r","loc_ans":null}],"n":3,"nested":{},"prompt":"p \"é\"","subject":"S","tags":["a","b"],"x":1.5}`,
		`{"deep":{"q":{"loc":"","loc_ans":null}},"locality":[],"n":0,"nested":{},"prompt":"q","subject":null,"tags":[],"x":null}`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("rows\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if got, err := texts(path, "deep.q.loc"); err != nil || !slices.Equal(got, []string{"d"}) {
		t.Errorf("a column inside structs: %v, %v", got, err)
	}
	for raw, err := range Objects(path) { // stopped early
		_, _ = raw, err
		break
	}
	n := 0
	for _, err := range Objects(foreign(t, []struct {
		Text []byte `parquet:"text"`
	}{{[]byte("ok")}, {[]byte("\xff")}})) {
		if n++; n == 2 && (!errors.Is(err, ErrColumn) || !strings.Contains(err.Error(), "row 1: column text: \"\\xff\" is not UTF-8")) {
			t.Errorf("bytes that are no text: %v", err)
		}
	}
	many := make([]line, 5000)
	for i := range many {
		many[i].Text = fmt.Sprint(i)
	}
	n = 0
	for raw, err := range Objects(foreign(t, many)) {
		if err != nil || string(raw) != fmt.Sprintf(`{"text":"%d"}`, n) {
			t.Fatalf("row %d: %s, %v", n, raw, err)
		}
		n++
	}
	if n != len(many) {
		t.Errorf("%d rows of %d", n, len(many))
	}
}

// What is no Parquet file says what it is.
func TestOtherFiles(t *testing.T) {
	for text, want := range map[string]error{
		"version https://example.org/git-lfs/spec/v1\noid sha256:00\nsize 1\n": lfs.ErrPointer, "PAR1 some bytes PARE": errEncrypted, "": ErrCorrupt, "PAR1": ErrCorrupt, "PAR1\xff\xff\xff\x7fPAR1": ErrCorrupt,
	} {
		path := save(t, []byte(text))
		if _, err := Read[line](path); !errors.Is(err, want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%q: %v, want %v", text, err, want)
		}
		if _, err := texts(path, "text"); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", text, err, want)
		}
	}
}
