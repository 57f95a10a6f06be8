package run

import (
	"encoding/binary"
	"slices"

	"editpipe/models"
	"editpipe/models/patch"
)

// Sequence is a prompt with a target behind it, as token ids. It ends nowhere but
// at its own end: what is asked without a target has none.
type Sequence struct {
	Encoder []int64 // what the encoder reads; nil for decoder-only models
	Prompt  []int64 // what the decoder reads before the target; not empty
	Target  []int64
	Ends    bool // the last id of Target is the end token behind it, see Gold
}

// Gold is the target without the end token behind it, which is scored but does not
// belong to it.
func (s Sequence) Gold() []int64 {
	if s.Ends {
		return s.Target[:len(s.Target)-1]
	}
	return s.Target
}

// Fed is the number of decoder positions that the model has to compute: the last
// target token predicts nothing that is asked.
func (s Sequence) Fed() int { return len(s.Prompt) + max(len(s.Target)-1, 0) }

// key identifies a sequence.
func (s Sequence) key() string {
	ends := uint64(0)
	if s.Ends {
		ends = 1
	}
	b := binary.AppendUvarint(nil, uint64(len(s.Prompt))<<1|ends)
	b = binary.AppendUvarint(b, uint64(len(s.Encoder)))
	for _, id := range slices.Concat(s.Encoder, s.Prompt, s.Target) {
		b = binary.AppendUvarint(b, uint64(id))
	}
	return string(b)
}

// Question is a sequence asked through a patch; rows that agree in both share it.
type Question struct {
	Sequence
	Patch  *patch.Patch // nil if nothing is applied to the graph
	Shares []*Question  // they read this one's run, see Share

	fed []int64
}

// Tokens are the ids that the decoder is fed.
func (q *Question) Tokens() []int64 {
	if len(q.Target) < 2 {
		return q.Prompt
	}
	if q.fed == nil {
		q.fed = slices.Concat(q.Prompt, q.Target[:len(q.Target)-1])
	}
	return q.fed
}

// All lists the question and those that share its run.
func (q *Question) All() []*Question { return append([]*Question{q}, q.Shares...) }

// Positions lists the positions of the question's run whose logits it needs, or
// one that shares the run, in order. Those of one question follow each other.
func (q *Question) Positions() []int {
	var at []int
	for _, k := range q.All() {
		for t := len(k.Prompt) - 1; t < k.Fed(); t++ {
			at = append(at, t)
		}
	}
	slices.Sort(at)
	return slices.Compact(at)
}

// Share makes every question whose fed tokens another one's begin with share the
// run of that one, and returns the others in their order. Targets of one token,
// which are not fed, all share the run of their prompt.
func Share(questions []*Question) []*Question {
	type group struct {
		patch   *patch.Patch
		encoder string
	}
	groups := map[group][]*Question{}
	for _, q := range questions {
		g := group{q.Patch, Sequence{Encoder: q.Encoder}.key()}
		groups[g] = append(groups[g], q)
	}
	shared := map[*Question]bool{}
	for _, g := range groups {
		// After a sequence stand, first of all, those that begin with it.
		slices.SortStableFunc(g, func(a, b *Question) int { return slices.Compare(a.Tokens(), b.Tokens()) })
		var longer *Question
		for _, q := range slices.Backward(g) {
			if longer != nil && q.Fed() <= longer.Fed() && slices.Equal(q.Tokens(), longer.Tokens()[:q.Fed()]) {
				longer.Shares, shared[q] = append(longer.Shares, q), true
			} else {
				longer = q
			}
		}
	}
	return slices.DeleteFunc(slices.Clone(questions), func(q *Question) bool { return shared[q] })
}

// Intake files what is asked, each sequence under a patch once.
type Intake struct {
	Questions []*Question // in order of first use

	lm       *models.LM
	index    map[*patch.Patch]map[string]*Question
	accepted map[*patch.Patch]error
}

// NewIntake is an empty intake for a model.
func NewIntake(lm *models.LM) *Intake {
	return &Intake{lm: lm, index: map[*patch.Patch]map[string]*Question{}, accepted: map[*patch.Patch]error{}}
}

// Admit checks a patch against the model, once, and returns nil for one that
// changes nothing.
func (in *Intake) Admit(p *patch.Patch) (*patch.Patch, error) {
	if p.Binding() == patch.BindNone {
		return nil, nil
	}
	if _, known := in.accepted[p]; !known {
		in.accepted[p] = in.lm.Accepts(p)
	}
	return p, in.accepted[p]
}

// File returns the question of a sequence under a patch, a new one if there is
// none.
func (in *Intake) File(p *patch.Patch, s Sequence) *Question {
	if in.index[p] == nil {
		in.index[p] = map[string]*Question{}
	}
	k := s.key()
	if in.index[p][k] == nil {
		in.index[p][k] = &Question{Sequence: s, Patch: p}
		in.Questions = append(in.Questions, in.index[p][k])
	}
	return in.index[p][k]
}
