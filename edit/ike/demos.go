package ike

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"editpipe/dataset"
)

// Shares of the kinds among the demonstrations of the paper: 4, 12 and 16 of 32.
const (
	copyShare   = 1
	updateShare = 3
	retainShare = 4
)

type kind uint8

const (
	copyKind kind = iota
	updateKind
	retainKind
	kinds
)

// source is a training record from which demonstrations are drawn.
type source struct {
	id, subject, relation, target string
	texts                         [kinds][]string // whole demonstrations; a kind may have none
}

func fact(e dataset.Edit) string { return e.Prompt + " " + e.Target }

func demo(fact, prompt, answer string) string {
	return "New Fact: " + fact + "\nPrompt: " + prompt + " " + answer + "\n\n"
}

// readPool reads the demonstrations that the records afford.
func readPool(shown dataset.Source) ([]source, error) {
	var pool []source
	if shown != nil {
		for r, err := range shown.Records() {
			if err != nil {
				return nil, fmt.Errorf("reading demonstrations: %w", err)
			}
			pool = append(pool, newSource(r))
		}
	}
	if len(pool) == 0 {
		return nil, errors.New("no records to draw demonstrations from: give a data set that has some, " +
			"or use method ice, which needs none")
	}
	return pool, nil
}

func newSource(r dataset.Record) source {
	e := r.Edit
	s := source{id: string(e.ID), subject: fold(e.Subject), relation: relation(e), target: fold(e.Target)}
	s.texts[copyKind] = []string{demo(fact(e), e.Prompt, e.Target)}
	var far []string
	for _, p := range r.Probes {
		switch {
		case p.Axis == dataset.AxisGeneralization:
			s.texts[updateKind] = append(s.texts[updateKind], demo(fact(e), trimJunk(p.Prompt, e.Subject), e.Target))
		case p.Axis.Family() != dataset.Locality || len(p.Answers) == 0 || len(p.Choices) > 0 || p.Distractor != "":
			// nothing to show: an answer the edit changes, or none, or a question of another form
		case p.Axis == dataset.AxisNeighbourhood:
			s.texts[retainKind] = append(s.texts[retainKind], demo(fact(e), p.Prompt, p.Answers[0]))
		default:
			far = append(far, demo(fact(e), p.Prompt, p.Answers[0]))
		}
	}
	if s.texts[retainKind] == nil {
		s.texts[retainKind] = far
	}
	return s
}

// trimJunk drops what precedes the sentence with the subject: CounterFact's
// paraphrases begin with unrelated sentences, which the authors of IKE cut in
// the same way (clean_paraphrase).
func trimJunk(text, subject string) string {
	at := strings.Index(text, subject)
	if subject == "" || at < 0 {
		return text
	}
	if cut := strings.LastIndexAny(text[:at], ".\n"); cut >= 0 {
		text = strings.TrimSpace(text[cut+1:])
		at = strings.Index(text, subject)
	}
	if strings.Contains(text[:at], "Category") { // left over from a wiki page
		text = text[at:]
	}
	return text
}

// demonstrations chooses the demonstrations for an edit, in the order in which
// they are shown: where some must go for length, the first go first.
func (ed *editor) demonstrations(e dataset.Edit) []string {
	rng := rand.New(rand.NewChaCha8(digest(ed.seed, string(e.ID))))
	ranked := ed.rank(e)
	var demos []string
	if ed.mode == EasyEdit {
		for _, s := range ranked {
			for _, texts := range s.texts {
				if len(texts) > 0 && len(demos) < ed.k {
					demos = append(demos, texts[0])
				}
			}
		}
		return demos
	}
	order := quota(ed.k)
	rng.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	for _, want := range order {
		// The best-ranked record left that affords the kind.
		i := slices.IndexFunc(ranked, func(s source) bool { return len(s.texts[want]) > 0 })
		if i < 0 {
			continue
		}
		texts := ranked[i].texts[want]
		demos = append(demos, texts[rng.IntN(len(texts))])
		ranked = slices.Delete(ranked, i, i+1)
	}
	slices.Reverse(demos) // the best-ranked stands last, next to the question
	return demos
}

// quota gives the kinds of k demonstrations in the shares of the paper; what
// does not divide goes to retain, then update.
func quota(k int) []kind {
	const all = copyShare + updateShare + retainShare
	n := [kinds]int{copyKind: k * copyShare / all, updateKind: k * updateShare / all, retainKind: k * retainShare / all}
	for want := retainKind; n[copyKind]+n[updateKind]+n[retainKind] < k; want = updateKind {
		n[want]++
	}
	var order []kind
	for want := range kinds {
		for range n[want] {
			order = append(order, want)
		}
	}
	return order
}

// rank orders the records that may be shown for an edit, the most useful first.
//
// Without an encoder of sentences there is no similarity, so the order is a
// seeded one that depends on the edit and the record alone: other records in
// the pool do not change it. Records with the edit's subject, or with its
// relation and new object, are left out, as they would give the answer away.
func (ed *editor) rank(e dataset.Edit) []source {
	type scored struct {
		s   source
		key uint64
	}
	var list []scored
	subject, rel, target := fold(e.Subject), relation(e), fold(e.Target)
	for _, s := range ed.pool {
		if s.id == string(e.ID) || s.subject == subject && subject != "" || s.relation == rel && s.target == target {
			continue
		}
		d := digest(ed.seed, string(e.ID), s.id)
		list = append(list, scored{s, binary.LittleEndian.Uint64(d[:8])})
	}
	slices.SortFunc(list, func(a, b scored) int {
		return cmp.Or(cmp.Compare(a.key, b.key), cmp.Compare(a.s.id, b.s.id))
	})
	ranked := make([]source, len(list))
	for i := range list {
		ranked[i] = list[i].s
	}
	return ranked
}

func relation(e dataset.Edit) string { return cmp.Or(e.RelationID, fold(e.RelationLabel)) }

func fold(s string) string { return strings.ToLower(strings.TrimSpace(s)) }

// digest is a hash over a seed and strings; lengths are part of it, so that
// moving a boundary changes it.
func digest(seed int64, parts ...string) [32]byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(seed))
	for _, p := range parts {
		b = binary.LittleEndian.AppendUint64(b, uint64(len(p)))
		b = append(b, p...)
	}
	return sha256.Sum256(b)
}
