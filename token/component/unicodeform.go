package component

import (
	"slices"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"editpipe/token/character"
	"editpipe/token/piece"
)

// unicodeForm brings p into a Unicode normalisation form. The characters and
// the compositions are those of golang.org/x/text; the bookkeeping of what came
// from where follows the Rust crate that the official implementation uses (unicode
// normalisation with alignments: decompose.rs, recompose.rs).
func unicodeForm(p *piece.Piece, f norm.Form) {
	if f.IsNormalString(p.Text) {
		return
	}
	compat, compose := f == norm.NFKC || f == norm.NFKD, f == norm.NFC || f == norm.NFKC
	dest := decompose(p.Text, compat)
	if compose {
		dest = recompose(dest)
	}
	p.Transform(dest, 0)
}

// decompose gives the full canonical or compatibility decomposition of text in
// canonical order.
func decompose(text string, compat bool) []piece.Change {
	f := norm.NFD
	if compat {
		f = norm.NFKD
	}
	out := make([]piece.Change, 0, len(text))
	pending := 0 // where the run of characters with a combining class begins
	for i := 0; i < len(text); {
		c, size := utf8.DecodeRuneInString(text[i:])
		first := true
		form := text[i : i+size]
		if character.Normalises(c) {
			form = f.String(form)
		}
		// The decomposition of one character in isolation keeps its order.
		for _, r := range form {
			if combiningClass(r) == 0 {
				sortPending(out[pending:])
				pending = len(out) + 1
			}
			n := 1
			if first {
				n, first = 0, false
			}
			out = append(out, piece.Change{Rune: r, N: n})
		}
		i += size
	}
	sortPending(out[pending:])
	return out
}

func sortPending(c []piece.Change) {
	slices.SortStableFunc(c, func(a, b piece.Change) int {
		return int(combiningClass(a.Rune)) - int(combiningClass(b.Rune))
	})
}

// recompose joins decomposed characters (Unicode Standard, section 3.11, D117).
func recompose(in []piece.Change) []piece.Change {
	out := make([]piece.Change, 0, len(in))
	starter := -1 // index in out of the character that may absorb the next ones
	var lastClass uint8
	blocked := false // whether an uncomposed mark stands after the starter
	for _, c := range in {
		ccc := combiningClass(c.Rune)
		if starter >= 0 && (!blocked || lastClass < ccc) {
			if r, ok := compose(out[starter].Rune, c.Rune); ok {
				out[starter] = piece.Change{Rune: r, N: out[starter].N + c.N - 1}
				continue
			}
		}
		out = append(out, c)
		if ccc == 0 {
			starter, blocked = len(out)-1, false
		} else if starter >= 0 {
			blocked, lastClass = true, ccc
		}
	}
	return out
}

func combiningClass(r rune) uint8 {
	if r < 0x300 || !character.Normalises(r) {
		return 0
	}
	var buf [utf8.UTFMax]byte
	return norm.NFC.Properties(buf[:utf8.EncodeRune(buf[:], r)]).CCC()
}

// compose returns the primary composite of two characters.
func compose(a, b rune) (rune, bool) {
	if b < 0x300 || !character.Normalises(a) || !character.Normalises(b) {
		return 0, false
	}
	s := norm.NFC.String(string(a) + string(b))
	r, n := utf8.DecodeRuneInString(s)
	return r, n == len(s) && character.Normalises(r)
}
