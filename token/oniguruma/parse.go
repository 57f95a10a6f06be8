package oniguruma

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// kind is what a node of the parsed expression is.
type kind int

const (
	chars     kind = iota // one character of a set
	sequence              // parts one after the other
	choice                // the first of the parts that leads to a match
	repeat                // the part, min to max times
	group                 // the part inside open and ")"
	assertion             // nothing: a position, written in the syntax of the engine underneath
)

// node is one node of the parsed expression.
type node struct {
	kind     kind
	set      int // chars: index of the set
	parts    []*node
	min, max int    // repeat; max < 0 is without limit
	suffix   string // repeat: "", "?" (as few as possible) or "+" (without giving back)
	open     string // group: what it begins with
	// assertion: text before, between and after the sets it speaks of.
	text []string
	sets []int
}

// maxRepeat is the largest number in an interval {n,m} (ONIG_MAX_REPEAT_NUM).
const maxRepeat = 100000

// parser reads one expression.
type parser struct {
	in    []rune
	at    int
	depth int
	// behind counts the look-behinds around the current place.
	behind int
	// Options in force: (?i) and (?m).
	fold, dotAll bool
	sets         []set
	index        map[string]int // sets by content
	run          []rune         // folded literals read one after the other
}

// maxDepth bounds the nesting of groups and classes: the parser calls itself.
const maxDepth = 200

// unsupported is the error for a construct that the package does not translate.
func unsupported(format string, args ...any) error {
	return fmt.Errorf("%s is %w", fmt.Sprintf(format, args...), ErrUnsupported)
}

// parse reads a whole expression.
func (p *parser) parse() (*node, error) {
	n, err := p.choice()
	if err == nil && p.at < len(p.in) {
		err = errors.New("a closing parenthesis without an opening one")
	}
	if err != nil {
		return nil, fmt.Errorf("at character %d: %w", p.at, err)
	}
	return n, nil
}

func (p *parser) more() bool { return p.at < len(p.in) }

// next reports whether the text at the current place begins with s.
func (p *parser) next(s string) bool {
	for i, r := range []rune(s) {
		if p.at+i >= len(p.in) || p.in[p.at+i] != r {
			return false
		}
	}
	return true
}

// skip steps over s, if it comes next.
func (p *parser) skip(s string) bool {
	if !p.next(s) {
		return false
	}
	p.at += len([]rune(s))
	return true
}

// deeper counts nesting; the function returned ends it.
func (p *parser) deeper() (func(), error) {
	if p.depth++; p.depth > maxDepth {
		return nil, fmt.Errorf("groups and classes are nested deeper than %d", maxDepth)
	}
	return func() { p.depth-- }, nil
}

// choice reads alternatives up to a closing parenthesis or the end.
func (p *parser) choice() (*node, error) {
	leave, err := p.deeper()
	if err != nil {
		return nil, err
	}
	defer leave()
	n := &node{kind: choice}
	for {
		p.run = nil
		part, err := p.sequence()
		if err != nil {
			return nil, err
		}
		n.parts = append(n.parts, part)
		if !p.skip("|") {
			break
		}
	}
	if len(n.parts) == 1 {
		return n.parts[0], nil
	}
	p.run = nil
	return n, nil
}

// sequence reads one alternative.
func (p *parser) sequence() (*node, error) {
	n := &node{kind: sequence}
	for p.more() && !p.next("|") && !p.next(")") {
		if p.next("(?#") {
			if err := p.comment(); err != nil {
				return nil, err
			}
			continue
		}
		atom, rest, err := p.atom()
		if err != nil {
			return nil, err
		}
		if rest { // an option such as (?i): what follows, up to the end of the group
			n.parts = append(n.parts, atom)
			break
		}
		if atom, err = p.quantified(atom); err != nil {
			return nil, err
		}
		n.parts = append(n.parts, atom)
	}
	return n, nil
}

func (p *parser) comment() error {
	for p.at += len("(?#"); p.more(); p.at++ {
		switch p.in[p.at] {
		case '\\':
			p.at++
		case ')':
			p.at++
			return nil
		}
	}
	return errors.New("a comment (?# without an end")
}

