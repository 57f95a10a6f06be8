package token

// Span is a half-open byte range [Start, End) in the original text.
// Template tokens (BOS, EOS) have the empty span [0, 0).
type Span struct{ Start, End int }

// Encoding is the result of encoding one text. The three slices have one entry
// per token.
//
// Spans follow the official implementation (whole characters, see
// tokenizers/src/tokenizer/normalizer.rs) with one refinement: a token that
// holds only some bytes of a character has exactly those bytes as its span,
// where the official one reports the whole character; and where a model drops a
// character that it has no token for, the spans after it stay true. Characters that a
// normaliser removes, such as combining marks that NFC composes away, may belong
// to no span, and a character that expands ("ﬁ" to "fi") gives the same span to
// each of its tokens.
type Encoding struct {
	IDs     []int64
	Spans   []Span
	Special []bool // a special token: put there by the template, or written out in the text
}

// add appends one token.
func (e *Encoding) add(id int64, s Span, special bool) {
	e.IDs = append(e.IDs, id)
	e.Spans = append(e.Spans, s)
	e.Special = append(e.Special, special)
}
