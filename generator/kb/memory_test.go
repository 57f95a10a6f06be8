package kb

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
)

// TestMark compares the search by words with one byte by byte, over bytes that
// differ from the marks in one bit or by one.
func TestMark(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	alphabet := []byte{'"', '\\', '"' ^ 0x80, '\\' ^ 0x80, '"' - 1, '"' + 1, '\\' - 1, '\\' + 1, 0, 0xff, 'a', 'a', 'a', 'a'}
	for range 20_000 {
		b := make([]byte, rng.IntN(40))
		for i := range b {
			b[i] = alphabet[rng.IntN(len(alphabet))]
		}
		from := rng.IntN(len(b) + 1)
		want := bytes.IndexAny(b[from:], `"\`) + from
		if want < from {
			want = len(b)
		}
		// IndexAny reads runes; broken ones hide no ASCII.
		if got := mark(b, from); got != want {
			t.Fatalf("mark(%q, %d) is %d, want %d", b, from, got, want)
		}
	}
}

// value makes JSON of random nesting with quotes, backslashes and brackets in
// its strings.
func value(rng *rand.Rand, depth int) any {
	switch n := rng.IntN(4); {
	case depth > 0 && n == 0:
		list := []any{}
		for range rng.IntN(4) {
			list = append(list, value(rng, depth-1))
		}
		return list
	case depth > 0 && n == 1:
		object := map[string]any{}
		for i := range rng.IntN(4) {
			object[fmt.Sprint(i, `"]}`)] = value(rng, depth-1)
		}
		return object
	}
	parts, s := []string{`"`, `\`, "{", "]", "text that is longer than a word", "ü", "x"}, ""
	for range rng.IntN(5) {
		s += parts[rng.IntN(len(parts))]
	}
	return s
}

// TestSkip steps over whole values and over values that were cut short or have
// one bracket exchanged.
func TestSkip(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 1))
	deep := 0
	for range 500 {
		text, err := json.Marshal([]any{value(rng, 70)})
		if err != nil {
			t.Fatal(err)
		}
		s := scanner{b: text}
		if err := s.skip(); err != nil || s.i != len(text) {
			t.Fatalf("%s: stopped at byte %d, %v", text, s.i, err)
		}
		if short := (&scanner{b: text[:rng.IntN(len(text))]}); short.skip() == nil {
			t.Fatalf("%s reads as whole", short.b)
		}
		wrong := bytes.Clone(text)
		wrong[len(wrong)-1] = '}'
		if s := (&scanner{b: wrong}); s.skip() == nil {
			t.Fatalf("%s reads as whole", wrong)
		}
	}
	for depth := 1; depth <= maxDepth+1; depth++ { // lists and objects in turn, over the borders of the words of bits
		open, shut := "", ""
		for i := range depth {
			if i%3 == 0 {
				open, shut = open+"[", "]"+shut
			} else {
				open, shut = open+"{", "}"+shut
			}
		}
		whole := (&scanner{b: []byte(open + shut)}).skip() == nil
		if whole != (depth <= maxDepth) {
			t.Errorf("depth %d: read %v", depth, whole)
		}
		if whole {
			deep++
		}
		swapped := []byte(open + shut)
		swapped[depth] ^= '}' ^ ']'
		if (&scanner{b: swapped}).skip() == nil {
			t.Errorf("depth %d: a wrong bracket is read", depth)
		}
	}
	if deep != maxDepth {
		t.Errorf("%d depths were read, want %d", deep, maxDepth)
	}
}

// TestIndex compares the index with a map of lists.
func TestIndex(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 1))
	ids := make([]string, 300)
	for i := range ids {
		ids[i] = fmt.Sprintf("Q%d", i)
	}
	x, want := newIndex(ids), map[string][]string{}
	for i, id := range ids {
		for range 3 {
			text := fmt.Sprint(rng.IntN(rng.IntN(400) + 1))
			_, old := want[text]
			if isNew := x.add(text, i); isNew == old {
				t.Fatalf("%s is new: %v", text, isNew)
			}
			if list := want[text]; len(list) == 0 || list[len(list)-1] != id {
				want[text] = append(list, id)
			}
		}
	}
	alone := 0
	for text, list := range want {
		if got := x.of(text); !slices.Equal(got, list) || cap(got) < len(got) {
			t.Errorf("%s leads to %v, want %v", text, got, list)
		}
		if len(list) == 1 {
			alone++
		}
	}
	if x.of("absent") != nil || alone < 20 || len(want)-alone < 20 {
		t.Errorf("%d texts lead to one item, %d to several, one that was not added to %v", alone, len(want)-alone, x.of("absent"))
	}
}

// TestArena fills lists of many lengths and reads them afterwards.
func TestArena(t *testing.T) {
	var a arena[int]
	var lists [][]int
	for n := range 2*perChunk/100 + 3 {
		list := a.take(100 * (n % 50))
		for i := range cap(list) {
			list = append(list, n*1_000_000+i)
		}
		if len(list) != 100*(n%50) {
			t.Fatalf("room for %d, want %d", len(list), 100*(n%50))
		}
		lists = append(lists, list)
	}
	for n, list := range lists {
		for i, v := range list {
			if v != n*1_000_000+i {
				t.Fatalf("list %d was written over at %d", n, i)
			}
		}
	}
}

// TestClaims puts statements in and compares with a map of lists.
func TestClaims(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 1))
	var c, appended Claims
	want := map[string][]Statement{}
	for i := range 200 {
		st := Statement{Property: fmt.Sprintf("P%d", rng.IntN(12)), Value: Value{Text: fmt.Sprint(i)}}
		c.Add(st)
		appended = append(appended, st)
		want[st.Property] = append(want[st.Property], st)
	}
	if appended.sort(); !reflect.DeepEqual(c, appended) {
		t.Error("statements that are added one by one lie in another order than sorted ones")
	}
	got := map[string][]Statement{}
	for p, list := range c.ByProperty() {
		if got[p] != nil {
			t.Errorf("%s comes twice", p)
		}
		if got[p] = list; !reflect.DeepEqual(c.Of(p), list) {
			t.Errorf("Of(%s) differs from ByProperty", p)
		}
	}
	if !reflect.DeepEqual(got, want) || len(c.Of("P99")) != 0 || len(c.Of("")) != 0 {
		t.Errorf("got %v, want %v", got, want)
	}
}