// quantified reads the quantifiers after n.
func (p *parser) quantified(n *node) (*node, error) {
	for p.more() {
		least, most, ok := p.interval()
		interval := ok
		if !ok {
			switch p.in[p.at] {
			case '?':
				least, most = 0, 1
			case '*':
				least, most = 0, -1
			case '+':
				least, most = 1, -1
			default:
				return n, nil
			}
			p.at++
		}
		if n.kind == assertion || n.kind == group && strings.ContainsAny(n.open, "=!") {
			return nil, unsupported("a quantifier after an anchor or a look-around")
		}
		if max(least, most) > maxRepeat {
			return nil, fmt.Errorf("an interval above %d", maxRepeat)
		}
		q := &node{kind: repeat, parts: []*node{n}, min: least, max: most}
		switch {
		case interval && most >= 0 && least > most: // {m,n} with m > n keeps what it took
			if p.next("?") || p.next("+") {
				return nil, unsupported("a quantifier after a possessive interval")
			}
			q.min, q.max, q.suffix = most, least, "+"
		case interval && least == most: // {n}? is {n} or nothing, {n}+ is {n} repeated
		case p.skip("?"):
			q.suffix = "?"
		case !interval && p.skip("+"):
			q.suffix = "+"
		}
		if n.kind == repeat && n.suffix != "+" && (q.min != q.max || n.min != n.max) && !(plain(n) && plain(q)) {
			// The engine joins stacked quantifiers by rules of its own.
			return nil, unsupported("a quantifier directly after another one")
		}
		if q.suffix == "+" {
			if err := p.atomic("a possessive quantifier"); err != nil {
				return nil, err
			}
		}
		n = q
	}
	return n, nil
}

// atomic refuses what gives nothing back inside a look-behind: the engine
// underneath reads that from right to left and would keep something else.
func (p *parser) atomic(what string) error {
	if p.behind > 0 {
		return unsupported("%s inside a look-behind", what)
	}
	return nil
}

// plain reports a greedy quantifier.
func plain(n *node) bool { return n.suffix == "" }

// interval reads {n}, {n,}, {,m} or {n,m}; anything else in braces is literal.
func (p *parser) interval() (least, most int, ok bool) {
	start := p.at
	defer func() {
		if !ok {
			p.at = start
		}
	}()
	if !p.skip("{") {
		return 0, 0, false
	}
	least, first := p.number()
	if !p.next(",") {
		return least, least, first && p.skip("}")
	}
	p.at++
	most, second := p.number()
	if !first && !second || !p.skip("}") {
		return 0, 0, false
	}
	if !second {
		most = -1
	}
	return least, most, true
}

// number reads decimal digits; more than can matter end at a number that is too large.
func (p *parser) number() (n int, ok bool) {
	for ; p.more() && p.in[p.at] >= '0' && p.in[p.at] <= '9'; p.at++ {
		n, ok = min(10*n+int(p.in[p.at]-'0'), maxRepeat+1), true
	}
	return n, ok
}

// atom reads one character, class, group or anchor. rest says that it is all that
// is left of the enclosing group.
func (p *parser) atom() (n *node, rest bool, err error) {
	r := p.in[p.at]
	switch r {
	case '\\':
		n, err = p.escape()
		return n, false, err
	case '[':
		p.at++
		s, form, err := p.class()
		if err != nil {
			return nil, false, err
		}
		if p.fold {
			if len(s) == 1 && s[0].lo == s[0].hi {
				n, err = p.literal(s[0].lo)
				return n, false, err
			}
			if s, err = foldClass(s, form); err != nil {
				return nil, false, err
			}
		}
		return p.of(s), false, nil
	case '.':
		p.at++
		if p.dotAll {
			return p.of(set(nil).not()), false, nil
		}
		return p.of(single('\n').not()), false, nil
	case '^':
		p.at++
		return p.assertion([]string{`(?:\A|(?<=`, `)(?!\z))`}, single('\n')), false, nil
	case '$':
		p.at++
		return p.assertion([]string{`(?=`, `|\z)`}, single('\n')), false, nil
	case '(':
		return p.group()
	case '?', '*', '+':
		return nil, false, fmt.Errorf("nothing to repeat before %c", r)
	case '{':
		if _, _, ok := p.interval(); ok {
			return nil, false, errors.New("nothing to repeat before {")
		}
	}
	p.at++
	n, err = p.literal(r)
	return n, false, err
}

// of makes a node for one character of s and ends a run of literals.
func (p *parser) of(s set) *node {
	p.run = nil
	return &node{kind: chars, set: p.add(s)}
}

