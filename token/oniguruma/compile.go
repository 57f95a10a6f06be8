// Package oniguruma matches the regular expressions of tokenizer.json files with
// the meaning that the official implementation gives them: that of Oniguruma
// (https://github.com/kkos/oniguruma, doc/RE), version 6.9.10 in its own syntax and
// with the characters of Unicode 16.0.
//
// An expression is parsed and rewritten for the backtracking engine of
// github.com/dlclark/regexp2, whose syntax is that of .NET: the same expression
// often means something else there. A construct that is not translated is
// refused by name. Oniguruma's characters are not regexp2's either, so the
// engine never sees them: characters that no class of the expression tells
// apart have one number, and the engine matches texts of numbers.
// internal/tokencheck compares the sets of characters with the official
// implementation one by one, and what random expressions match in random texts.
package oniguruma

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/dlclark/regexp2"
)

// ErrUnsupported is returned, wrapped, for an expression that is not translated.
var ErrUnsupported = errors.New("not supported")

// Regexp is a compiled expression. It may be used by several goroutines at once.
type Regexp struct {
	source string
	re     *regexp2.Regexp
	spans  []span // all characters, in order
	number []rune // of each span
	ascii  [utf8.RuneSelf]rune
}

// base is the number of the first class of characters: from here on the numbers
// are letters that mean nothing to the engine's syntax.
const (
	base       = 0x4E00
	maxClasses = 0x9FFF - base
)

// Compile reads an expression in Oniguruma's syntax. limit is how long the search
// for one match may take: backtracking can take time exponential in the length of
// the text, and expressions come from files.
//
// The error wraps [ErrUnsupported] if the expression holds something that is not
// translated, and names it.
func Compile(source string, limit time.Duration) (*Regexp, error) {
	fail := func(err error) (*Regexp, error) { return nil, fmt.Errorf("regular expression %q: %w", source, err) }
	p := &parser{in: []rune(source), index: make(map[string]int)}
	root, err := p.parse()
	if err != nil {
		return fail(err)
	}
	r := &Regexp{source: source}
	w := writer{classes: r.divide(p.sets)}
	if len(w.classes.members) > maxClasses {
		return fail(fmt.Errorf("more than %d classes of characters", maxClasses))
	}
	w.write(root)
	if r.re, err = regexp2.Compile(w.out.String(), regexp2.None); err != nil {
		return fail(err)
	}
	r.re.MatchTimeout = limit
	return r, nil
}

// classes are the classes of characters that the sets of an expression tell apart.
type classes struct {
	members [][]bool // by class and set
}

// divide numbers all characters so that two have the same number exactly if every
// set holds both or neither.
func (r *Regexp) divide(sets []set) classes {
	bounds := []rune{0}
	for _, s := range sets {
		for _, x := range s {
			bounds = append(bounds, x.lo, x.hi+1)
		}
	}
	slices.Sort(bounds)
	bounds = slices.Compact(bounds)
	if last := len(bounds) - 1; bounds[last] > utf8.MaxRune {
		bounds = bounds[:last]
	}
	var c classes
	numbers := make(map[string]rune)
	at := make([]int, len(sets)) // the first range of each set that may hold the next character
	key := make([]byte, len(sets))
	for i, lo := range bounds {
		for k, s := range sets {
			for at[k] < len(s) && s[at[k]].hi < lo {
				at[k]++
			}
			key[k] = 0
			if at[k] < len(s) && s[at[k]].lo <= lo {
				key[k] = 1
			}
		}
		n, ok := numbers[string(key)]
		if !ok {
			n = base + rune(len(c.members))
			numbers[string(key)] = n
			in := make([]bool, len(sets))
			for k := range in {
				in[k] = key[k] == 1
			}
			c.members = append(c.members, in)
		}
		hi := rune(utf8.MaxRune)
		if i+1 < len(bounds) {
			hi = bounds[i+1] - 1
		}
		r.spans, r.number = append(r.spans, span{lo, hi}), append(r.number, n)
	}
	for b := range r.ascii {
		r.ascii[b] = r.lookUp(rune(b))
	}
	return c
}

