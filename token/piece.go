package token

import (
	"strings"
	"unicode/utf8"
)

// piece is a stretch of the text on its way to tokens: its present form, and for
// every byte of it the bytes of the original text it came from. It has the
// semantics of NormalizedString in the official implementation, because spans
// are compared with that implementation to the byte.
type piece struct {
	text string
	// align has one entry per byte of text: the whole original character(s) that
	// byte stands for. nil means that text is the original text itself from base
	// on, which keeps pipelines without a normaliser free of allocation.
	align []Span
	base  int // offset in the original text where the piece begins
	token *int64
	// token is the id of an added token that the piece is; nil for ordinary text.
}

// change says how one character of a transformed text came about, in the
// notation of the official implementation: n > 0 means inserted (shares the
// origin of the character before it), n <= 0 means it replaces the next old
// character and removes -n more after it.
type change struct {
	r rune
	n int
}

// materialise fills align for a piece that is still the original text.
func (p *piece) materialise() {
	if p.align != nil {
		return
	}
	p.align = make([]Span, len(p.text))
	for i := 0; i < len(p.text); {
		_, n := utf8.DecodeRuneInString(p.text[i:])
		s := Span{p.base + i, p.base + i + n}
		for j := range n {
			p.align[i+j] = s
		}
		i += n
	}
}

// slice returns the part [a, b) of p.
func (p *piece) slice(a, b int) piece {
	if p.align == nil {
		return piece{text: p.text[a:b], base: p.base + a}
	}
	q := piece{text: p.text[a:b], align: p.align[a:b:b], base: p.base}
	if a < b {
		q.base = p.align[a].Start
	}
	return q
}

// span converts the range [a, b) of the piece's text, a < b, into a byte range
// of the original text.
func (p *piece) span(a, b int, original string) Span {
	if p.align == nil {
		return Span{p.base + a, p.base + b}
	}
	s := Span{p.align[a].Start, p.align[b-1].End}
	if !utf8.RuneStart(p.text[a]) {
		if at, al, same := p.charAt(a, original); same {
			s.Start = al.Start + a - at
		}
	}
	if b < len(p.text) && !utf8.RuneStart(p.text[b]) {
		if at, al, same := p.charAt(b, original); same {
			s.End = al.Start + b - at
		}
	}
	return s
}

// charAt returns where in p.text the character holding byte i begins, its
// origin, and whether the original has the same character there: only then do
// single bytes correspond.
func (p *piece) charAt(i int, original string) (at int, origin Span, same bool) {
	at = i
	for !utf8.RuneStart(p.text[at]) {
		at--
	}
	_, n := utf8.DecodeRuneInString(p.text[at:])
	origin = p.align[at]
	return at, origin, original[origin.Start:origin.End] == p.text[at:at+n]
}

// transform replaces the whole text by dest; skip characters at its beginning
// are removed first.
func (p *piece) transform(dest []change, skip int) {
	p.materialise()
	var text strings.Builder
	text.Grow(len(p.text))
	align := make([]Span, 0, len(p.text))
	off := 0
	advance := func(n int) {
		for ; n > 0 && off < len(p.text); n-- {
			_, size := utf8.DecodeRuneInString(p.text[off:])
			off += size
		}
	}
	advance(skip)
	for _, c := range dest {
		var origin Span
		switch {
		case c.n <= 0 && off < len(p.text):
			origin = p.align[off]
			advance(1 - c.n)
		case off > 0:
			origin = p.align[off-1]
		default:
			origin = Span{p.base, p.base}
		}
		for range utf8.RuneLen(c.r) {
			align = append(align, origin)
		}
		text.WriteRune(c.r)
	}
	p.text, p.align = text.String(), align
}

// filter keeps the characters that keep accepts.
func (p *piece) filter(keep func(rune) bool) {
	var dest []change
	removed, first := 0, 0
	for _, r := range p.text {
		if !keep(r) {
			removed++
			continue
		}
		if len(dest) > 0 {
			dest[len(dest)-1].n = -removed
		} else {
			first = removed
		}
		removed = 0
		dest = append(dest, change{r, 0})
	}
	if len(dest) > 0 {
		dest[len(dest)-1].n = -removed
	}
	p.transform(dest, first)
}

// mapRunes replaces every character by f of it.
func (p *piece) mapRunes(f func(rune) rune) {
	dest := make([]change, 0, len(p.text))
	for _, r := range p.text {
		dest = append(dest, change{f(r), 0})
	}
	p.transform(dest, 0)
}

// prepend puts s before a piece that is not empty; s shares the origin of the
// first character.
func (p *piece) prepend(s string) {
	if p.text == "" || s == "" {
		return
	}
	p.materialise()
	_, n := utf8.DecodeRuneInString(p.text)
	align := make([]Span, 0, len(s)+len(p.text))
	for len(align) < len(s) {
		align = append(align, p.align[n-1])
	}
	p.align = append(align, p.align...)
	p.text = s + p.text
}

// replace puts content in place of every match. The new characters take the
// origin of the last character matched, as in the official implementation.
func (p *piece) replace(m matcher, content string) error {
	matches, err := m.matches(p.text)
	if err != nil {
		return err
	}
	hit := false
	for _, x := range matches {
		hit = hit || x.hit
	}
	if !hit {
		return nil
	}
	p.materialise()
	var text strings.Builder
	text.Grow(len(p.text))
	align := make([]Span, 0, len(p.text))
	for _, x := range matches {
		if !x.hit {
			text.WriteString(p.text[x.start:x.end])
			align = append(align, p.align[x.start:x.end]...)
			continue
		}
		origin := Span{p.base, p.base}
		if x.end > 0 {
			origin = p.align[x.end-1]
		}
		text.WriteString(content)
		for range len(content) {
			align = append(align, origin)
		}
	}
	p.text, p.align = text.String(), align
	return nil
}
