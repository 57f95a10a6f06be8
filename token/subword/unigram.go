package subword

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"unicode/utf8"
)

// Unigram is the unigram language model of Kudo (2018): the segmentation with
// the highest sum of token scores.
type Unigram struct {
	scores       []float64
	trie         trie
	unk          int64 // -1 when there is none
	unkScore     float64
	fallback     bool
	byteFallback [256]int64
}

// unkPenalty is how much worse than the worst token an unknown character scores
// (K_UNK_PENALTY of SentencePiece).
const unkPenalty = 10.0

// scored is one entry of a unigram vocabulary: ["token", score].
type scored struct {
	token string
	score float64
}

func (s *scored) UnmarshalJSON(data []byte) error {
	parts := [2]any{&s.token, &s.score}
	list := parts[:]
	if err := json.Unmarshal(data, &list); err != nil {
		return err
	}
	if len(list) != 2 {
		return fmt.Errorf("vocab entry %s is not [token, score]", data)
	}
	return nil
}

// NewUnigram reads a model of type Unigram.
func NewUnigram(data json.RawMessage) (m *Unigram, vocab map[string]int64, err error) {
	var c struct {
		UnkID        *int64 `json:"unk_id"`
		ByteFallback bool   `json:"byte_fallback"`
		Vocab        []scored
	}
	if err := json.Unmarshal(data, &c); err != nil {
		return nil, nil, err
	}
	m = &Unigram{unk: -1, fallback: c.ByteFallback, scores: make([]float64, len(c.Vocab))}
	vocab = make(map[string]int64, len(c.Vocab))
	worst := math.Inf(1)
	for i, v := range c.Vocab {
		vocab[v.token] = int64(i)
		m.scores[i] = v.score
		worst = min(worst, v.score)
	}
	m.unkScore = worst - unkPenalty
	m.trie = newTrie(vocab)
	if c.UnkID != nil {
		if *c.UnkID < 0 || *c.UnkID >= int64(len(c.Vocab)) {
			return nil, nil, fmt.Errorf("unk_id %d is outside vocab (%d tokens)", *c.UnkID, len(c.Vocab))
		}
		m.unk = *c.UnkID
	}
	for b := range m.byteFallback {
		id, ok := vocab[fmt.Sprintf("<0x%02X>", b)]
		if !ok {
			id = -1
			m.fallback = false
		}
		m.byteFallback[b] = id
	}
	return m, vocab, nil
}

// best is the best way to reach one byte position.
type best struct {
	id    int64
	score float64
	from  int // -1: not reached
}

var errNoUnk = errors.New("a character is not in the vocabulary and the model has no unk_id")

// Tokenize appends the tokens of text to out. It fails on a character outside the
// vocabulary when the model has no unknown token.
func (m *Unigram) Tokenize(out []Unit, text string) ([]Unit, error) {
	path := make([]best, len(text)+1)
	for i := range path[1:] {
		path[i+1].from = -1
	}
	reach := func(to, from int, id int64, score float64) {
		if p := &path[to]; p.from < 0 || score > p.score {
			*p = best{id, score, from}
		}
	}
	for at := 0; at < len(text); {
		_, n := utf8.DecodeRuneInString(text[at:])
		so, single := path[at].score, false
		node := int32(0)
		for i := at; i < len(text); i++ {
			if node = m.trie.child(node, text[i]); node < 0 {
				break
			}
			if id := m.trie.ids[node]; id >= 0 {
				reach(i+1, at, id, m.scores[id]+so)
				single = single || i+1 == at+n
			}
		}
		if !single {
			if m.unk < 0 {
				return nil, errNoUnk
			}
			reach(at+n, at, m.unk, m.unkScore+so)
		}
		at += n
	}
	first := len(out)
	for end := len(text); end > 0; {
		p := path[end]
		if k := len(out) - 1; p.id == m.unk && k >= first && out[k].ID == m.unk {
			out[k].Start = p.from // runs of unknown characters are one token
		} else {
			out = append(out, Unit{p.id, p.from, end})
		}
		end = p.from
	}
	for i, j := first, len(out)-1; i < j; i, j = i+1, j-1 {
		out[i], out[j] = out[j], out[i]
	}
	if m.fallback {
		return m.spell(out, first, text), nil
	}
	return out, nil
}

// spell writes unknown tokens as bytes. Every byte has the span of the whole
// run, as in the official implementation.
func (m *Unigram) spell(units []Unit, first int, text string) []Unit {
	out := units[:first:first]
	for _, u := range units[first:] {
		if u.ID != m.unk {
			out = append(out, u)
			continue
		}
		for i := u.Start; i < u.End; i++ {
			out = append(out, Unit{m.byteFallback[text[i]], u.Start, u.End})
		}
	}
	return out
}
