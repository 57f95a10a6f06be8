package ike

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"reflect"
	"slices"
	"strings"
	"testing"

	"editpipe/ask"
	"editpipe/dataset"
	"editpipe/edit"
	"editpipe/edit/edittest"
	"editpipe/internal/tinylm"
	"editpipe/models/answer"
	"editpipe/models/arch"
	"editpipe/models/patch"
)

type list []dataset.Record

func (list) Name() string { return "list" }

func (l list) Records() iter.Seq2[dataset.Record, error] {
	return func(yield func(dataset.Record, error) bool) {
		for _, r := range l {
			if !yield(r, nil) {
				return
			}
		}
	}
}

// pool has n records about different subjects, each with a paraphrase and a
// neighbour.
func pool(n int) list {
	var l list
	for i := range n {
		s := fmt.Sprintf("Person%d", i)
		l = append(l, dataset.Record{
			Edit: dataset.Edit{ID: dataset.EditID(fmt.Sprintf("d%d", i)), Subject: s, RelationID: "P1", Prompt: s + " works as a", Target: fmt.Sprintf("job%d", i)},
			Probes: []dataset.Probe{
				{Axis: dataset.AxisGeneralization, Prompt: "Rain fell. The profession of " + s + " is"},
				{Axis: dataset.AxisNeighbourhood, Prompt: fmt.Sprintf("Other%d works as a", i), Answers: []string{"judge"}},
			},
		})
	}
	return l
}

func newEditor(t *testing.T, train dataset.Source, set map[string]string, seed int64) *editor {
	t.Helper()
	m, err := edit.Find(Methods(), "ike")
	if err != nil {
		t.Fatal(err)
	}
	c, err := m.Configure(&arch.Info{}, set)
	if err != nil {
		t.Fatal(err)
	}
	ed, err := openIKE(context.Background(), c.Value().(Config), edit.Env{Shown: train, Seed: seed})
	if err != nil {
		t.Fatal(err)
	}
	return ed.(*editor)
}

func contextOf(t *testing.T, ed edit.Editor, e dataset.Edit) *Context {
	t.Helper()
	made := edittest.Together(context.Background(), ed, &patch.Patch{}, e)
	if made.Err != nil {
		t.Fatal(made.Err)
	}
	p := made.Patch
	if len(p.Routes) != 1 || len(p.Weights) != 0 {
		t.Fatalf("patch has %d wraps and %d changes", len(p.Routes), len(p.Weights))
	}
	return p.Routes[0].(*Context)
}

var asked = dataset.Edit{ID: "e", Subject: "Ada", RelationID: "P1", Prompt: "Ada works as a", Target: "pilot"}

func TestPaperLayout(t *testing.T) {
	c := contextOf(t, newEditor(t, pool(60), nil, 1), asked)
	if len(c.Demos) != PaperK {
		t.Fatalf("%d demonstrations, want %d", len(c.Demos), PaperK)
	}
	count := map[string]int{}
	subjects := map[string]bool{}
	for _, d := range c.Demos {
		head, tail, _ := strings.Cut(d, "\nPrompt: ")
		fact := strings.TrimPrefix(head, "New Fact: ")
		subjects[strings.Fields(fact)[0]] = true
		switch {
		case tail == fact+"\n\n":
			count["copy"]++
		case strings.HasPrefix(tail, "The profession of "): // cut to the subject's sentence
			count["update"]++
		case strings.HasSuffix(tail, " judge\n\n"):
			count["retain"]++
		default:
			t.Errorf("demonstration of no kind: %q", d)
		}
	}
	if count["copy"] != 4 || count["update"] != 12 || count["retain"] != 16 { // counted in the authors' code
		t.Errorf("kinds %v, want 4, 12, 16", count)
	}
	if len(subjects) != PaperK {
		t.Errorf("%d records for %d demonstrations", len(subjects), PaperK)
	}
	want := "New Fact: Ada works as a pilot\nPrompt: Ada works as a pilot\n\nNew Fact: Ada works as a pilot\nPrompt: "
	if !strings.HasSuffix(c.Prefix(), want) {
		t.Errorf("context ends %q", c.Prefix()[max(0, len(c.Prefix())-150):])
	}
}

