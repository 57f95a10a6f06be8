package piece

import (
	"slices"
	"testing"
	"unicode"
)

// TestSpans follows pieces through changes worked out by hand. The original is
// a0 é1-2 space3 日4-6 b7.
func TestSpans(t *testing.T) {
	const original = "aé 日b"
	for _, c := range []struct {
		name   string
		change func(p *Piece)
		want   string
		spans  []Span // of each byte
	}{
		{"as it is", func(p *Piece) {}, original,
			[]Span{{0, 1}, {1, 2}, {2, 3}, {3, 4}, {4, 5}, {5, 6}, {6, 7}, {7, 8}}},
		{"slice", func(p *Piece) { *p = p.Slice(1, 4) }, "é ", []Span{{1, 2}, {2, 3}, {3, 4}}},
		{"slice of a slice", func(p *Piece) { *p = p.Slice(1, 8); *p = p.Slice(2, 7) }, " 日b", []Span{{3, 4}, {4, 5}, {5, 6}, {6, 7}, {7, 8}}},
		{"trim", func(p *Piece) { p.Trim(3, 7) }, " 日", []Span{{3, 4}, {4, 5}, {5, 6}, {6, 7}}},
		{"prepend", func(p *Piece) { *p = p.Slice(7, 8); p.Prepend("__") }, "__b", []Span{{7, 8}, {7, 8}, {7, 8}}},
		{"prepend to nothing", func(p *Piece) { *p = p.Slice(2, 2); p.Prepend("_") }, "", nil},
		{"filter", func(p *Piece) { p.Filter(func(r rune) bool { return r < 0x80 && r != 'a' }) }, " b", []Span{{3, 4}, {7, 8}}},
		{"filter all", func(p *Piece) { p.Filter(func(rune) bool { return false }) }, "", nil},
		{"map", func(p *Piece) { p.MapRunes(unicode.ToUpper) }, "AÉ 日B",
			// A byte of a character that is no more stands for all of it.
			[]Span{{0, 1}, {1, 3}, {1, 3}, {3, 4}, {4, 5}, {5, 6}, {6, 7}, {7, 8}}},
		{"bytes", func(p *Piece) { *p = p.Slice(1, 4); p.MapBytes(func(b byte) rune { return 'a' + rune(b%16) }) }, "dja", []Span{{1, 3}, {1, 3}, {3, 4}}},
		{"replace", func(p *Piece) {
			if err := p.Replace(Class(unicode.IsLetter), "xy"); err != nil {
				t.Fatal(err)
			}
		}, "xyxy xyxy", []Span{{0, 1}, {0, 1}, {1, 3}, {1, 3}, {3, 4}, {4, 7}, {4, 7}, {7, 8}, {7, 8}}},
		{"insert, join and drop", func(p *Piece) {
			// a becomes A and !, é and the space become one _, 日 becomes x, b is dropped.
			p.Transform([]Change{{'A', 0}, {'!', 1}, {'_', -1}, {'x', 0}}, 0)
		}, "A!_x", []Span{{0, 1}, {0, 1}, {1, 3}, {4, 7}}},
		{"skip", func(p *Piece) { p.Transform([]Change{{'x', 0}}, 2) }, "x", []Span{{3, 4}}},
	} {
		p := Piece{Text: original}
		c.change(&p)
		if p.Text != c.want {
			t.Errorf("%s: %q, want %q", c.name, p.Text, c.want)
			continue
		}
		var spans []Span
		for i := range len(p.Text) {
			spans = append(spans, p.Span(i, i+1, original))
		}
		if !slices.Equal(spans, c.spans) {
			t.Errorf("%s: spans %v, want %v", c.name, spans, c.spans)
		}
	}
}

func TestBegins(t *testing.T) {
	p := Piece{Text: " ab"}
	if q := p.Slice(1, 3); !p.Begins() || q.Begins() {
		t.Errorf("begins: %v, its slice %v", p.Begins(), q.Begins())
	}
	p.Trim(1, 3)
	if q := p.Slice(0, 1); !p.Begins() || q.Begins() {
		t.Errorf("trimmed: begins: %v, its slice %v", p.Begins(), q.Begins())
	}
}
