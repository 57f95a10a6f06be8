// Package subword defines the models that turn a piece of text into ids of a
// vocabulary of words and parts of words: byte-pair encoding, the unigram
// language model and WordPiece. A model never cuts a text at spaces or added
// tokens; the pieces it is given have been cut there already.
package subword

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"unicode/utf8"

	"editpipe/token/bytelevel"
)

// MaxID is the largest token id: ids are stored in 32 bits inside a model.
const MaxID = 1<<31 - 1

// Unit is one token of a piece: its id and its byte range in the piece's text.
type Unit struct {
	ID         int64
	Start, End int
}

// BPE is byte-pair encoding (Sennrich et al. 2016) as the official
// implementation applies it: always the pair of lowest rank first, the leftmost
// one of equals. It may be used by several goroutines at once.
type BPE struct {
	vocab        map[string]int64
	merges       map[pair]merge
	prefix       string // before every character but the first of a word
	suffix       string // after the last character of a word
	unk          int64  // -1 when there is none: unknown characters are dropped
	fuseUnk      bool
	byteFallback [256]int64 // ids of <0x00> to <0xFF>; used when fallback is set
	fallback     bool
	ignoreMerges bool

	// raw makes the model read bytes instead of the printable characters that
	// stand for them. bytes has the id of each byte; whole has the vocabulary by
	// bytes and is filled when ignoreMerges is set.
	raw   bool
	bytes [256]int64
	whole map[string]int64

	scratch sync.Pool // of *bpeScratch
}

type pair struct{ left, right int32 }

type merge struct{ rank, id int32 }

// symbol is one link of the chain of symbols that a word is at any moment.
type symbol struct {
	id         int32
	prev, next int32
	start, end int32
}

type bpeScratch struct {
	symbols []symbol
	heap    []uint64 // rank<<32 | position: a min-heap
}

type bpeConfig struct {
	Dropout                 *float64
	UnkToken                *string `json:"unk_token"`
	ContinuingSubwordPrefix string  `json:"continuing_subword_prefix"`
	EndOfWordSuffix         string  `json:"end_of_word_suffix"`
	FuseUnk                 bool    `json:"fuse_unk"`
	ByteFallback            bool    `json:"byte_fallback"`
	IgnoreMerges            bool    `json:"ignore_merges"`
	Vocab                   map[string]int64
	Merges                  []mergePair
}

// mergePair reads both forms of a merge: "a b" and ["a", "b"].
type mergePair struct{ left, right string }

func (m *mergePair) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '[' {
		var parts []string
		if err := json.Unmarshal(data, &parts); err != nil {
			return err
		}
		if len(parts) != 2 {
			return fmt.Errorf("merge %s does not have two parts", data)
		}
		m.left, m.right = parts[0], parts[1]
		return nil
	}
	var s string
	if err := json.Unmarshal(data, &s); err != nil {
		return err
	}
	if strings.HasPrefix(s, "#version") {
		return nil
	}
	left, right, ok := strings.Cut(s, " ")
	if !ok || strings.Contains(right, " ") {
		return fmt.Errorf("merge %q does not have two parts", s)
	}
	m.left, m.right = left, right
	return nil
}

// NewBPE reads a model of type BPE. The vocabulary is the model's own: it must not
// be changed.
func NewBPE(data json.RawMessage) (m *BPE, vocab map[string]int64, err error) {
	var c bpeConfig
	if err := json.Unmarshal(data, &c); err != nil {
		return nil, nil, err
	}
	if c.Dropout != nil && *c.Dropout != 0 {
		return nil, nil, errors.New("dropout is not supported: ids would be random")
	}
	m = &BPE{
		vocab: c.Vocab, merges: make(map[pair]merge, len(c.Merges)),
		prefix: c.ContinuingSubwordPrefix, suffix: c.EndOfWordSuffix,
		unk: -1, fuseUnk: c.FuseUnk, fallback: c.ByteFallback, ignoreMerges: c.IgnoreMerges,
	}
	for t, id := range m.vocab {
		if id < 0 || id > MaxID {
			return nil, nil, fmt.Errorf("vocab: token %q has id %d", t, id)
		}
	}
	if c.UnkToken != nil {
		id, ok := m.vocab[*c.UnkToken]
		if !ok {
			return nil, nil, fmt.Errorf("unk_token %q is not in vocab", *c.UnkToken)
		}
		m.unk = id
	}
	for b := range m.byteFallback {
		id, ok := m.vocab[fmt.Sprintf("<0x%02X>", b)]
		if !ok {
			id = -1
		}
		m.byteFallback[b] = id
	}
	for i, p := range c.Merges {
		if p.left == "" && p.right == "" {
			continue // the version line
		}
		left, ok := m.vocab[p.left]
		right, ok2 := m.vocab[p.right]
		joined, ok3 := m.vocab[p.left+strings.TrimPrefix(p.right, m.prefix)]
		if !ok || !ok2 || !ok3 {
			return nil, nil, fmt.Errorf("merge %d (%q, %q): not all of its tokens are in vocab", i, p.left, p.right)
		}
		m.merges[pair{int32(left), int32(right)}] = merge{int32(i), int32(joined)}
	}
	return m, m.vocab, nil
}

