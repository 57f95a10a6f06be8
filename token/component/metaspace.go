package component

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"editpipe/token/piece"
)

// metaspace writes spaces as a visible character (U+2581) and cuts before it.
type metaspace struct {
	replacement string
	scheme      string // always, first or never
	cut         bool
}

func (s metaspace) split(out []piece.Piece, p *piece.Piece) ([]piece.Piece, error) {
	// The scheme "first" asks whether the piece begins the original text.
	begins := p.Begins()
	if err := p.Replace(piece.Literal(" "), s.replacement); err != nil {
		return nil, err
	}
	if s.scheme == "always" || s.scheme == "first" && begins {
		if !strings.HasPrefix(p.Text, s.replacement) {
			p.Prepend(s.replacement)
		}
	}
	if s.cut {
		return splitPiece(out, p, piece.Literal(s.replacement), mergedWithNext)
	}
	return append(out, *p), nil
}

// undo gives the text that a token stands for; first says that the token begins
// the text.
func (s metaspace) undo(token string, first bool) string {
	if first && s.scheme != "never" {
		return strings.ReplaceAll(token, s.replacement, "")
	}
	return strings.ReplaceAll(token, s.replacement, " ")
}

// parseMetaspace reads a component of type Metaspace, which is a pre-tokenizer and
// a decoder.
func parseMetaspace(data json.RawMessage) (metaspace, error) {
	c := struct {
		Replacement    string
		AddPrefixSpace *bool  `json:"add_prefix_space"`
		PrependScheme  string `json:"prepend_scheme"`
		Split          *bool
	}{PrependScheme: "always"}
	if err := json.Unmarshal(data, &c); err != nil {
		return metaspace{}, err
	}
	if c.AddPrefixSpace != nil && !*c.AddPrefixSpace {
		c.PrependScheme = "never"
	}
	if utf8.RuneCountInString(c.Replacement) != 1 {
		return metaspace{}, fmt.Errorf("replacement %q is not one character", c.Replacement)
	}
	switch c.PrependScheme {
	case "always", "first", "never":
	default:
		return metaspace{}, fmt.Errorf("prepend_scheme %q is not supported", c.PrependScheme)
	}
	return metaspace{c.Replacement, c.PrependScheme, c.Split == nil || *c.Split}, nil
}
