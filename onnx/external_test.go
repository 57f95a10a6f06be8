package onnx_test

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"editpipe/onnx"
	"editpipe/tensor"
)

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

func closeModel(t *testing.T, m *onnx.Model) {
	t.Helper()
	if err := m.Close(); err != nil {
		t.Error(err)
	}
}

// externalModel has one float32 initializer of two elements at offset 4 of
// location.
func externalModel(location, offset, length string) []byte {
	entry := func(k, v string) []byte { return msg(13, text(1, k), text(2, v)) }
	parts := [][]byte{num(1, 2), num(2, 1), text(8, "w"), num(14, 1), entry("location", location)}
	if offset != "" {
		parts = append(parts, entry("offset", offset))
	}
	if length != "" {
		parts = append(parts, entry("length", length))
	}
	parts = append(parts, entry("checksum", "abc"))
	b := append(num(1, 8), msg(8, num(2, 17))...)
	return append(b, msg(7, msg(5, parts...))...)
}

func TestExternalData(t *testing.T) {
	outside := t.TempDir()
	write(t, filepath.Join(outside, "secret"), make([]byte, 64))
	dir := t.TempDir()
	write(t, filepath.Join(dir, "w.bin"), []byte{9, 9, 9, 9, 0, 0, 128, 63, 0, 0, 0, 64})
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "sub", "w.bin"), make([]byte, 12))
	for name, target := range map[string]string{
		"link":      "w.bin",
		"leaves":    filepath.Join(outside, "secret"),
		"leavesrel": filepath.Join("..", filepath.Base(outside), "secret"),
		"folder":    "sub",
		"outdir":    outside,
	} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			if runtime.GOOS == "windows" {
				t.Skip(err) // an account without the right to
			}
			t.Fatal(err)
		}
	}
	tests := []struct {
		location, offset, length string
		want                     error
		says                     string
	}{
		{"w.bin", "4", "8", nil, ""},
		{"w.bin", "4", "", nil, ""},
		{"link", "4", "8", nil, ""},
		{"sub/w.bin", "", "", nil, ""},
		{"./sub/../w.bin", "", "", nil, ""},
		{"w.bin", "8", "8", onnx.ErrExternal, "12 bytes"},
		{"w.bin", "9223372036854775807", "8", onnx.ErrExternal, "12 bytes"},
		{"w.bin", "4", "4", onnx.ErrSize, "length is 4"},
		{"w.bin", "-4", "8", onnx.ErrFormat, `offset "-4"`},
		{"w.bin", "x", "8", onnx.ErrFormat, `offset "x"`},
		{"w.bin", "99999999999999999999", "8", onnx.ErrFormat, "offset"},
		{"gone.bin", "", "", onnx.ErrExternal, `"gone.bin" is missing`},
		{"", "", "", onnx.ErrExternal, "no location"},
		{"sub", "", "", onnx.ErrExternal, "not a regular file"},
		{filepath.Join(outside, "secret"), "", "", onnx.ErrExternal, "outside the model folder"},
		{"../" + filepath.Base(outside) + "/secret", "", "", onnx.ErrExternal, "outside the model folder"},
		{"sub/../../x", "", "", onnx.ErrExternal, "outside the model folder"},
		{"leaves", "", "", onnx.ErrExternal, "link"},
		{"leavesrel", "", "", onnx.ErrExternal, "link"},
		{"outdir/secret", "", "", onnx.ErrExternal, "link"},
	}
	for _, tt := range tests {
		t.Run(tt.location+"@"+tt.offset, func(t *testing.T) {
			data := externalModel(tt.location, tt.offset, tt.length)
			write(t, filepath.Join(dir, "model.onnx"), data)
			m, err := onnx.Open(filepath.Join(dir, "model.onnx"))
			if !errors.Is(err, tt.want) {
				t.Fatalf("error %v, want %v", err, tt.want)
			}
			if err != nil {
				if !strings.Contains(err.Error(), tt.says) || !strings.Contains(err.Error(), "model.onnx") || !strings.Contains(err.Error(), `"w"`) {
					t.Errorf("error %q should name the file, the tensor and %q", err, tt.says)
				}
				return
			}
			defer closeModel(t, m)
			v, err := m.Graph.Initializers[0].Value()
			if err != nil {
				t.Fatal(err)
			}
			if tt.offset == "4" && !slices.Equal(v.Float32s(), []float32{1, 2}) {
				t.Errorf("value %v", v.Float32s())
			}
			again, err := m.Bytes()
			if err != nil {
				t.Fatal(err)
			}
			m2, err := onnx.Parse(again, dir)
			if err != nil {
				t.Fatal(err)
			}
			if m2.Graph.Initializers[0].External.Location != tt.location {
				t.Errorf("reference %+v", m2.Graph.Initializers[0].External)
			}
			if !strings.Contains(string(again), "checksum") {
				t.Error("the checksum entry was lost")
			}
		})
	}
	if _, err := onnx.Parse(externalModel("w.bin", "4", "8"), ""); !errors.Is(err, onnx.ErrExternal) {
		t.Errorf("without a folder: %v", err)
	}
}

func TestOpenNamesTheFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "broken.onnx")
	write(t, path, handmade()[:200])
	for _, p := range []string{path, filepath.Join(dir, "gone.onnx"), dir} {
		if _, err := onnx.Open(p); err == nil || !strings.Contains(err.Error(), filepath.Base(p)) {
			t.Errorf("opening %s: %v", p, err)
		}
	}
	write(t, path, nil)
	if _, err := onnx.Open(path); !errors.Is(err, onnx.ErrFormat) {
		t.Errorf("empty file: %v", err)
	}
}

// bigModel has a weight of 300,000 elements (mapped when read back), one of
// three elements in a branch, and a tensor in a Constant node.
func bigModel(t *testing.T) *onnx.Model {
	t.Helper()
	m := merged(t)
	b := m.Builder()
	big := make([]float32, 300_000)
	for i := range big {
		big[i] = float32(i)
	}
	b.Initializer("big", tensor.FromFloat32s(big, 1000, 300))
	b.Initializer("odd", tensor.FromFloat32s([]float32{1, 2, 3}, 3))
	mustCheck(t, m)
	return m
}

func TestSave(t *testing.T) {
	tests := []struct {
		name     string
		o        onnx.SaveOptions
		files    []string
		external []string
	}{
		{"inline", onnx.SaveOptions{}, []string{"m.onnx"}, nil},
		{"large ones outside", onnx.SaveOptions{ExternalOver: 11}, []string{"m.onnx", "m.onnx.data"}, []string{"big", "odd"}},
		{"boundary", onnx.SaveOptions{ExternalOver: 12}, []string{"m.onnx", "m.onnx.data"}, []string{"big"}},
		{"none large enough", onnx.SaveOptions{ExternalOver: 1 << 30}, []string{"m.onnx"}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := bigModel(t)
			before, _ := m.Bytes()
			dir := t.TempDir()
			path := filepath.Join(dir, "m.onnx")
			for range 2 { // the second time over its own files
				if err := m.Save(path, tt.o); err != nil {
					t.Fatal(err)
				}
				entries, err := os.ReadDir(dir)
				if err != nil {
					t.Fatal(err)
				}
				var files []string
				for _, e := range entries {
					files = append(files, e.Name())
					if info, _ := e.Info(); info.Mode().Perm() != 0o644 {
						t.Errorf("%s has mode %v", e.Name(), info.Mode())
					}
				}
				if !slices.Equal(files, tt.files) {
					t.Errorf("files %v, want %v", files, tt.files)
				}
				saved, err := onnx.Open(path)
				if err != nil {
					t.Fatal(err)
				}
				defer closeModel(t, saved)
				var external []string
				for _, init := range saved.Graph.Initializers {
					if init.External != nil {
						external = append(external, init.Name)
					}
				}
				if !slices.Equal(external, tt.external) {
					t.Errorf("external %v, want %v", external, tt.external)
				}
				v, err := saved.Graph.Index().Initializer("big").Value()
				if err != nil {
					t.Fatal(err)
				}
				if f := v.Float32s(); len(f) != 300_000 || f[299_999] != 299_999 || f[7] != 7 {
					t.Errorf("big weight has %d elements", len(f))
				}
				m = saved
			}
			// Back in one file, nothing may have changed.
			one := filepath.Join(t.TempDir(), "one.onnx")
			if err := m.Save(one, onnx.SaveOptions{}); err != nil {
				t.Fatal(err)
			}
			after, err := os.ReadFile(one)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(before, after) {
				t.Error("saving and reading back changed the model")
			}
		})
	}
}

