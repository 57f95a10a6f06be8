package generator

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"editpipe/dataset"
	"editpipe/generator/kb"
)

// Phraser words a question anew. An error ends the generation; a text that will
// not do is only refused.
type Phraser interface {
	Phrase(ctx context.Context, r PhraseRequest) (string, error)
}

// PhraseRequest is a question made from templates, with what its new wording
// must hold and must not.
type PhraseRequest struct {
	ID        string   `json:"id"`        // of the probe made from templates
	Axis      string   `json:"axis"`      // generalization or one_hop
	Facts     []string `json:"facts"`     // the chain behind the question, each "subject | relation | object"
	Text      string   `json:"text"`      // the question as the templates word it
	Subject   string   `json:"subject"`   // must stand in the answer, spelled like this
	Forbidden []string `json:"forbidden"` // answers and objects: none may stand in it
}

// maxPhrase bounds a wording, in runes; templates give some 150 at most.
const maxPhrase = 300

// phrase asks for another wording of a question that follows from the edit. The
// probe made from templates stays; the new one is kept apart from it.
func (g *generation) phrase(ctx context.Context, c *change, p *part, q dataset.Probe) {
	if g.o.Phraser == nil || g.err != nil || q.Format != dataset.Question || q.Axis != dataset.AxisGeneralization && q.Axis != dataset.AxisOneHop {
		return
	}
	r := PhraseRequest{ID: string(q.ID), Axis: string(q.Axis), Text: q.Prompt, Subject: q.SubjectText}
	for _, h := range q.Hops {
		r.Facts = append(r.Facts, h.Text)
	}
	for _, name := range slices.Concat(q.Answers, q.AnswersBefore, c.n.Names(), c.o.Names()) {
		if !slices.Contains(r.Forbidden, name) {
			r.Forbidden = append(r.Forbidden, name)
		}
	}
	text, err := g.o.Phraser.Phrase(ctx, r)
	if err != nil {
		g.err = fmt.Errorf("generator: phrasing probe %s: %w", q.ID, err)
		return
	}
	if why := r.refuse(text); why != "" {
		g.reject(string(c.ID), string(q.Axis), RejectPhrasing, why+": "+text)
		return
	}
	q.Variant, q.Prompt = "phrased", text
	q.SubjectStart = int32(strings.Index(text, q.SubjectText))
	q.SubjectEnd = q.SubjectStart + int32(len(q.SubjectText))
	q.Flags = append(slices.Clone(q.Flags), dataset.FlagApart)
	before := len(p.rejects)
	p.emit(c, q)
	if len(p.rejects) > before { // the edit has this prompt already
		last := p.rejects[before]
		g.reject(last.EditCandidate, last.Axis, last.Reason, last.Detail)
		return
	}
	made := &p.probes[len(p.probes)-1]
	made.Phrasing = "llm"
	g.handOut(*made)
}

// refuse says why a wording will not do, or "".
func (r PhraseRequest) refuse(text string) string {
	if text == "" {
		return "no text"
	}
	if utf8.RuneCountInString(text) > maxPhrase {
		return fmt.Sprintf("longer than %d letters", maxPhrase)
	}
	if text != strings.Join(strings.Fields(text), " ") {
		return "stray space or more than one line"
	}
	if strings.Count(text, r.Subject) != 1 || !kb.Mentions(text, r.Subject) {
		return "does not name the subject once"
	}
	if name := kb.Mentioned(text, r.Forbidden); name != "" {
		return "names " + name
	}
	// The subject may hold a full stop: St. Louis.
	rest, question := strings.CutSuffix(strings.Replace(text, r.Subject, "", 1), "?")
	if !question || strings.ContainsAny(rest, "?!") || strings.Contains(rest, ". ") {
		return "not one sentence that ends with a question mark"
	}
	return ""
}
