package audit

import (
	"slices"

	"editpipe/dataset"
	"editpipe/token"
)

// pieces are the ids of a name as it follows a prompt: behind a space, unless
// the tokenizer puts one there itself.
func (s *state) pieces(name string) ([]int64, error) {
	if !s.o.Tokenizer.AddsPrefixSpace() {
		name = " " + name
	}
	e, err := s.o.Tokenizer.Encode(name)
	return e.IDs, err
}

func firstTokenClash(s *state, r *dataset.Record) verdict {
	e := &r.Edit
	if blank(e.GroundTruth) || blank(e.Target) {
		return verdict{}
	}
	target, err := s.pieces(e.Target)
	truth, err2 := s.pieces(e.GroundTruth)
	if err != nil || err2 != nil || len(target) == 0 || len(truth) == 0 {
		return verdict{} // unencodable says so
	}
	if target[0] == truth[0] {
		text, _ := s.o.Tokenizer.Token(target[0])
		return found(e.Prompt, "%q and %q begin with token %q", e.Target, e.GroundTruth, text)
	}
	return clean()
}

func oneTokenTarget(s *state, r *dataset.Record) verdict {
	ids, err := s.pieces(r.Edit.Target)
	if err != nil || blank(r.Edit.Target) {
		return verdict{}
	}
	if len(ids) == 1 {
		return found(r.Edit.Prompt, "%q", r.Edit.Target)
	}
	return clean()
}

func unencodable(s *state, r *dataset.Record) verdict {
	e := &r.Edit
	if blank(e.Target) {
		return verdict{} // a finding of its own
	}
	ids, err := s.pieces(e.Target)
	if err != nil {
		return found(e.Prompt, "%q: %v", e.Target, err)
	}
	if len(ids) == 0 {
		return found(e.Prompt, "%q has no tokens", e.Target)
	}
	if unknown, ok := unknownID(s.o.Tokenizer); ok && slices.Contains(ids, unknown) {
		return found(e.Prompt, "%q has the unknown token", e.Target)
	}
	return clean()
}

// unknownID is the id of the unknown token. GPT-2 names its end of text as such,
// which no text gives.
func unknownID(t *token.Tokenizer) (int64, bool) {
	if id, ok := t.SpecialID("unk_token"); ok {
		return id, true
	}
	return t.ID("<unk>")
}
