package pretrain

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"

	"editpipe/generator/catalogue"
	"editpipe/onnx"
	"editpipe/ort"
	"editpipe/tensor"
	"editpipe/token"
	"editpipe/train"
)

// Test is what a question tests.
type Test string

// The tests. Those of episodes put a new fact with a random object in front of
// the question, and use edits that no episode of the text could have shown: the
// subject is reserved (package world).
const (
	Trained    Test = "trained"     // a wording that was used with the subject
	Unseen     Test = "unseen"      // a wording that was used, but never with the subject
	Reserved   Test = "reserved"    // a wording that was never used
	Alias      Test = "alias"       // an alias of the subject, in a wording used with it
	Inverse    Test = "inverse"     // from the object's side; any of the subjects is right
	Hop        Test = "one_hop"     // a fact of another fact's object
	IceCopy    Test = "ice_edit"    // the new fact's own prompt
	IceReword  Test = "ice_reword"  // another wording of it
	IceAlias   Test = "ice_alias"   // an alias of its subject
	IceInverse Test = "ice_inverse" // from the new object's side
	IceHop     Test = "ice_one_hop" // a fact of the new object
	IceRetain  Test = "ice_retain"  // a question that it leaves alone
)

// Tests are all tests, in the order of reports.
func Tests() []Test {
	return []Test{Trained, Unseen, Reserved, Alias, Inverse, Hop, IceCopy, IceReword, IceAlias, IceInverse, IceHop, IceRetain}
}

// A Question is a prompt with the answers that are right.
type Question struct {
	Test     Test
	Relation string // property; of an episode, that of its new fact
	Form     catalogue.Form
	Prompt   string
	Answers  []string
}

// sizes of a measurement: questions of each test.
const (
	quick = 150
	Whole = 0 // every question of the facts, and wholeEpisodes of each test of episodes

	wholeEpisodes = 600
)

// Score is how many of some questions were answered right.
type Score struct {
	Right int `json:"right"`
	Of    int `json:"of"`
}

// Share is the share of right answers; 0 of none.
func (s Score) Share() float64 {
	if s.Of == 0 {
		return 0
	}
	return float64(s.Right) / float64(s.Of)
}

// Scores are scores by test, as "test", "test/relation" and "test//form".
type Scores map[string]Score

func (s Scores) add(q Question, right bool) {
	for _, key := range []string{string(q.Test), string(q.Test) + "/" + q.Relation, string(q.Test) + "//" + string(q.Form)} {
		x := s[key]
		x.Of++
		if right {
			x.Right++
		}
		s[key] = x
	}
}

// Questions are at most n questions of each test, drawn with a fixed seed; all
// there are for Whole.
func (f *Facts) Questions(n int) []Question {
	var out []Question
	for _, list := range [][]Question{f.known(Trained), f.known(Unseen), f.known(Reserved), f.known(Alias), f.inverses(), f.composites()} {
		if n != Whole && len(list) > n {
			r := rand.New(rand.NewPCG(uint64(len(list)), 0))
			r.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
			list = list[:n]
		}
		out = append(out, list...)
	}
	if n == Whole {
		n = wholeEpisodes
	}
	return append(out, f.tried(n)...)
}

func (f *Facts) known(test Test) []Question {
	var out []Question
	for i, x := range f.List {
		used, _ := f.Wordings(i)
		list := f.Unseen(i)
		names := []string{x.Subject.Label}
		switch test {
		case Trained:
			list = used
		case Reserved:
			list = wordings(x.Relation, true)
		case Alias:
			list, names = used, f.aliases[x.Subject.ID]
		}
		for _, t := range list {
			for _, name := range names {
				out = append(out, Question{test, x.Relation.ID, t.Form, put(t.Text, name), []string{x.Object}})
			}
		}
	}
	return out
}

func (f *Facts) inverses() []Question {
	var out []Question
	seen := map[string]bool{}
	for _, i := range f.inverse {
		x := f.List[i]
		for _, t := range inverses(x.Relation) {
			prompt := put(t.Text, x.Object)
			if !seen[prompt] {
				seen[prompt] = true
				out = append(out, Question{Inverse, x.Relation.ID, t.Form, prompt, f.subjects[[2]string{x.ObjectID, x.Relation.ID}]})
			}
		}
	}
	return out
}

