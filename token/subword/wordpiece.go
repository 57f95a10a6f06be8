package subword

import (
	"encoding/json"
	"fmt"
	"unicode/utf8"
)

// WordPiece is the model of BERT (Wu et al. 2016; Devlin et al. 2019,
// tokenization.py): the longest token that begins a word, then the longest that
// continues it. A word that cannot be spelt so is one unknown token.
type WordPiece struct {
	vocab    map[string]int64
	prefix   string // before every token but the first of a word
	unk      int64
	maxChars int // a word of more characters is unknown
}

// NewWordPiece reads a model of type WordPiece. The vocabulary is the model's own:
// it must not be changed.
func NewWordPiece(data json.RawMessage) (m *WordPiece, vocab map[string]int64, err error) {
	c := struct {
		UnkToken string `json:"unk_token"`
		Prefix   string `json:"continuing_subword_prefix"`
		MaxChars int    `json:"max_input_chars_per_word"`
		Vocab    map[string]int64
	}{UnkToken: "[UNK]", Prefix: "##", MaxChars: 100}
	if err := json.Unmarshal(data, &c); err != nil {
		return nil, nil, err
	}
	for t, id := range c.Vocab {
		if id < 0 || id > MaxID {
			return nil, nil, fmt.Errorf("vocab: token %q has id %d", t, id)
		}
	}
	unk, ok := c.Vocab[c.UnkToken]
	if !ok {
		return nil, nil, fmt.Errorf("unk_token %q is not in vocab", c.UnkToken)
	}
	return &WordPiece{c.Vocab, c.Prefix, unk, c.MaxChars}, c.Vocab, nil
}

// Tokenize appends the tokens of the word text to out. It cannot fail; the error
// makes it interchangeable with [Unigram.Tokenize].
func (m *WordPiece) Tokenize(out []Unit, text string) ([]Unit, error) {
	first := len(out)
	unknown := func() ([]Unit, error) { return append(out[:first], Unit{m.unk, 0, len(text)}), nil }
	if utf8.RuneCountInString(text) > m.maxChars {
		return unknown()
	}
	for start := 0; start < len(text); {
		prefix := m.prefix
		if start == 0 {
			prefix = ""
		}
		end := len(text)
		for ; end > start; end-- {
			if end < len(text) && !utf8.RuneStart(text[end]) {
				continue
			}
			if id, ok := m.vocab[prefix+text[start:end]]; ok {
				out = append(out, Unit{id, start, end})
				break
			}
		}
		if end == start {
			return unknown()
		}
		start = end
	}
	return out, nil
}
