package ort

import (
	"bytes"
	"debug/macho"
	"debug/pe"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// isolate points every implicit place at empty folders.
func isolate(t *testing.T) (cache string) {
	t.Helper()
	t.Setenv(EnvLibrary, "")
	t.Setenv(EnvCache, t.TempDir())
	cache, err := CacheDir(Version)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		t.Fatal(err)
	}
	return cache
}

func link(t *testing.T, from, to string) string {
	t.Helper()
	if err := os.Symlink(from, to); err != nil {
		if runtime.GOOS == "windows" {
			t.Skip(err) // an account without the right to
		}
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(to) })
	return to
}

func TestFindOrder(t *testing.T) {
	real := library(t).Path
	cache := isolate(t)
	name := fileNames()[0]

	_, err := Find("")
	var missing *MissingError
	if !errors.As(err, &missing) {
		t.Fatalf("got %v, want a MissingError", err)
	}
	wantError(t, err, cache, "beside binary", EnvLibrary, "ortinstall")

	inCache := link(t, real, filepath.Join(cache, name))
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		explicit, env  string
		place          func() string
		source, reason string
	}{
		{place: func() string { return inCache }, source: "cache"},
		{place: func() string { return link(t, real, filepath.Join(filepath.Dir(exe), name)) }, source: "beside binary"},
		{env: real, place: func() string { return real }, source: "env"},
		{env: filepath.Dir(real), place: func() string { return real }, source: "env"},
		{env: "nowhere", explicit: real, place: func() string { return real }, source: "flag"},
		{env: "nowhere", explicit: filepath.Dir(real), place: func() string { return real }, source: "flag"},
	} {
		t.Setenv(EnvLibrary, c.env)
		want := c.place()
		lib, err := Find(c.explicit)
		if err != nil {
			t.Errorf("%+v: %v", c, err)
			continue
		}
		if lib.Path != want || lib.Source != c.source || len(lib.SHA256) != 64 || lib.Size == 0 {
			t.Errorf("got %+v, want %s from %s", lib, want, c.source)
		}
	}

	// A place that is named and empty is an error, not a reason to go on.
	for _, explicit := range []string{"", filepath.Join(t.TempDir(), name), t.TempDir()} {
		t.Setenv(EnvLibrary, filepath.Join(t.TempDir(), name))
		if _, err := Find(explicit); !errors.As(err, &missing) || len(missing.Places) != 1 {
			t.Errorf("explicit %q: got %v", explicit, err)
		}
	}
}

// TestVerifyRefuses feeds Find files that would make the loader fail, or kill
// the process.
func TestVerifyRefuses(t *testing.T) {
	lib := library(t)
	whole, err := os.ReadFile(lib.Path)
	if err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(whole)
	flipped[len(flipped)/2] ^= 1
	cases := map[string][]byte{
		"empty":        {},
		"text":         []byte("not a library\n"),
		"header only":  whole[:4096],
		"half":         whole[:len(whole)/2],
		"one byte off": whole[:len(whole)-1],
	}
	if lib.Release != "" {
		cases["one bit flipped"] = flipped
	}
	for name, data := range cases {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), fileNames()[0])
			if err := os.WriteFile(file, data, 0o644); err != nil {
				t.Fatal(err)
			}
			_, err := Find(file)
			var corrupt *CorruptError
			if !errors.As(err, &corrupt) || corrupt.File != file {
				t.Fatalf("got %v, want a CorruptError", err)
			}
			t.Log(err)
		})
	}

	// The test binary is a whole image of this machine, but something else.
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	_, err = Find(exe)
	wantError(t, err, exe)

	// A build of the user's own is judged by its headers.
	own := filepath.Join(t.TempDir(), "own")
	if err := os.WriteFile(own, append(whole, 0), 0o644); err != nil {
		t.Fatal(err)
	}
	got, err := Find(own)
	if err != nil || got.Release != "" || got.Size != lib.Size+1 {
		t.Errorf("own build: %+v, %v", got, err)
	}

	// A file that changed after it was verified is not loaded.
	got.Size--
	wantError(t, openError(t, got), own, "verified")
	wantError(t, openError(t, Library{Path: filepath.Join(t.TempDir(), "gone")}), "opening library")
}

func openError(t *testing.T, lib Library) error {
	t.Helper()
	e, err := Open(t.Context(), lib)
	if err == nil {
		_ = e.Close()
	}
	return err
}