// add registers a set.
func (p *parser) add(s set) int {
	key := fmt.Sprint(s)
	if i, ok := p.index[key]; ok {
		return i
	}
	p.sets = append(p.sets, s)
	p.index[key] = len(p.sets) - 1
	return len(p.sets) - 1
}

func (p *parser) assertion(text []string, sets ...set) *node {
	p.run = nil
	n := &node{kind: assertion, text: text}
	for _, s := range sets {
		n.sets = append(n.sets, p.add(s))
	}
	return n
}

// literal makes a node for the character r.
func (p *parser) literal(r rune) (*node, error) {
	if !p.fold {
		return p.of(single(r)), nil
	}
	if p.run = append(p.run, lowest(r)); foldsToMany(p.run) {
		return nil, unsupported("(?i) over %q, which folds to or from another number of characters,", string(r))
	}
	return &node{kind: chars, set: p.add(foldSet(single(r)))}, nil
}

// group reads what begins with a parenthesis.
func (p *parser) group() (n *node, rest bool, err error) {
	fold, dotAll := p.fold, p.dotAll
	n = &node{kind: group, open: "(?:"}
	switch {
	case p.next("(*"):
		return nil, false, unsupported("a callout (*")
	case !p.next("(?"):
		p.at++
	case p.skip("(?:"):
	case p.next("(?<") && !p.next("(?<=") && !p.next("(?<!"), p.next("(?'"):
		end := '>'
		if p.in[p.at+2] == '\'' {
			end = '\''
		}
		for p.at += 3; p.more() && p.in[p.at] != end; p.at++ {
			if r := p.in[p.at]; r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r) {
				return nil, false, fmt.Errorf("%q in the name of a group", r)
			}
		}
		if !p.more() {
			return nil, false, errors.New("the name of a group without an end")
		}
		p.at++ // nothing refers to groups, so that a name means nothing
	default:
		for _, open := range []string{"(?=", "(?!", "(?>", "(?<=", "(?<!"} {
			if p.skip(open) {
				n.open = open
			}
		}
		if n.open != "(?:" {
			break
		}
		start := p.at
		p.at += len("(?")
		on := true
	options:
		for {
			if !p.more() {
				return nil, false, errors.New("a group without an end")
			}
			r := p.in[p.at]
			p.at++
			switch r {
			case '-':
				on = false
			case 'i':
				fold = on
			case 'm':
				dotAll = on
			case ':', ')':
				break options
			default:
				p.at = start
				return nil, false, unsupported("the group %s", string(p.in[start:min(start+4, len(p.in))]))
			}
		}
		if rest = p.in[p.at-1] == ')'; rest {
			defer p.restore(p.fold, p.dotAll)
			p.fold, p.dotAll = fold, dotAll
			part, err := p.choice()
			n.parts = []*node{part}
			return n, true, err
		}
	}
	defer p.restore(p.fold, p.dotAll)
	p.fold, p.dotAll = fold, dotAll
	switch n.open {
	case "(?>":
		err = p.atomic("an atomic group")
	case "(?<=", "(?<!":
		p.behind++
		defer func() { p.behind-- }()
	}
	if err != nil {
		return nil, false, err
	}
	part, err := p.choice()
	if err != nil {
		return nil, false, err
	}
	if !p.skip(")") {
		return nil, false, errors.New("a group without an end")
	}
	if n.open != "(?:" {
		p.run = nil
	}
	n.parts = []*node{part}
	return n, false, nil
}

func (p *parser) restore(fold, dotAll bool) { p.fold, p.dotAll = fold, dotAll }