func (f *Facts) composites() []Question {
	var out []Question
	for _, h := range f.hops {
		a, b := f.List[h.First], f.List[h.Second]
		r := rand.New(rand.NewPCG(uint64(h.First), uint64(h.Second)))
		out = append(out, Question{Hop, a.Relation.ID, catalogue.NounPhrase, through(r, a.Relation, b.Relation, a.Subject.Label), []string{b.Object}})
	}
	return out
}

// tried are n questions of each test of episodes.
func (f *Facts) tried(n int) []Question {
	var held []int
	for i, x := range f.List {
		if !x.Relation.ProbeOnly && x.Held {
			held = append(held, i)
		}
	}
	var out []Question
	for _, test := range []Test{IceCopy, IceReword, IceAlias, IceInverse, IceHop, IceRetain} {
		r := source(1, string(test))
		for made := 0; made < n; {
			i := pick(r, held)
			if q, ok := f.try(r, test, i); ok {
				out = append(out, q)
				made++
			}
		}
	}
	return out
}

// try draws a question of a test about an edit of fact i; false where that
// cannot be had.
func (f *Facts) try(r *rand.Rand, test Test, i int) (Question, bool) {
	x := f.List[i]
	all := wordings(x.Relation, false)
	o := f.other(r, f.Base.Entity(x.ObjectID))
	e := &edited{Fact: x, index: i, aliases: f.aliases[x.Subject.ID], wordings: all, stated: pick(r, all), object: o}
	if e.stated.Form != catalogue.Cloze || o == nil || o == x.Subject {
		return Question{}, false
	}
	stated, prompt := e.stated, e.prompt()
	q := Question{Test: test, Relation: x.Relation.ID, Form: stated.Form, Answers: []string{o.Label}}
	ask := ""
	t := pick(r, all)
	switch test {
	case IceCopy:
		ask = prompt
	case IceReword:
		if t.ID == stated.ID {
			return q, false
		}
		ask, q.Form = put(t.Text, x.Subject.Label), t.Form
	case IceAlias:
		if len(f.aliases[x.Subject.ID]) == 0 {
			return q, false
		}
		ask = put(stated.Text, pick(r, f.aliases[x.Subject.ID]))
	case IceInverse:
		if x.Relation.Inverse == nil {
			return q, false
		}
		t := pick(r, inverses(x.Relation))
		ask, q.Form, q.Answers = put(t.Text, o.Label), t.Form, []string{x.Subject.Label}
	case IceHop:
		if len(x.Relation.Follow) == 0 || x.ObjectID == "" {
			return q, false
		}
		p := pick(r, x.Relation.Follow)
		j, ok := f.at[[2]string{o.ID, p}]
		k, before := f.at[[2]string{x.ObjectID, p}]
		if !ok || before && f.List[k].Object == f.List[j].Object {
			return q, false
		}
		ask, q.Form, q.Answers = through(r, x.Relation, f.List[j].Relation, x.Subject.Label), catalogue.NounPhrase, []string{f.List[j].Object}
	case IceRetain:
		kind, retained, answer := f.retained(r, Second(), e, []*edited{e})
		if kind == "" {
			return q, false
		}
		ask, q.Answers = retained, []string{answer}
	}
	q.Prompt = "New Fact: " + prompt + " " + o.Label + "\nPrompt: " + ask
	return q, true
}

const outBest = "best"

// examRows is how many rows of questions are asked together.
const examRows = 20

// answers is the graph that says which token is most likely at every place.
func (s Size) answers(w train.Values) (*onnx.Model, error) {
	m, err := s.plain(true)
	if err != nil {
		return nil, err
	}
	if err := replace(m, w); err != nil {
		return nil, err
	}
	if err := blockAttention(m); err != nil {
		return nil, fmt.Errorf("pretrain: making the graph for measurements: %w", err)
	}
	b := m.Builder()
	best := b.Op("ArgMax", []string{"logits"}, onnx.AttrInt("axis", -1), onnx.AttrInt("keepdims", 0))
	m.Graph.Outputs = nil
	b.Output(best, outBest, onnx.Int64, []onnx.Dim{onnx.Symbolic("batch_size"), onnx.Symbolic("sequence_length")})
	return m, m.Check()
}