func TestEasyEditLayout(t *testing.T) {
	c := contextOf(t, newEditor(t, pool(60), map[string]string{"mode": "easyedit", "k": "7"}, 1), asked)
	if len(c.Demos) != 7 || c.Own != "" {
		t.Errorf("%d demonstrations, own %q", len(c.Demos), c.Own)
	}
	// Three sentences per record, so seven come from three.
	subjects := map[string]bool{}
	for _, d := range c.Demos {
		subjects[strings.Fields(strings.TrimPrefix(d, "New Fact: "))[0]] = true
	}
	if len(subjects) != 3 {
		t.Errorf("from %d records, want 3", len(subjects))
	}
}

func TestICEIsTheFactOnly(t *testing.T) {
	m, err := edit.Find(Methods(), "ice")
	if err != nil {
		t.Fatal(err)
	}
	c, err := m.Configure(&arch.Info{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	ed, err := m.Open(context.Background(), c, edit.Env{})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := contextOf(t, ed, asked).Prefix(), "New Fact: Ada works as a pilot\nPrompt: "; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestQuota(t *testing.T) {
	for k, want := range map[int][kinds]int{1: {0, 0, 1}, 4: {0, 1, 3}, 7: {0, 3, 4}, 8: {1, 3, 4}, 16: {2, 6, 8}, 32: {4, 12, 16}} {
		var got [kinds]int
		for _, kd := range quota(k) {
			got[kd]++
		}
		if got != want {
			t.Errorf("quota(%d) = %v, want %v", k, got, want)
		}
	}
}

func TestChoiceIsSeededAndLocal(t *testing.T) {
	few, many := pool(60), pool(61)
	a := contextOf(t, newEditor(t, few, nil, 1), asked)
	if b := contextOf(t, newEditor(t, few, nil, 1), asked); !slices.Equal(a.Demos, b.Demos) {
		t.Error("the same seed gives other demonstrations")
	}
	if b := contextOf(t, newEditor(t, few, nil, 2), asked); slices.Equal(a.Demos, b.Demos) {
		t.Error("another seed gives the same demonstrations")
	}
	// Another record can push out at most the last and shift what is behind it;
	// the order among the others stays.
	ed := newEditor(t, few, nil, 1)
	more := newEditor(t, many, nil, 1)
	ids := func(l []source) (out []string) {
		for _, s := range l {
			if s.id != "d60" {
				out = append(out, s.id)
			}
		}
		return out
	}
	if !slices.Equal(ids(ed.rank(asked)), ids(more.rank(asked))) {
		t.Error("a record more in the pool changes the order of the others")
	}
}

func TestLeaks(t *testing.T) {
	train := pool(3)
	train = append(train,
		dataset.Record{Edit: dataset.Edit{ID: "x1", Subject: "ADA ", RelationID: "P2", Prompt: "Ada lives in", Target: "Rome"}},
		dataset.Record{Edit: dataset.Edit{ID: "x2", Subject: "Bob", RelationID: "P1", Prompt: "Bob works as a", Target: "Pilot"}},
		dataset.Record{Edit: dataset.Edit{ID: "x3", Subject: "Eve", RelationID: "P9", Prompt: "Eve flew with a", Target: "pilot"}},
	)
	var ids []string
	for _, s := range newEditor(t, train, nil, 1).rank(asked) {
		ids = append(ids, s.id)
	}
	slices.Sort(ids)
	nameless := asked
	nameless.Subject, nameless.RelationID = "", ""
	train = append(train, dataset.Record{Edit: dataset.Edit{ID: "x4", Prompt: "Who flies?", Target: "me"}})
	if n := len(newEditor(t, train, nil, 1).rank(nameless)); n != len(train) {
		t.Errorf("%d of %d records shown for an edit without subject: none has the subject of another", n, len(train))
	}
	// x1 has the edit's subject, x2 its relation and object; x3 shares the object only.
	if want := []string{"d0", "d1", "d2", "x3"}; !slices.Equal(ids, want) {
		t.Errorf("shown %v, want %v", ids, want)
	}
}

func TestNoPool(t *testing.T) {
	m, _ := edit.Find(Methods(), "ike")
	c, err := m.Configure(&arch.Info{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, train := range []dataset.Source{nil, list{}} {
		if _, err := m.Open(context.Background(), c, edit.Env{Shown: train}); err == nil || !strings.Contains(err.Error(), "ice") {
			t.Errorf("without records: %v", err)
		}
	}
}

func TestSeveralEdits(t *testing.T) {
	m, err := edit.Find(Methods(), "ike")
	if err != nil {
		t.Fatal(err)
	}
	c, err := m.Configure(&arch.Info{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	ed, err := m.Open(ctx, c, edit.Env{Shown: pool(40), Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	if made := edittest.Together(ctx, ed, nil, asked, dataset.Edit{ID: "f"}); !errors.Is(made.Err, edit.ErrUnsupported) {
		t.Errorf("batch: %v", made.Err)
	}
	if made := edittest.Together(ctx, ed, &patch.Patch{Edits: []string{"d"}}, asked); !errors.Is(made.Err, edit.ErrUnsupported) {
		t.Errorf("on top of an edit: %v", made.Err)
	}
}

func TestTrimJunk(t *testing.T) {
	for _, c := range []struct{ text, subject, want string }{
		{"Shayna does this and Yossel goes still. Danielle Darrieux, a native", "Danielle Darrieux", "Danielle Darrieux, a native"},
		{"Danielle Darrieux, a native", "Danielle Darrieux", "Danielle Darrieux, a native"},
		{"Category:1917 births Danielle Darrieux was", "Danielle Darrieux", "Danielle Darrieux was"},
		{"line\nThe mother tongue of Ada is", "Ada", "The mother tongue of Ada is"},
		{"No subject. Here is", "Ada", "No subject. Here is"},
	} {
		if got := trimJunk(c.text, c.subject); got != c.want {
			t.Errorf("trimJunk(%q, %q) = %q, want %q", c.text, c.subject, got, c.want)
		}
	}
}

// words is a reader whose tokens are words.
type words struct{ limit int }

func (w words) Context() int { return w.limit }

func (words) PromptTokens(prompt, target string) (int, error) {
	return len(strings.Fields(prompt)) + len(strings.Fields(target)), nil
}

func (words) Embed(context.Context, []string) ([][]float32, error) {
	return nil, errors.New("nothing is embedded here")
}

// routed is the prompt that a context makes of a question.
func routed(t *testing.T, c *Context, limit int, q ask.Query) string {
	t.Helper()
	ways, err := c.Route(context.Background(), words{limit}, []ask.Query{q})
	if err != nil || len(ways) != 1 || ways[0].Err != nil || ways[0].Skip || ways[0].Model != "" {
		t.Fatalf("%+v, %v", ways, err)
	}
	if got := ways[0].Query; !slices.Equal(got.Targets, q.Targets) {
		t.Errorf("targets %q, want %q", got.Targets, q.Targets)
	}
	return ways[0].Query.Prompt
}

// The context fits: the longest tail of the demonstrations that leaves room.
func TestBudget(t *testing.T) {
	c := contextOf(t, newEditor(t, pool(60), map[string]string{"k": "8"}, 1), asked)
	q := ask.Query{Prompt: "The job of Ada is", Targets: []string{"a", "one two three four"}}
	last := -1
	for limit := range 200 {
		got := routed(t, c, limit, q)
		kept := strings.Count(got, "\n\n")
		all := append(slices.Clone(c.Demos), c.Own)
		if want := c.text(all[len(all)-kept:]) + q.Prompt; got != want {
			t.Fatalf("limit %d: not a tail of the demonstrations: %q", limit, got)
		}
		const longest = 4
		if n := len(strings.Fields(got)) + longest; limit > 0 && kept > 0 && n > limit {
			t.Errorf("limit %d: %d tokens", limit, n)
		}
		if limit > 0 && kept < last {
			t.Errorf("limit %d keeps %d, a smaller one %d", limit, kept, last)
		}
		if limit > 0 {
			last = kept
		} else if kept != 9 { // the own one included
			t.Errorf("without limit %d are kept", kept)
		}
	}
	if last != 9 {
		t.Errorf("with room for all %d are kept", last)
	}
	// A question without targets takes its own room.
	full := len(strings.Fields(c.Prefix() + q.Prompt))
	for short, kept := range []int{9, 8} {
		if got := routed(t, c, full-short, ask.Query{Prompt: q.Prompt}); strings.Count(got, "\n\n") != kept {
			t.Errorf("with %d tokens too few: %q", short, got)
		}
	}
}

// A demonstration that contains the question would show its answer.
func TestAskedPromptIsNotShown(t *testing.T) {
	train := pool(10)
	for i := range train {
		train[i].Probes[1].Prompt = "Shared neighbour works as a"
	}
	c := contextOf(t, newEditor(t, train, map[string]string{"k": "8"}, 1), asked)
	ask1 := func(prompt string) string {
		return strings.TrimSuffix(routed(t, c, 0, ask.Query{Prompt: prompt}), prompt)
	}
	if strings.Contains(ask1("Shared neighbour works as a"), "Shared neighbour") {
		t.Error("the question's own text is in its context")
	}
	if !strings.Contains(ask1("Something else"), "Shared neighbour") {
		t.Error("the filter drops demonstrations of other questions")
	}
}

func TestIDsHaveNoContext(t *testing.T) {
	c := contextOf(t, newEditor(t, pool(40), nil, 1), asked)
	got, err := c.Route(context.Background(), words{}, []ask.Query{{PromptIDs: []int64{1, 2}}, {Prompt: "q"}})
	if err != nil || !errors.Is(got[0].Err, ErrNoText) || got[1].Err != nil {
		t.Errorf("%v, %v", err, got)
	}
}

func TestSaveAndDecode(t *testing.T) {
	c := contextOf(t, newEditor(t, pool(40), nil, 1), asked)
	dir := t.TempDir()
	if err := c.Save(dir); err != nil {
		t.Fatal(err)
	}
	w, err := Decode(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got := w.(*Context); got.Prefix() != c.Prefix() || got.Edit != c.Edit {
		t.Errorf("came back as %+v", got)
	}
	if _, err := Decode(t.TempDir()); err == nil {
		t.Error("an empty folder was decoded")
	}
}

// TestRouteIsPure: the same questions get the same contexts in any grouping.
func TestRouteIsPure(t *testing.T) {
	train := pool(10)
	for i := range train {
		train[i].Probes[1].Prompt = "Shared neighbour works as a"
	}
	c := contextOf(t, newEditor(t, train, map[string]string{"k": "8"}, 1), asked)
	questions := []ask.Query{
		{Prompt: "Shared neighbour works as a"}, {Prompt: "Ada is", Targets: []string{"a", "one two three four five six"}},
		{PromptIDs: []int64{1}}, {Prompt: strings.Repeat("long ", 30)}, {Prompt: ""},
	}
	m := words{60}
	all, err := c.Route(context.Background(), m, questions)
	if err != nil {
		t.Fatal(err)
	}
	for lo := range questions {
		for hi := lo + 1; hi <= len(questions); hi++ {
			some, err := c.Route(context.Background(), m, questions[lo:hi])
			if err != nil || !reflect.DeepEqual(some, all[lo:hi]) {
				t.Errorf("questions %d to %d by themselves: %+v, %v", lo, hi, some, err)
			}
		}
	}
}

// TestRoomForGeneration: what is generated is kept free of demonstrations.
func TestRoomForGeneration(t *testing.T) {
	lm := edittest.Open(t, tinylm.Config{Family: tinylm.GPT2, Context: 256})
	c := contextOf(t, newEditor(t, pool(60), map[string]string{"k": "8"}, 1), asked)
	row := answer.Row{Query: ask.Query{Prompt: "The job of Ada is"}, Patch: &patch.Patch{Routes: []patch.Route{c}}}
	last := lm.Context() + 1
	for _, n := range []int{4, 64, 128} {
		got, err := answer.Generate(context.Background(), lm, []answer.Row{row}, ask.Sampling{MaxNew: n})
		if err != nil || got[0].Err != nil {
			t.Fatal(err, got[0].Err)
		}
		if got[0].PromptTokens+n > lm.Context() || got[0].PromptTokens >= last {
			t.Errorf("%d new tokens behind %d of %d", n, got[0].PromptTokens, lm.Context())
		}
		last = got[0].PromptTokens
	}
}

func TestConformance(t *testing.T) {
	for _, family := range []tinylm.Family{tinylm.GPT2, tinylm.T5} {
		for _, m := range Methods() {
			t.Run(string(family)+" "+m.Name, func(t *testing.T) {
				o := edittest.Options{Model: tinylm.Config{Family: family, Context: 256}}
				if m.Name == "ike" {
					o.Set = map[string]string{"k": "4"}
				}
				edittest.Run(t, m, o)
			})
		}
	}
}
