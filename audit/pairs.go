package audit

import (
	"hash/fnv"
	"slices"
	"strings"

	"editpipe/dataset"
	"editpipe/generator/kb"
)

// state is what the checks know beside the record at hand: indexes over all
// edits, filled before any check runs, and over the probes seen so far. They
// hold numbers of edits and hashes, no texts.
type state struct {
	o Options

	ids      []dataset.EditID  // of the edits, by number
	byFact   map[uint64]change // subject and relation id
	byPrompt map[uint64]change // normalised prompt
	subjects map[uint64]int32  // normalised subject -> first edit
	bearers  map[uint64]bearer // normalised name of a subject
	asked    map[uint64]question

	number int32 // of the record at hand
}

// change is the first edit of a fact.
type change struct {
	edit   int32
	target uint64
	group  uint64 // conflict group, 0 for none
}

// bearer says whose name it is: the first edit with it, and the first edit of
// another subject with it, or -1.
type bearer struct {
	subject      uint64
	edit, second int32
}

// question is the first probe with a prompt.
type question struct {
	edit   int32
	answer uint64
}

func newState(o Options) *state {
	return &state{o: o, byFact: map[uint64]change{}, byPrompt: map[uint64]change{}, subjects: map[uint64]int32{},
		bearers: map[uint64]bearer{}, asked: map[uint64]question{}}
}

// key hashes texts so that different lists of texts give different keys.
func key(parts ...string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(strings.Join(parts, "\x00")))
	return h.Sum64()
}

func normalKey(text string) uint64 { return key(kb.Normalise(text)) }

// factKey names the fact an edit changes; ok is false where it has no ids.
func factKey(subjectID, relationID string) (k uint64, ok bool) {
	return key(subjectID, relationID), subjectID != "" && relationID != ""
}

// groupKey names an edit's conflict group; 0 where it is in none.
func groupKey(e *dataset.Edit) uint64 {
	if e.ConflictGroup == "" {
		return 0
	}
	return key(e.ConflictGroup)
}

// subjectKey tells subjects apart: by id where there is one.
func subjectKey(e *dataset.Edit) uint64 {
	if e.SubjectID != "" {
		return key("id", e.SubjectID)
	}
	return normalKey(e.Subject)
}

// keep puts a value into an index unless it has one: the first one counts.
func keep[V any](index map[uint64]V, k uint64, v V) {
	if _, there := index[k]; !there {
		index[k] = v
	}
}

// index takes up an edit, in the order of the records.
func (s *state) index(r *dataset.Record) {
	e := &r.Edit
	c := change{s.number, normalKey(e.Target), groupKey(e)}
	if k, ok := factKey(e.SubjectID, e.RelationID); ok {
		keep(s.byFact, k, c)
	}
	keep(s.byPrompt, normalKey(e.Prompt), c)
	subject := subjectKey(e)
	if !blank(e.Subject) {
		keep(s.subjects, subject, s.number)
	}
	for _, name := range subjectNames(e) {
		n := normalKey(name)
		switch b, there := s.bearers[n]; {
		case !there:
			s.bearers[n] = bearer{subject, s.number, -1}
		case b.second < 0 && b.subject != subject:
			b.second = s.number
			s.bearers[n] = b
		}
	}
	s.ids = append(s.ids, e.ID)
	s.number++
}

// otherBearer finds an edit of another subject that has this name.
func (s *state) otherBearer(name string, e *dataset.Edit) (dataset.EditID, bool) {
	b, ok := s.bearers[normalKey(name)]
	switch {
	case !ok:
		return "", false
	case b.subject != subjectKey(e):
		return s.ids[b.edit], true
	case b.second >= 0:
		return s.ids[b.second], true
	}
	return "", false
}

// earlier is the first edit of the same fact: by ids, else by the prompt.
func (s *state) earlier(e *dataset.Edit) change {
	if k, ok := factKey(e.SubjectID, e.RelationID); ok {
		return s.byFact[k]
	}
	return s.byPrompt[normalKey(e.Prompt)]
}

// onTop is true for an edit that the set declares to come on top of an earlier
// one of its fact, whose object it replaces.
func (s *state) onTop(e *dataset.Edit) bool {
	c, group := s.earlier(e), groupKey(e)
	return c.edit != s.number && group != 0 && c.group == group
}

func duplicateEdit(s *state, r *dataset.Record) verdict {
	if c := s.earlier(&r.Edit); c.edit != s.number && c.target == normalKey(r.Edit.Target) {
		return found(r.Edit.Prompt, "same fact and new object as %s", s.ids[c.edit])
	}
	return clean()
}

// conflictingEdit leaves alone what the set itself declares: edits of one
// conflict group are never made together, or on purpose one on top of the other.
func conflictingEdit(s *state, r *dataset.Record) verdict {
	if c := s.earlier(&r.Edit); c.edit != s.number && c.target != normalKey(r.Edit.Target) && !s.onTop(&r.Edit) {
		return found(r.Edit.Prompt, "%q, but %s gives the same fact another object", r.Edit.Target, s.ids[c.edit])
	}
	return clean()
}

func repeatedSubject(s *state, r *dataset.Record) verdict {
	if blank(r.Edit.Subject) {
		return verdict{}
	}
	if first := s.subjects[subjectKey(&r.Edit)]; first != s.number {
		return found(r.Edit.Prompt, "subject %q is also edited by %s", r.Edit.Subject, s.ids[first])
	}
	return clean()
}