func TestSaveKeepsReferences(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "m.onnx")
	if err := bigModel(t).Save(path, onnx.SaveOptions{ExternalOver: 1000}); err != nil {
		t.Fatal(err)
	}
	m, err := onnx.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer closeModel(t, m)
	// Saved over itself with a new large weight: the old data file stays, the
	// new weight gets another one.
	m.Builder().Initializer("new", tensor.FromFloat32s(make([]float32, 500), 500))
	o := onnx.SaveOptions{ExternalOver: 1000, KeepReferences: true}
	if err := m.Save(path, o); err != nil {
		t.Fatal(err)
	}
	again, err := onnx.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer closeModel(t, again)
	if got := again.ExternalFiles(); !slices.Equal(got, []string{"m.onnx.data", "m.onnx.data1"}) {
		t.Errorf("external files %v", got)
	}
	v, err := again.Graph.Index().Initializer("big").Value()
	if err != nil || v.Float32s()[5] != 5 {
		t.Errorf("big weight: %v", err)
	}
	if err := m.Save(filepath.Join(t.TempDir(), "m.onnx"), o); !errors.Is(err, onnx.ErrExternal) {
		t.Errorf("references into another folder: %v", err)
	}
}

func TestSaveFailsWhole(t *testing.T) {
	dir := t.TempDir()
	m := bigModel(t)
	path := filepath.Join(dir, "m.onnx")
	if err := os.Mkdir(path, 0o755); err != nil { // renaming over it must fail
		t.Fatal(err)
	}
	if err := m.Save(path, onnx.SaveOptions{}); err == nil {
		t.Error("saved over a folder")
	}
	entries, _ := os.ReadDir(dir)
	if len(entries) != 1 {
		t.Errorf("left behind: %v", entries)
	}
	if err := m.Save(filepath.Join(dir, "none", "m.onnx"), onnx.SaveOptions{}); err == nil {
		t.Error("saved into a folder that does not exist")
	}
}