func TestCheckImageForeign(t *testing.T) {
	lib := library(t)
	f, err := os.Open(lib.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	other := map[string]string{"amd64": "arm64", "arm64": "amd64"}[runtime.GOARCH]
	if what := checkImage(f, lib.Size, runtime.GOOS, other); !strings.Contains(what, "made for") {
		t.Errorf("another machine: %q", what)
	}
	for _, goos := range []string{"linux", "darwin", "windows"} {
		if what := checkImage(f, lib.Size, goos, runtime.GOARCH); (what == "") != (goos == runtime.GOOS) {
			t.Errorf("as a library for %s: %q", goos, what)
		}
	}
}

// TestCheckImageFormats covers the formats this machine doesn't use with the
// smallest files that have the parts checked.
func TestCheckImageFormats(t *testing.T) {
	for _, c := range []struct {
		goos  string
		image func(symbol string) []byte
	}{{"windows", smallPE}, {"darwin", smallMachO}} {
		whole := c.image(entryPoint)
		check := func(data []byte, goarch string) string {
			return checkImage(bytes.NewReader(data), int64(len(data)), c.goos, goarch)
		}
		if what := check(whole, "arm64"); what != "" {
			t.Errorf("%s: %s", c.goos, what)
		}
		if what := check(whole, "amd64"); !strings.Contains(what, "made for") {
			t.Errorf("%s, another machine: %q", c.goos, what)
		}
		if what := check(c.image("Other"), "arm64"); !strings.Contains(what, entryPoint) {
			t.Errorf("%s, another library: %q", c.goos, what)
		}
		for n := range whole {
			if what := check(whole[:n], "arm64"); what == "" {
				t.Errorf("%s: %d of %d bytes accepted", c.goos, n, len(whole))
			}
		}
	}
}

func put(b *bytes.Buffer, parts ...any) {
	for _, part := range parts {
		_ = binary.Write(b, binary.LittleEndian, part) // into memory: cannot fail
	}
}

// smallPE is a DLL of one section that holds an export directory.
func smallPE(symbol string) []byte {
	const rva, offset = 0x1000, 0x200
	var data bytes.Buffer
	put(&data, [24]byte{}, uint32(1), uint32(0), uint32(rva+40), uint32(0), // 1 name, the table follows
		uint32(rva+44), append([]byte(symbol), 0))

	var b bytes.Buffer
	var dos [64]byte
	copy(dos[:], "MZ")
	dos[0x3c] = 64
	header := pe.OptionalHeader64{Magic: 0x20b, NumberOfRvaAndSizes: 16}
	header.DataDirectory[pe.IMAGE_DIRECTORY_ENTRY_EXPORT] = pe.DataDirectory{VirtualAddress: rva, Size: uint32(data.Len())}
	header.DataDirectory[pe.IMAGE_DIRECTORY_ENTRY_SECURITY] = pe.DataDirectory{VirtualAddress: offset + uint32(data.Len()), Size: 8}
	put(&b, dos, []byte("PE\x00\x00"),
		pe.FileHeader{Machine: pe.IMAGE_FILE_MACHINE_ARM64, NumberOfSections: 1, SizeOfOptionalHeader: uint16(binary.Size(header)), Characteristics: pe.IMAGE_FILE_DLL},
		header,
		pe.SectionHeader32{Name: [8]uint8{'.', 'r'}, VirtualAddress: rva, VirtualSize: uint32(data.Len()), SizeOfRawData: uint32(data.Len()), PointerToRawData: offset})
	put(&b, make([]byte, offset-b.Len()), data.Bytes(), [8]byte{})
	return b.Bytes()
}

// smallMachO is a dylib of one segment and one symbol.
func smallMachO(symbol string) []byte {
	const headerSize, segmentSize, symtabSize, nlistSize = 32, 72, 24, 16
	start := uint32(headerSize + segmentSize + symtabSize)
	names := append([]byte("\x00_"+symbol), 0)
	end := uint64(start) + nlistSize + uint64(len(names))
	var b bytes.Buffer
	put(&b,
		macho.FileHeader{Magic: macho.Magic64, Cpu: macho.CpuArm64, Type: macho.TypeDylib, Ncmd: 2, Cmdsz: segmentSize + symtabSize}, uint32(0),
		macho.Segment64{Cmd: macho.LoadCmdSegment64, Len: segmentSize, Name: [16]byte{'_'}, Filesz: end, Memsz: end},
		macho.SymtabCmd{Cmd: macho.LoadCmdSymtab, Len: symtabSize, Symoff: start, Nsyms: 1, Stroff: start + nlistSize, Strsize: uint32(len(names))},
		macho.Nlist64{Name: 1, Type: 0xf, Sect: 1}, names)
	return b.Bytes()
}

// Every tested release has its files for every platform of the pinned one.
func TestFiles(t *testing.T) {
	for _, version := range Versions() {
		for platform, n := range map[string]int{"linux-amd64": 1, "linux-arm64": 1, "darwin-arm64": 1, "windows-amd64": 4, "windows-arm64": 4} {
			goos, goarch, _ := strings.Cut(platform, "-")
			files := Files(version, goos, goarch)
			if len(files) != n {
				t.Errorf("%s on %s has %d files, want %d", version, platform, len(files), n)
			}
			for _, f := range files {
				if filepath.Base(f.Member) != f.Name || len(f.SHA256) != 64 || f.Size < 1<<20 {
					t.Errorf("%s on %s: %+v", version, platform, f)
				}
			}
		}
	}
	if Files("1.0.0", "linux", "amd64") != nil {
		t.Error("an unknown release has files")
	}
}
