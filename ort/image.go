package ort

import (
	"bytes"
	"debug/elf"
	"debug/macho"
	"debug/pe"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
)

// entryPoint is the one function every ONNX Runtime library exports.
const entryPoint = "OrtGetApiBase"

// checkImage reads a shared library's headers and returns what is wrong with
// it for the given platform, or "". It reads only through r, so that nothing
// of the file is ever executed or mapped.
func checkImage(r io.ReaderAt, size int64, goos, goarch string) (what string) {
	// The debug packages report malformed headers as errors, but are not
	// promised never to panic on hostile ones.
	defer func() {
		if p := recover(); p != nil {
			what = fmt.Sprintf("has malformed headers (%v)", p)
		}
	}()
	switch goos {
	case "windows":
		return checkPE(r, size, goarch)
	case "darwin":
		return checkMachO(r, size, goarch)
	default:
		return checkELF(r, size, goarch)
	}
}

// beyond says that a part ends after the file does.
func beyond(part string, end uint64, size int64) string {
	return fmt.Sprintf("is truncated: %s ends at byte %d of %d", part, end, size)
}

func checkELF(r io.ReaderAt, size int64, goarch string) string {
	f, err := elf.NewFile(r)
	if err != nil {
		return fmt.Sprintf("is truncated or not a library: no complete ELF headers (%v)", err)
	}
	want := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}[goarch]
	if f.Machine != want {
		return fmt.Sprintf("is made for %v, this machine is %s", f.Machine, goarch)
	}
	if f.Type != elf.ET_DYN {
		return fmt.Sprintf("is not a shared library (%v)", f.Type)
	}
	for i, p := range f.Progs {
		if end := p.Off + p.Filesz; end < p.Off || end > uint64(size) {
			return beyond(fmt.Sprintf("segment %d", i), end, size)
		}
	}
	for _, s := range f.Sections {
		if end := s.Offset + s.FileSize; s.Type != elf.SHT_NOBITS && s.Type != elf.SHT_NULL && (end < s.Offset || end > uint64(size)) {
			return beyond("section "+s.Name, end, size)
		}
	}
	symbols, err := f.DynamicSymbols()
	if err != nil {
		return fmt.Sprintf("has no readable symbols (%v)", err)
	}
	if !slices.ContainsFunc(symbols, func(s elf.Symbol) bool { return s.Name == entryPoint && s.Section != elf.SHN_UNDEF }) {
		return "is not ONNX Runtime: it doesn't export " + entryPoint
	}
	return ""
}

func checkMachO(r io.ReaderAt, size int64, goarch string) string {
	want := map[string]macho.Cpu{"amd64": macho.CpuAmd64, "arm64": macho.CpuArm64}[goarch]
	if fat, err := macho.NewFatFile(r); err == nil {
		for _, a := range fat.Arches {
			if a.Cpu == want {
				if end := uint64(a.Offset) + uint64(a.Size); end > uint64(size) {
					return beyond("the part for "+goarch, end, size)
				}
				return checkThin(a.File, int64(a.Size))
			}
		}
		return "holds no part for " + goarch
	}
	f, err := macho.NewFile(r)
	if err != nil {
		return fmt.Sprintf("is truncated or not a library: no complete Mach-O headers (%v)", err)
	}
	if f.Cpu != want {
		return fmt.Sprintf("is made for %v, this machine is %s", f.Cpu, goarch)
	}
	return checkThin(f, size)
}

func checkThin(f *macho.File, size int64) string {
	if f.Type != macho.TypeDylib {
		return fmt.Sprintf("is not a shared library (%v)", f.Type)
	}
	for _, l := range f.Loads {
		if s, ok := l.(*macho.Segment); ok {
			if end := s.Offset + s.Filesz; end < s.Offset || end > uint64(size) {
				return beyond("segment "+s.Name, end, size)
			}
		}
	}
	if f.Symtab == nil || !slices.ContainsFunc(f.Symtab.Syms, func(s macho.Symbol) bool { return s.Name == "_"+entryPoint && s.Sect != 0 }) {
		return "is not ONNX Runtime: it doesn't export " + entryPoint
	}
	return ""
}

func checkPE(r io.ReaderAt, size int64, goarch string) string {
	f, err := pe.NewFile(r)
	if err != nil {
		return fmt.Sprintf("is truncated or not a library: no complete PE headers (%v)", err)
	}
	want := map[string]uint16{"amd64": pe.IMAGE_FILE_MACHINE_AMD64, "arm64": pe.IMAGE_FILE_MACHINE_ARM64}[goarch]
	if f.Machine != want {
		return fmt.Sprintf("is made for machine %#x, this machine is %s", f.Machine, goarch)
	}
	if f.Characteristics&pe.IMAGE_FILE_DLL == 0 {
		return "is not a shared library"
	}
	for _, s := range f.Sections {
		if end := uint64(s.Offset) + uint64(s.Size); end > uint64(size) {
			return beyond("section "+s.Name, end, size)
		}
	}
	if header, ok := f.OptionalHeader.(*pe.OptionalHeader64); ok {
		// The one directory whose address is an offset in the file.
		signature := header.DataDirectory[pe.IMAGE_DIRECTORY_ENTRY_SECURITY]
		if end := uint64(signature.VirtualAddress) + uint64(signature.Size); end > uint64(size) {
			return beyond("the signature", end, size)
		}
	}
	names, err := exportsPE(f)
	if err != nil {
		return fmt.Sprintf("has no readable exports (%v)", err)
	}
	if !slices.Contains(names, entryPoint) {
		return "is not ONNX Runtime: it doesn't export " + entryPoint
	}
	return ""
}

// exportsPE reads the names of a PE file's export directory, which debug/pe
// doesn't decode (Microsoft, PE Format, "The .edata Section").
func exportsPE(f *pe.File) ([]string, error) {
	header, ok := f.OptionalHeader.(*pe.OptionalHeader64)
	if !ok {
		return nil, fmt.Errorf("not a 64-bit file")
	}
	at := func(rva uint32, n int) ([]byte, error) {
		for _, s := range f.Sections {
			if rva < s.VirtualAddress || rva-s.VirtualAddress >= s.Size {
				continue
			}
			b := make([]byte, min(n, int(s.Size-(rva-s.VirtualAddress))))
			_, err := s.ReadAt(b, int64(rva-s.VirtualAddress))
			return b, err
		}
		return nil, fmt.Errorf("address %#x lies in no section", rva)
	}
	directory, err := at(header.DataDirectory[pe.IMAGE_DIRECTORY_ENTRY_EXPORT].VirtualAddress, 40)
	if err != nil {
		return nil, err
	}
	if len(directory) < 40 {
		return nil, io.ErrUnexpectedEOF
	}
	count := binary.LittleEndian.Uint32(directory[24:])
	table, err := at(binary.LittleEndian.Uint32(directory[32:]), int(count)*4)
	if err != nil {
		return nil, err
	}
	var names []string
	for ; len(table) >= 4; table = table[4:] {
		// 256 bytes hold the one name looked for; longer ones are cut.
		name, err := at(binary.LittleEndian.Uint32(table), 256)
		if err != nil {
			return nil, err
		}
		name, _, _ = bytes.Cut(name, []byte{0})
		names = append(names, string(name))
	}
	return names, nil
}