// escape reads what begins with a backslash outside a class.
func (p *parser) escape() (*node, error) {
	if p.at+1 >= len(p.in) {
		return nil, errors.New("a backslash at the end")
	}
	r := p.in[p.at+1]
	if s, ok, err := p.characterType(); err != nil || ok {
		if err == nil && p.fold && strings.ContainsRune("pP", r) {
			s, err = foldClass(s, listed) // negated ones too
		}
		if err != nil {
			return nil, err
		}
		return p.of(s), nil
	}
	newlines := ofSpans(span{'\n', '\r'}, span{0x85, 0x85}, span{0x2028, 0x2029})
	word := types['w']
	switch r {
	case 'R':
		if err := p.atomic(`\R`); err != nil {
			return nil, err
		}
		p.at += 2
		return p.assertionLike([]string{`(?>`, ``, `|`, `)`}, single('\r'), single('\n'), newlines), nil
	case 'N':
		p.at += 2
		return p.of(single('\n').not()), nil
	case 'O':
		p.at += 2
		return p.of(set(nil).not()), nil
	case 'A', 'z':
		p.at += 2
		return p.assertion([]string{`\` + string(r)}), nil
	case 'Z':
		p.at += 2
		return p.assertion([]string{`(?=`, `?\z)`}, single('\n')), nil
	case 'b':
		p.at += 2
		return p.assertion([]string{`(?:(?<=`, `)(?!`, `)|(?<!`, `)(?=`, `))`}, word(), word(), word(), word()), nil
	case 'B':
		p.at += 2
		return p.assertion([]string{`(?:(?<=`, `)(?=`, `)|(?<!`, `)(?!`, `))`}, word(), word(), word(), word()), nil
	}
	c, err := p.character()
	if err != nil {
		return nil, err
	}
	return p.literal(c)
}

// assertionLike is an assertion that takes characters, so that it may be repeated.
func (p *parser) assertionLike(text []string, sets ...set) *node {
	return &node{kind: group, open: "(?:", parts: []*node{p.assertion(text, sets...)}}
}

// characterType reads \w, \d, \s, \h, \p{...} and their opposites, if one of them
// comes next.
func (p *parser) characterType() (s set, ok bool, err error) {
	r := p.in[p.at+1]
	switch r {
	case 'w', 'd', 's', 'h':
		p.at += 2
		return types[r](), true, nil
	case 'W', 'D', 'S', 'H':
		p.at += 2
		return types[unicode.ToLower(r)]().not(), true, nil
	case 'p', 'P':
	default:
		return nil, false, nil
	}
	end := slices.Index(p.in[p.at:], '}')
	if p.at+2 >= len(p.in) || p.in[p.at+2] != '{' || end < 0 {
		return nil, false, unsupported(`\%c without braces`, r)
	}
	name, negated := strings.CutPrefix(string(p.in[p.at+3:p.at+end]), "^")
	if s, ok = property(name); !ok {
		return nil, false, unsupported("the property %q", name)
	}
	p.at += end + 1
	if negated != (r == 'P') {
		s = s.not()
	}
	return s, true, nil
}

// controls are the escapes that stand for one control character.
var controls = map[rune]rune{'t': '\t', 'n': '\n', 'r': '\r', 'f': '\f', 'v': '\v', 'a': '\a', 'e': 0x1B}

// character reads an escape that stands for one character; one stands behind the
// backslash.
func (p *parser) character() (rune, error) {
	r := p.in[p.at+1]
	if c, ok := controls[r]; ok {
		p.at += 2
		return c, nil
	}
	switch {
	case r == 'x' || r == 'u' || r == 'o' || r == '0':
		return p.codePoint(r)
	case r >= '1' && r <= '9' || r == 'k':
		return 0, unsupported(`the back reference \%c`, r)
	case r < unicode.MaxASCII && unicode.IsLetter(r):
		return 0, unsupported(`\%c`, r)
	}
	p.at += 2
	return r, nil
}

// codePoint reads \xHH, \x{H...}, \uHHHH, \o{O...} and \0OO.
func (p *parser) codePoint(r rune) (rune, error) {
	start, base, least, most := p.at, 16, 1, 2
	p.at += 2
	switch r {
	case 'u':
		least, most = 4, 4
	case 'o':
		base = 8
	case '0':
		base, least = 8, 0
	}
	braces := r != 'u' && r != '0' && p.skip("{")
	if braces {
		most = 8
	} else if r == 'o' {
		return 0, unsupported(`\o without braces`)
	}
	c, n := 0, 0
	for ; n < most && p.more(); n++ {
		d := strings.IndexRune("0123456789abcdef", unicode.ToLower(p.in[p.at]))
		if d < 0 || d >= base {
			break
		}
		c, p.at = c*base+d, p.at+1
	}
	switch {
	case n < least || braces && !p.skip("}"):
		return 0, unsupported("%q", string(p.in[start:min(p.at+1, len(p.in))]))
	case c > unicode.MaxRune || c >= 0xD800 && c < 0xE000:
		return 0, fmt.Errorf("%q is not a character", string(p.in[start:p.at]))
	case c > unicode.MaxASCII && !braces && r != 'u':
		return 0, unsupported("%q, a byte of a longer character,", string(p.in[start:p.at]))
	}
	return rune(c), nil
}

// form is how a class is written, on which the meaning of (?i) depends.
type form int

const (
	listed   form = iota // [...]: its characters are listed
	excluded             // [^...]: those that are not in it are listed
	composed             // made of other classes or of an intersection
)

// class reads a class after its opening bracket.
func (p *parser) class() (s set, f form, err error) {
	leave, err := p.deeper()
	if err != nil {
		return nil, 0, err
	}
	defer leave()
	if p.skip("^") {
		f = excluded
	}
	negated := f == excluded
	if p.next("]") {
		return nil, 0, unsupported("a class that begins with ]")
	}
	var left set    // what stands before the last &&
	var parts []set // what stands after it
	intersected := false
	for {
		if !p.more() {
			return nil, 0, errors.New("a character class without an end")
		}
		if p.next("]") || p.next("&&") {
			if len(parts) == 0 {
				return nil, 0, unsupported("nothing on one side of && in a character class")
			}
			u := union(parts...)
			if intersected {
				u = intersect(left, u)
			}
			if p.skip("]") {
				if negated {
					u = u.not()
				}
				return u, f, nil
			}
			p.skip("&&")
			left, parts, intersected, f = u, nil, true, composed
			continue
		}
		if p.next("[") && !p.next("[:") {
			f = composed
		}
		part, err := p.classPart(len(parts) == 0)
		if err != nil {
			return nil, 0, err
		}
		parts = append(parts, part)
	}
}

// classPart reads a character, a range or a set inside a class.
func (p *parser) classPart(first bool) (set, error) {
	lo, s, isSet, err := p.classItem(first)
	if err != nil {
		return nil, err
	}
	ranged := p.next("-") && p.at+1 < len(p.in) && !p.next("-]") && !p.next("-&&")
	switch {
	case isSet && ranged:
		return nil, unsupported("a range that begins with a class")
	case isSet:
		return s, nil
	case !ranged:
		return single(lo), nil
	}
	p.at++
	hi, _, isSet, err := p.classItem(false)
	switch {
	case err != nil:
		return nil, err
	case isSet:
		return nil, unsupported("a range that ends with a class")
	case hi < lo:
		return nil, fmt.Errorf("the range %c-%c runs backwards", lo, hi)
	case p.next("-") && !p.next("-]"):
		return nil, unsupported("a range after a range")
	}
	return set{{lo, hi}}, nil
}

// classItem reads a character or a set.
func (p *parser) classItem(first bool) (r rune, s set, isSet bool, err error) {
	r = p.in[p.at]
	switch {
	case p.next("[:"):
		s, err = p.bracket()
		return 0, s, true, err
	case r == '[':
		p.at++
		s, _, err = p.class()
		return 0, s, true, err
	case r == '\\':
		if p.at+1 >= len(p.in) {
			return 0, nil, false, errors.New("a backslash at the end")
		}
		if s, ok, err := p.characterType(); ok || err != nil {
			// Inside a class \w and \p{Word} mean [:word:].
			if word := named("word"); slices.Equal(s, word) {
				s = brackets["word"]()
			} else if slices.Equal(s, word.not()) {
				s = brackets["word"]().not()
			}
			return 0, s, true, err
		}
		if p.skip(`\b`) {
			return '\b', nil, false, nil
		}
		r, err = p.character()
		return r, nil, false, err
	case r == '-' && !(first && !p.next("--") || p.next("-]") || p.next("-&&")):
		return 0, nil, false, unsupported("an unescaped - inside a character class")
	}
	p.at++
	return r, nil, false, nil
}

// bracket reads a POSIX bracket such as [:alpha:] or [:^alpha:].
func (p *parser) bracket() (set, error) {
	rest := string(p.in[p.at+2:])
	name, _, ok := strings.Cut(rest, ":]")
	bare, negated := strings.CutPrefix(name, "^")
	f, known := brackets[bare]
	if !ok || !known {
		return nil, unsupported("the bracket %.12q", "[:"+rest)
	}
	p.at += len([]rune(name)) + len("[::]")
	s := f()
	if negated {
		s = s.not()
	}
	return s, nil
}