// conflictWithEdit looks at the facts behind the probe where it names them, else
// for an edit whose prompt is the probe's.
func conflictWithEdit(s *state, _ *dataset.Record, p *dataset.Probe) verdict {
	for _, hop := range p.Hops {
		if k, ok := factKey(hop.SubjectID, hop.PropertyID); ok && !hop.Edited {
			if c, there := s.byFact[k]; there && c.edit != s.number {
				return found(p.Prompt, "needs %q, which %s changes", hop.Text, s.ids[c.edit])
			}
		}
	}
	if c, there := s.byPrompt[normalKey(proper(p))]; len(p.Hops) == 0 && there && c.edit != s.number &&
		!slices.ContainsFunc(p.Answers, func(a string) bool { return normalKey(a) == c.target }) {
		return found(p.Prompt, "%s edits this very prompt towards another answer", s.ids[c.edit])
	}
	return clean()
}

// askedBefore finds the first record that asks the probe's prompt; same says
// whether its first answer is right here, too.
func (s *state) askedBefore(p *dataset.Probe) (by dataset.EditID, same, ok bool) {
	q, there := s.asked[normalKey(p.Prompt)]
	if !there || q.edit == s.number || len(p.Answers) == 0 {
		return "", false, false
	}
	same = slices.ContainsFunc(answers(p), func(a string) bool { return normalKey(a) == q.answer })
	return s.ids[q.edit], same, true
}

// see takes up a probe after the checks have looked at it. Paraphrases ask what
// the edit asks, whose contradictions are found there.
func (s *state) see(p *dataset.Probe) {
	if len(p.Answers) == 0 || p.Axis == dataset.AxisReliability || p.Axis == dataset.AxisGeneralization || p.AnswerMode == dataset.Unchanged {
		return
	}
	keep(s.asked, normalKey(p.Prompt), question{s.number, normalKey(p.Answers[0])})
}

func conflictingProbe(s *state, _ *dataset.Record, p *dataset.Probe) verdict {
	if len(p.Answers) == 0 || p.AnswerMode == dataset.Unchanged {
		return verdict{}
	}
	if by, same, ok := s.askedBefore(p); ok && !same {
		return found(p.Prompt, "answer %q, but another one in %s", p.Answers[0], by)
	}
	return clean()
}

func repeatedProbe(s *state, _ *dataset.Record, p *dataset.Probe) verdict {
	if by, same, ok := s.askedBefore(p); ok && same {
		return found(p.Prompt, "also asked by %s", by)
	}
	return clean()
}

// first is the first answer in the form in which answers are compared.
func first(p *dataset.Probe) string {
	if len(p.Answers) == 0 {
		return ""
	}
	return kb.Normalise(p.Answers[0])
}

// twin finds an earlier probe of the record on the same axis, with the same
// first answer, that alike holds of.
func twin(r *dataset.Record, p *dataset.Probe, alike func(*dataset.Probe) bool) *dataset.Probe {
	for i := range r.Probes {
		q := &r.Probes[i]
		if q == p {
			return nil
		}
		if q.Axis == p.Axis && first(q) == first(p) && alike(q) {
			return q
		}
	}
	return nil
}

func duplicateProbe(_ *state, r *dataset.Record, p *dataset.Probe) verdict {
	if q := twin(r, p, func(q *dataset.Probe) bool { return q.Prompt == p.Prompt }); q != nil {
		return found(p.Prompt, "same prompt and answer as %s", q.ID)
	}
	return clean()
}

// nearWords is the share of words by which near duplicates may differ.
const nearWords = 0.2

// nearDuplicateProbe compares prompts about one subject word by word, in their
// normalised form. The words in front of a prompt proper are left out: several
// distractors before one question are meant.
func nearDuplicateProbe(_ *state, r *dataset.Record, p *dataset.Probe) verdict {
	words := strings.Fields(kb.Normalise(p.Prompt))
	q := twin(r, p, func(q *dataset.Probe) bool {
		if q.Prompt == p.Prompt || kb.Normalise(q.SubjectText) != kb.Normalise(p.SubjectText) || q.Distractor != p.Distractor {
			return false
		}
		others := strings.Fields(kb.Normalise(q.Prompt))
		longest := max(len(words), len(others))
		return float64(wordDistance(words, others)) <= nearWords*float64(longest)
	})
	if q != nil {
		return found(p.Prompt, "nearly %s: %q", q.ID, q.Prompt)
	}
	return clean()
}

// wordDistance is the number of words to insert, delete or replace to make one
// text of the other (Levenshtein's distance over words).
func wordDistance(a, b []string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range a {
		diagonal := row[0]
		row[0] = i + 1
		for j := range b {
			step := diagonal
			if a[i] != b[j] {
				step++
			}
			diagonal = row[j+1]
			row[j+1] = min(step, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

func rephraseIsPrompt(_ *state, r *dataset.Record, p *dataset.Probe) verdict {
	if kb.Normalise(p.Prompt) == kb.Normalise(r.Edit.Prompt) {
		return found(p.Prompt, "the edit prompt, but for case and punctuation")
	}
	return clean()
}