// TestTooLarge writes a model of 600 weights that share one buffer of 4 MiB:
// 2.4 GiB once written, so it must be refused before anything is copied.
func TestTooLarge(t *testing.T) {
	m, b := newScalars()
	shared := tensor.FromFloat32s(make([]float32, 1<<20), 1<<20)
	for range 600 {
		b.Const(shared)
	}
	mustCheck(t, m)
	if _, err := m.Bytes(); !errors.Is(err, onnx.ErrTooLarge) {
		t.Errorf("error %v, want %v", err, onnx.ErrTooLarge)
	}
	dir := t.TempDir()
	if err := m.Save(filepath.Join(dir, "m.onnx"), onnx.SaveOptions{}); !errors.Is(err, onnx.ErrTooLarge) {
		t.Errorf("saving: %v", err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 0 {
		t.Errorf("left behind: %v", entries)
	}
}

// withFunction is a model with a function, whose constant is in the file w.bin.
func withFunction() []byte {
	entry := func(k, v string) []byte { return msg(13, text(1, k), text(2, v)) }
	value := msg(5, text(1, "value"), msg(5, num(1, 2), num(2, 1), num(14, 1), entry("location", "w.bin")), num(20, 4))
	data := append(num(1, 8), msg(8, num(2, 17))...)
	data = append(data, msg(7, msg(1, text(2, "y"), text(4, "Two"), text(7, "own")), msg(12, text(1, "y")))...)
	return append(data, msg(25, text(1, "Two"), text(5, "c"), msg(7, text(2, "c"), text(4, "Constant"), value), msg(9, num(2, 17)), text(10, "own"))...)
}

// External data inside a function that the model brings along moves with it.
func TestSaveMovesDataOfFunctions(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	write(t, filepath.Join(dir, "w.bin"), []byte{0, 0, 128, 63, 0, 0, 0, 64})
	write(t, filepath.Join(dir, "model.onnx"), withFunction())
	m, err := onnx.Open(filepath.Join(dir, "model.onnx"))
	if err != nil {
		t.Fatal(err)
	}
	defer closeModel(t, m)
	if files := m.ExternalFiles(); !slices.Equal(files, []string{"w.bin"}) {
		t.Errorf("external files %q", files)
	}
	path := filepath.Join(other, "model.onnx")
	if err := m.Save(path, onnx.SaveOptions{}); err != nil {
		t.Fatal(err)
	}
	saved, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(saved), "w.bin") || !strings.Contains(string(saved), "\x00\x00\x80\x3f\x00\x00\x00\x40") {
		t.Errorf("the saved model does not hold the constant itself: %q", saved)
	}
	again, err := onnx.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	closeModel(t, again)
	if files := m.ExternalFiles(); len(files) != 1 {
		t.Errorf("saving changed the model: %q", files)
	}
	// A file that is not there is found when the model is opened.
	if err := os.Remove(filepath.Join(dir, "w.bin")); err != nil {
		t.Fatal(err)
	}
	if _, err := onnx.Open(filepath.Join(dir, "model.onnx")); !errors.Is(err, onnx.ErrExternal) {
		t.Errorf("opened without its data: %v", err)
	}
}

// In a folder of links, as the cache of a model hub is, the data of functions have
// the name of what their link leads to, too.
func TestLocatedDataOfFunctions(t *testing.T) {
	dir := t.TempDir()
	blobs, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(blobs, "a"), withFunction())
	write(t, filepath.Join(blobs, "b"), []byte{0, 0, 128, 63, 0, 0, 0, 64})
	for from, to := range map[string]string{"model.onnx": "a", "w.bin": "b"} {
		if err := os.Symlink(filepath.Join(blobs, to), filepath.Join(dir, from)); err != nil {
			if runtime.GOOS == "windows" {
				t.Skip(err) // an account without the right to
			}
			t.Fatal(err)
		}
	}
	m, err := onnx.Open(filepath.Join(dir, "model.onnx"))
	if err != nil {
		t.Fatal(err)
	}
	defer closeModel(t, m)
	located, folder, err := m.Located()
	if err != nil {
		t.Fatal(err)
	}
	if files := located.ExternalFiles(); folder != blobs || !slices.Equal(files, []string{"b"}) {
		t.Errorf("%q in %s, want b in %s", files, folder, blobs)
	}
}

// Sparse initializers are kept as they are, so their data cannot move.
func TestSaveRefusesSparseDataElsewhere(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "w.bin"), make([]byte, 4))
	entry := func(k, v string) []byte { return msg(13, text(1, k), text(2, v)) }
	values := msg(1, num(1, 1), num(2, 1), text(8, "s"), num(14, 1), entry("location", "w.bin"))
	sparse := msg(15, values, msg(2, num(1, 1), num(2, 7), num(7, 0)), num(3, 4))
	data := append(num(1, 8), msg(8, num(2, 17))...)
	write(t, filepath.Join(dir, "model.onnx"), append(data, msg(7, sparse)...))
	m, err := onnx.Open(filepath.Join(dir, "model.onnx"))
	if err != nil {
		t.Fatal(err)
	}
	defer closeModel(t, m)
	if err := m.Save(filepath.Join(t.TempDir(), "m.onnx"), onnx.SaveOptions{}); !errors.Is(err, onnx.ErrExternal) || !strings.Contains(err.Error(), `"s"`) {
		t.Errorf("saved elsewhere: %v", err)
	}
	if err := m.Save(filepath.Join(dir, "again.onnx"), onnx.SaveOptions{}); err != nil {
		t.Error(err)
	}
}
