// Package piece defines a piece: a part of a text that is being tokenised, with
// the bytes of the original text that every byte of its present form came from.
// Normalisers change pieces, pre-tokenizers cut them, models read them.
// Patterns say where: each cuts a text into matches and the gaps between them.
package piece

import (
	"strings"
	"unicode/utf8"
)

// Span is a half-open byte range [Start, End) in the original text.
type Span struct{ Start, End int }

// Piece is a stretch of the text on its way to tokens: its present form, and for
// every byte of it the bytes of the original text it came from. It has the
// semantics of NormalizedString in the official implementation, because spans
// are compared with that implementation to the byte.
// Piece{Text: text} is a whole original text; from there on only methods change it.
type Piece struct {
	Text  string
	Token *int64 // the id of the added token that the piece is; nil for ordinary text

	// align has one entry per byte of Text: the whole original character(s) that
	// byte stands for. nil means that Text is the original text itself from base
	// on, which keeps pipelines without a normaliser free of allocation.
	align []Span
	base  int // offset in the original text where the piece begins
}

// Change says how one character of a transformed text came about, in the
// notation of the official implementation: N > 0 means inserted (shares the
// origin of the character before it), N <= 0 means it replaces the next old
// character and removes -N more after it.
type Change struct {
	Rune rune
	N    int
}

// materialise fills align for a piece that is still the original text.
func (p *Piece) materialise() {
	if p.align != nil {
		return
	}
	p.align = make([]Span, len(p.Text))
	for i := 0; i < len(p.Text); {
		_, n := utf8.DecodeRuneInString(p.Text[i:])
		s := Span{p.base + i, p.base + i + n}
		for j := range n {
			p.align[i+j] = s
		}
		i += n
	}
}

// Slice returns the part [a, b) of p.
func (p *Piece) Slice(a, b int) Piece {
	if p.align == nil {
		return Piece{Text: p.Text[a:b], base: p.base + a}
	}
	q := Piece{Text: p.Text[a:b], align: p.align[a:b:b], base: p.base}
	if a < b {
		q.base = p.align[a].Start
	}
	return q
}

// Span converts the range [a, b) of the piece's text, a < b, into a byte range
// of the original text.
func (p *Piece) Span(a, b int, original string) Span {
	if p.align == nil {
		return Span{p.base + a, p.base + b}
	}
	s := Span{p.align[a].Start, p.align[b-1].End}
	if !utf8.RuneStart(p.Text[a]) {
		if at, al, same := p.charAt(a, original); same {
			s.Start = al.Start + a - at
		}
	}
	if b < len(p.Text) && !utf8.RuneStart(p.Text[b]) {
		if at, al, same := p.charAt(b, original); same {
			s.End = al.Start + b - at
		}
	}
	return s
}

// charAt returns where in p.Text the character holding byte i begins, its
// origin, and whether the original has the same character there: only then do
// single bytes correspond.
func (p *Piece) charAt(i int, original string) (at int, origin Span, same bool) {
	at = i
	for !utf8.RuneStart(p.Text[at]) {
		at--
	}
	_, n := utf8.DecodeRuneInString(p.Text[at:])
	origin = p.align[at]
	return at, origin, original[origin.Start:origin.End] == p.Text[at:at+n]
}

// Transform replaces the whole text by dest; skip characters at its beginning
// are removed first.
func (p *Piece) Transform(dest []Change, skip int) {
	p.materialise()
	var text strings.Builder
	text.Grow(len(p.Text))
	align := make([]Span, 0, len(p.Text))
	off := 0
	advance := func(n int) {
		for ; n > 0 && off < len(p.Text); n-- {
			_, size := utf8.DecodeRuneInString(p.Text[off:])
			off += size
		}
	}
	advance(skip)
	for _, c := range dest {
		var origin Span
		switch {
		case c.N <= 0 && off < len(p.Text):
			origin = p.align[off]
			advance(1 - c.N)
		case off > 0:
			origin = p.align[off-1]
		default:
			origin = Span{p.base, p.base}
		}
		for range utf8.RuneLen(c.Rune) {
			align = append(align, origin)
		}
		text.WriteRune(c.Rune)
	}
	p.Text, p.align = text.String(), align
}

// Filter keeps the characters that keep accepts.
func (p *Piece) Filter(keep func(rune) bool) {
	var dest []Change
	removed, first := 0, 0
	for _, r := range p.Text {
		if !keep(r) {
			removed++
			continue
		}
		if len(dest) > 0 {
			dest[len(dest)-1].N = -removed
		} else {
			first = removed
		}
		removed = 0
		dest = append(dest, Change{r, 0})
	}
	if len(dest) > 0 {
		dest[len(dest)-1].N = -removed
	}
	p.Transform(dest, first)
}

// Trim keeps the part [a, b) of the text. Unlike a [Piece.Slice], the piece still
// begins where it did.
func (p *Piece) Trim(a, b int) {
	p.materialise()
	p.Text, p.align = p.Text[a:b], p.align[a:b:b]
}

// Begins reports whether the piece begins the original text.
func (p *Piece) Begins() bool { return p.base == 0 }

// MapRunes replaces every character by f of it.
func (p *Piece) MapRunes(f func(rune) rune) {
	dest := make([]Change, 0, len(p.Text))
	for _, r := range p.Text {
		dest = append(dest, Change{f(r), 0})
	}
	p.Transform(dest, 0)
}

// MapBytes replaces every byte by the character that f gives for it. The
// characters of one old character share its origin.
func (p *Piece) MapBytes(f func(byte) rune) {
	dest := make([]Change, 0, len(p.Text))
	for i := range len(p.Text) {
		n := 0
		if !utf8.RuneStart(p.Text[i]) {
			n = 1
		}
		dest = append(dest, Change{f(p.Text[i]), n})
	}
	p.Transform(dest, 0)
}

// Prepend puts s before a piece that is not empty; s shares the origin of the
// first character.
func (p *Piece) Prepend(s string) {
	if p.Text == "" || s == "" {
		return
	}
	p.materialise()
	_, n := utf8.DecodeRuneInString(p.Text)
	align := make([]Span, 0, len(s)+len(p.Text))
	for len(align) < len(s) {
		align = append(align, p.align[n-1])
	}
	p.align = append(align, p.align...)
	p.Text = s + p.Text
}

// Replace puts content in place of every match. The new characters take the
// origin of the last character matched, as in the official implementation.
func (p *Piece) Replace(m Pattern, content string) error {
	matches, err := m.Matches(p.Text)
	if err != nil {
		return err
	}
	hit := false
	for _, x := range matches {
		hit = hit || x.Hit
	}
	if !hit {
		return nil
	}
	p.materialise()
	var text strings.Builder
	text.Grow(len(p.Text))
	align := make([]Span, 0, len(p.Text))
	for _, x := range matches {
		if !x.Hit {
			text.WriteString(p.Text[x.Start:x.End])
			align = append(align, p.align[x.Start:x.End]...)
			continue
		}
		origin := Span{p.base, p.base}
		if x.End > 0 {
			origin = p.align[x.End-1]
		}
		text.WriteString(content)
		for range len(content) {
			align = append(align, origin)
		}
	}
	p.Text, p.align = text.String(), align
	return nil
}