// replace gives a graph its weights.
func replace(m *onnx.Model, w train.Values) error {
	left := len(w)
	for i, t := range m.Graph.Initializers {
		if v := w[t.Name]; v != nil {
			m.Graph.Initializers[i] = onnx.NewTensor(t.Name, v)
			left--
		} else if strings.HasPrefix(t.Name, "transformer.") {
			return fmt.Errorf("pretrain: no value of weight %q", t.Name)
		}
	}
	if left != 0 {
		return fmt.Errorf("pretrain: %d weights are not in the graph", left)
	}
	return nil
}

// Measure asks up to n questions of each test (Whole: all) and counts an answer
// as right if every token of it is the most likely one.
func (t *Training) Measure(ctx context.Context, env *ort.Env, w train.Values, n, threads int) (Scores, error) {
	m, err := t.Plan.Size.answers(w)
	if err != nil {
		return nil, err
	}
	data, err := m.Bytes()
	if err != nil {
		return nil, fmt.Errorf("pretrain: %w", err)
	}
	s, err := env.NewSession(ctx, data, ort.Options{Threads: threads})
	if err != nil {
		return nil, fmt.Errorf("pretrain: opening the graph for measurements: %w", err)
	}
	defer s.Close()
	questions := t.Facts.Questions(n)
	right := make([]bool, len(questions))
	e := examiner{session: s, rows: newRows(examRows, shortRow, t.end), end: t.end}
	for i, q := range questions {
		for _, a := range q.Answers {
			x, from, err := answered(t.Tokenizer, q.Prompt, a)
			if err != nil {
				return nil, err
			}
			if err := e.ask(ctx, x, from, &right[i]); err != nil {
				return nil, err
			}
		}
	}
	if err := e.flush(ctx); err != nil {
		return nil, err
	}
	scores := Scores{}
	for i, q := range questions {
		scores.add(q, right[i])
	}
	return scores, nil
}

// answered is a prompt with an answer, and the place of the answer's first token.
func answered(t *token.Tokenizer, prompt, answer string) (sample, int, error) {
	e, err := t.Encode(prompt)
	if err != nil {
		return sample{}, 0, fmt.Errorf("pretrain: encoding %q: %w", prompt, err)
	}
	all, err := t.Encode(prompt + " " + answer)
	if err != nil {
		return sample{}, 0, fmt.Errorf("pretrain: encoding %q: %w", answer, err)
	}
	return sample{ids: all.IDs, count: make([]int, len(all.IDs)), goal: 1}, len(e.IDs), nil
}

// examiner collects questions into rows and asks them together.
type examiner struct {
	session *ort.Session
	rows    *rows
	end     int64
	waiting []asked
}

// asked is an answer that stands in the rows: its tokens are the targets of the
// places from first on.
type asked struct {
	first, n int
	right    *bool
}

func (e *examiner) ask(ctx context.Context, s sample, from int, right *bool) error {
	at := e.rows.add(s)
	if at < 0 {
		if err := e.flush(ctx); err != nil {
			return err
		}
		if at = e.rows.add(s); at < 0 {
			return fmt.Errorf("pretrain: a question of %d tokens is longer than a row of %d", len(s.ids), e.rows.length)
		}
	}
	e.waiting = append(e.waiting, asked{at + from - 1, len(s.ids) - from, right})
	return nil
}

func (e *examiner) flush(ctx context.Context) error {
	if len(e.waiting) == 0 {
		return nil
	}
	out := map[string]*tensor.Tensor{outBest: nil}
	if err := e.session.Run(ctx, e.rows.feed(), out); err != nil {
		return fmt.Errorf("pretrain: measuring: %w", err)
	}
	best := out[outBest].Int64s()
	for _, a := range e.waiting {
		ok := true
		for i := a.first; i < a.first+a.n; i++ {
			ok = ok && best[i] == e.rows.targets[i]
		}
		*a.right = *a.right || ok
	}
	e.rows, e.waiting = newRows(e.rows.count, e.rows.length, e.end), nil
	return nil
}