// ReadBytes makes the model read bytes, if it has a token for every byte and
// nothing else that depends on the printable form. It reports whether it does.
func (m *BPE) ReadBytes() bool {
	if m.prefix != "" || m.suffix != "" || m.fallback {
		return false
	}
	for b := range m.bytes {
		id, ok := m.vocab[string(bytelevel.Rune(byte(b)))]
		if !ok {
			return false
		}
		m.bytes[b] = id
	}
	if m.ignoreMerges {
		m.whole = make(map[string]int64, len(m.vocab))
		for t, id := range m.vocab {
			if b, ok := bytelevel.Bytes(t); ok {
				m.whole[string(b)] = id
			}
		}
	}
	m.raw = true
	return true
}

// Tokenize appends the tokens of text to out. It cannot fail; the error makes it
// interchangeable with [Unigram.Tokenize].
func (m *BPE) Tokenize(out []Unit, text string) ([]Unit, error) {
	if m.ignoreMerges {
		all := m.vocab
		if m.raw {
			all = m.whole
		}
		if id, ok := all[text]; ok {
			return append(out, Unit{id, 0, len(text)}), nil
		}
	}
	s, _ := m.scratch.Get().(*bpeScratch)
	if s == nil {
		s = new(bpeScratch)
	}
	defer m.scratch.Put(s)
	s.symbols, s.heap = s.symbols[:0], s.heap[:0]
	if m.raw {
		for i := range len(text) {
			s.add(m.bytes[text[i]], i, i+1)
		}
	} else {
		m.characters(s, text)
	}
	m.mergeAll(s)
	if len(s.symbols) == 0 {
		return out, nil
	}
	for i := int32(0); i >= 0; i = s.symbols[i].next {
		y := &s.symbols[i]
		out = append(out, Unit{int64(y.id), int(y.start), int(y.end)})
	}
	return out, nil
}

// add appends a symbol to the chain.
func (s *bpeScratch) add(id int64, start, end int) {
	n := int32(len(s.symbols))
	if n > 0 {
		s.symbols[n-1].next = n
	}
	s.symbols = append(s.symbols, symbol{int32(id), n - 1, -1, int32(start), int32(end)})
}

// characters fills the chain with the characters of text, falling back to bytes
// or the unknown token where the vocabulary lacks one.
func (m *BPE) characters(s *bpeScratch, text string) {
	fused := false // whether the last symbol is an unknown that may grow
	for i := 0; i < len(text); {
		_, n := utf8.DecodeRuneInString(text[i:])
		c := text[i : i+n]
		if i > 0 && m.prefix != "" {
			c = m.prefix + c
		}
		if i+n == len(text) && m.suffix != "" {
			c += m.suffix
		}
		if id, ok := m.vocab[c]; ok {
			s.add(id, i, i+n)
			fused = false
		} else if m.fallback && m.hasBytes(c) {
			for j := range n {
				s.add(m.byteFallback[text[i+j]], i+j, i+j+1)
			}
			fused = false
		} else if m.unk >= 0 {
			if fused && m.fuseUnk {
				s.symbols[len(s.symbols)-1].end = int32(i + n)
			} else {
				s.add(m.unk, i, i+n)
			}
			fused = true
		}
		i += n
	}
}

func (m *BPE) hasBytes(c string) bool {
	for i := range len(c) {
		if m.byteFallback[c[i]] < 0 {
			return false
		}
	}
	return true
}

// mergeAll merges pairs until none is left to merge. A heap entry names a rank
// and the position of the left symbol; ranks are unique to a pair, so an entry
// is out of date exactly when the pair at its position has another rank.
func (m *BPE) mergeAll(s *bpeScratch) {
	for i := 0; i+1 < len(s.symbols); i++ {
		m.push(s, int32(i))
	}
	for len(s.heap) > 0 {
		top := s.pop()
		at, rank := int32(uint32(top)), int32(top>>32)
		left := &s.symbols[at]
		if left.id < 0 || left.next < 0 {
			continue
		}
		right := &s.symbols[left.next]
		x, ok := m.merges[pair{left.id, right.id}]
		if !ok || x.rank != rank {
			continue
		}
		left.id, left.end, left.next = x.id, right.end, right.next
		right.id = -1
		if left.next >= 0 {
			s.symbols[left.next].prev = at
			m.push(s, at)
		}
		if left.prev >= 0 {
			m.push(s, left.prev)
		}
	}
}

// push puts the pair that begins at symbol i on the heap, if it can be merged.
func (m *BPE) push(s *bpeScratch, i int32) {
	x, ok := m.merges[pair{s.symbols[i].id, s.symbols[s.symbols[i].next].id}]
	if !ok {
		return
	}
	s.heap = append(s.heap, uint64(x.rank)<<32|uint64(i))
	for c := len(s.heap) - 1; c > 0; {
		p := (c - 1) / 2
		if s.heap[p] <= s.heap[c] {
			break
		}
		s.heap[p], s.heap[c] = s.heap[c], s.heap[p]
		c = p
	}
}

// pop takes the least entry off the heap.
func (s *bpeScratch) pop() uint64 {
	top, n := s.heap[0], len(s.heap)-1
	s.heap[0] = s.heap[n]
	s.heap = s.heap[:n]
	for p := 0; ; {
		c := 2*p + 1
		if c >= n {
			break
		}
		if c+1 < n && s.heap[c+1] < s.heap[c] {
			c++
		}
		if s.heap[p] <= s.heap[c] {
			break
		}
		s.heap[p], s.heap[c] = s.heap[c], s.heap[p]
		p = c
	}
	return top
}
