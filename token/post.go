package token

import (
	"encoding/json"
	"errors"
	"fmt"
	"unicode"
	"unicode/utf8"

	"editpipe/token/component"
)

// post is what a post-processor does to one sequence. The zero value does
// nothing.
type post struct {
	trims []trim
	// before and after are the template tokens around the text, in order.
	before, after []int64
}

// trim removes spaces from spans (ByteLevel and Roberta with trim_offsets).
type trim struct{ addPrefixSpace bool }

func parsePost(data json.RawMessage) (post, error) {
	var p post
	list, err := component.List(data)
	if err != nil {
		return p, err
	}
	for _, d := range list {
		if err := p.parse(d); err != nil {
			return p, err
		}
	}
	return p, nil
}

func (p *post) parse(data json.RawMessage) error {
	var c struct {
		Type           string
		TrimOffsets    *bool `json:"trim_offsets"`
		AddPrefixSpace *bool `json:"add_prefix_space"`
		Sep, Cls       [2]any
		Single         []struct {
			SpecialToken *struct{ ID string }
			Sequence     *struct{ ID string }
		}
		SpecialTokens map[string]struct{ IDs []int64 } `json:"special_tokens"`
	}
	if err := json.Unmarshal(data, &c); err != nil {
		return err
	}
	yes := func(b *bool) bool { return b == nil || *b }
	switch c.Type {
	case "ByteLevel":
		if yes(c.TrimOffsets) {
			p.trims = append(p.trims, trim{yes(c.AddPrefixSpace)})
		}
		return nil
	case "RobertaProcessing", "BertProcessing":
		if c.Type == "RobertaProcessing" && yes(c.TrimOffsets) {
			p.trims = append(p.trims, trim{yes(c.AddPrefixSpace)})
		}
		cls, ok := c.Cls[1].(float64)
		sep, ok2 := c.Sep[1].(float64)
		if !ok || !ok2 {
			return fmt.Errorf("type %s: cls and sep must be [token, id]", c.Type)
		}
		p.wrap([]int64{int64(cls)}, []int64{int64(sep)})
		return nil
	case "TemplateProcessing":
		var before, after []int64
		seen := false
		for _, s := range c.Single {
			switch {
			case s.Sequence != nil && s.Sequence.ID == "A" && !seen:
				seen = true
			case s.SpecialToken != nil:
				t, ok := c.SpecialTokens[s.SpecialToken.ID]
				if !ok {
					return fmt.Errorf("type %s: special token %q is not defined", c.Type, s.SpecialToken.ID)
				}
				if seen {
					after = append(after, t.IDs...)
				} else {
					before = append(before, t.IDs...)
				}
			default:
				return fmt.Errorf("type %s: the template for one text must hold sequence A once and special tokens", c.Type)
			}
		}
		if !seen {
			return fmt.Errorf("type %s: %w", c.Type, errors.New("the template for one text has no sequence A"))
		}
		p.wrap(before, after)
		return nil
	}
	return component.Unsupported(c.Type)
}

// wrap puts tokens around what is there already.
func (p *post) wrap(before, after []int64) {
	p.before = append(before, p.before...)
	p.after = append(p.after, after...)
}

// trim removes leading and trailing spaces from the span s of a token, as
// process_offsets of the official byte_level.rs does: it counts the spaces of the
// token and moves the ends of the span by so many characters of the original.
func (t trim) trim(token string, s Span, first bool, original string) Span {
	leading, trailing := 0, 0
	for _, r := range token {
		if !blank(r) {
			break
		}
		leading++
	}
	for rest := token; rest != ""; trailing++ {
		r, n := utf8.DecodeLastRuneInString(rest)
		if !blank(r) {
			break
		}
		rest = rest[:len(rest)-n]
	}
	if leading == 1 && t.addPrefixSpace && (first || s.Start == 0) {
		leading = 0 // the space was added, it is not in the span
	}
	for ; leading > 0 && s.Start < s.End; leading-- {
		_, n := utf8.DecodeRuneInString(original[s.Start:])
		s.Start = min(s.Start+n, s.End)
	}
	for ; trailing > 0 && s.Start < s.End; trailing-- {
		_, n := utf8.DecodeLastRuneInString(original[:s.End])
		s.End = max(s.End-n, s.Start)
	}
	return s
}

func blank(r rune) bool { return r == 'Ġ' || unicode.IsSpace(r) }
