package character

import (
	"encoding/binary"
	"hash/crc32"
	"testing"
	"unicode"
	"unicode/utf8"
)

// TestTables compares every character with the data files of the Unicode version
// that a function stands for, read by somebody else (npm @unicode/unicode-8.0.0,
// -9.0.0 and -16.0.0, version 2.0.7, and -17.0.0, version 2.1.0): how many characters it accepts, and the CRC-32 of these, in
// order, in four bytes each, the highest first.
func TestTables(t *testing.T) {
	for _, c := range []struct {
		name   string
		f      func(rune) bool
		number int
		sum    uint32
	}{
		{"IsLetter", IsLetter, 141028, 0x61cc8d91},
		{"IsNumber", IsNumber, 1911, 0xffc0058a},
		{"IsDigit", IsDigit, 1924, 0xf7463e96},
		{"IsWord", IsWord, 144667, 0x7afc5e00}, // Alphabetic, M, Nd, Pc and the joiners
		{"IsPunctuation", IsPunctuation, 726, 0xdf7b2081},
		{"IsOther", IsOther, 137683, 0xc53eaf47}, // Cc, Cf, Co
		{"IsNonspacing", IsNonspacing, 1567, 0x206ba095},
		{"IsCombining", IsCombining, 2097, 0xed63c521},
		{"Normalises", Normalises, 265705, 0x228c72f8}, // not Cn
		{"IsNewMark and the marks of package unicode", func(r rune) bool { return IsNewMark(r) || unicode.IsMark(r) }, 2543, 0x61d8b3f5},
	} {
		var in []byte
		for r := rune(0); r <= utf8.MaxRune; r++ {
			if utf8.ValidRune(r) && c.f(r) {
				in = binary.BigEndian.AppendUint32(in, uint32(r))
			}
		}
		if number, sum := len(in)/4, crc32.ChecksumIEEE(in); number != c.number || sum != c.sum {
			t.Errorf("%s: %d characters with CRC-32 %#08x, want %d with %#08x", c.name, number, sum, c.number, c.sum)
		}
	}
	var pairs []byte // capitals, each with its small letter
	for r := rune(0); r <= utf8.MaxRune; r++ {
		if l := ToLower(r); l != r {
			pairs = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(pairs, uint32(r)), uint32(l))
		}
	}
	if number, sum := len(pairs)/8, crc32.ChecksumIEEE(pairs); number != 1488 || sum != 0x28a4f3cf {
		t.Errorf("%d capitals, with CRC-32 %#08x", number, sum)
	}
}
