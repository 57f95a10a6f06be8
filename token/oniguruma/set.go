package oniguruma

import (
	"slices"
	"unicode"
)

// set is a set of characters: ranges in ascending order that neither overlap nor
// touch.
type set []span

type span struct{ lo, hi rune }

func single(r rune) set { return set{{r, r}} }

// ofSpans makes a set of ranges in any order.
func ofSpans(spans ...span) set {
	list := slices.Clone(spans)
	slices.SortFunc(list, func(a, b span) int { return int(a.lo - b.lo) })
	var out set
	for _, s := range list {
		if n := len(out); n > 0 && s.lo <= out[n-1].hi+1 {
			out[n-1].hi = max(out[n-1].hi, s.hi)
		} else {
			out = append(out, s)
		}
	}
	return out
}

// ofTables makes a set of the tables of package unicode.
func ofTables(tables ...*unicode.RangeTable) set {
	var all []span
	add := func(lo, hi, stride rune) {
		if stride == 1 {
			all = append(all, span{lo, hi})
			return
		}
		for r := lo; r <= hi; r += stride {
			all = append(all, span{r, r})
		}
	}
	for _, t := range tables {
		for _, r := range t.R16 {
			add(rune(r.Lo), rune(r.Hi), rune(r.Stride))
		}
		for _, r := range t.R32 {
			add(rune(r.Lo), rune(r.Hi), rune(r.Stride))
		}
	}
	return ofSpans(all...)
}

func union(sets ...set) set {
	return ofSpans(slices.Concat(sets...)...)
}

// not gives all other characters. Surrogates are in it or not; no text has any.
func (s set) not() set {
	var out set
	next := rune(0)
	for _, x := range s {
		if next < x.lo {
			out = append(out, span{next, x.lo - 1})
		}
		next = x.hi + 1
	}
	if next <= unicode.MaxRune {
		out = append(out, span{next, unicode.MaxRune})
	}
	return out
}

func intersect(a, b set) set { return union(a.not(), b.not()).not() }

func (s set) has(r rune) bool {
	lo, hi := 0, len(s)
	for lo < hi {
		mid := (lo + hi) / 2
		if s[mid].hi < r {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo < len(s) && s[lo].lo <= r
}

// Set is a set of characters.
type Set struct{ s set }

// Has reports whether r is in the set.
func (s Set) Has(r rune) bool { return s.s.has(r) }

// Property gives the characters of a property by one of the names that
// [Properties] lists; another name gives none.
func Property(name string) Set {
	s, _ := property(name)
	return Set{s}
}