// lookUp gives the number of a character.
func (r *Regexp) lookUp(c rune) rune {
	lo, hi := 0, len(r.spans)-1
	for lo < hi {
		mid := (lo + hi + 1) / 2
		if r.spans[mid].lo <= c {
			lo = mid
		} else {
			hi = mid - 1
		}
	}
	return r.number[lo]
}

// writer writes an expression for the engine underneath.
type writer struct {
	classes
	out strings.Builder
}

func (w *writer) write(n *node) {
	switch n.kind {
	case chars:
		w.set(n.set)
	case sequence:
		for _, part := range n.parts {
			w.write(part)
		}
	case choice:
		w.out.WriteString("(?:")
		for i, part := range n.parts {
			if i > 0 {
				w.out.WriteByte('|')
			}
			w.write(part)
		}
		w.out.WriteByte(')')
	case repeat:
		w.repeat(n)
	case group:
		w.out.WriteString(n.open)
		w.write(n.parts[0])
		w.out.WriteByte(')')
	case assertion:
		for i, text := range n.text {
			w.out.WriteString(text)
			if i < len(n.sets) {
				w.set(n.sets[i])
			}
		}
	}
}

func (w *writer) repeat(n *node) {
	if n.suffix == "+" {
		w.out.WriteString("(?>")
		defer w.out.WriteByte(')')
	}
	w.out.WriteString("(?:")
	w.write(n.parts[0])
	if inner(n.parts[0]).kind == repeat {
		// regexp2 makes one loop of two, which tries (?:a{2,4})+ in another order.
		w.out.WriteString("(?=)")
	}
	w.out.WriteString("){" + strconv.Itoa(n.min) + ",")
	if n.max >= 0 {
		w.out.WriteString(strconv.Itoa(n.max))
	}
	w.out.WriteByte('}')
	if n.suffix == "?" {
		w.out.WriteByte('?')
	}
}

// inner takes plain groups off a node.
func inner(n *node) *node {
	for n.kind == group && n.open == "(?:" || n.kind == sequence && len(n.parts) == 1 {
		n = n.parts[0]
	}
	return n
}

// set writes a class of numbers.
func (w *writer) set(k int) {
	var list strings.Builder
	for i := 0; i < len(w.members); i++ {
		first := i
		for i < len(w.members) && w.members[i][k] {
			i++
		}
		switch i - first {
		case 0:
		case 1:
			list.WriteRune(base + rune(first))
		default:
			list.WriteString(string([]rune{base + rune(first), '-', base + rune(i) - 1}))
		}
	}
	if list.Len() == 0 {
		w.out.WriteString("(?!)") // no character is in the set
		return
	}
	w.out.WriteString("[" + list.String() + "]")
}

// All gives the byte ranges of the matches in text, from left to right. Right
// after a match an empty one does not count.
func (r *Regexp) All(text string) ([][2]int, error) {
	numbers := make([]rune, 0, len(text))
	for _, c := range text {
		if c < utf8.RuneSelf {
			numbers = append(numbers, r.ascii[c])
		} else {
			numbers = append(numbers, r.lookUp(c))
		}
	}
	var out [][2]int
	at, runes := 0, 0 // a byte offset, and the same place counted in characters
	move := func(to int) int {
		for ; runes < to; runes++ {
			_, n := utf8.DecodeRuneInString(text[at:])
			at += n
		}
		return at
	}
	last := -1 // end of the last match
	for from := 0; from <= len(numbers); {
		m, err := r.re.FindRunesMatchStartingAt(numbers, from)
		if err != nil {
			if strings.HasPrefix(err.Error(), "match timeout") { // regexp2's message repeats the whole text
				err = fmt.Errorf("no answer within %v at byte %d of %d", r.re.MatchTimeout, move(from), len(text))
			}
			return nil, fmt.Errorf("regular expression %q: %w", r.source, err)
		}
		if m == nil {
			break
		}
		end := m.Index + m.Length
		if m.Length == 0 && end == last {
			from++
			continue
		}
		start := move(m.Index)
		out = append(out, [2]int{start, move(end)})
		from, last = end, end
	}
	return out, nil
}

// Limit returns how long the search for one match may take.
func (r *Regexp) Limit() time.Duration { return r.re.MatchTimeout }
