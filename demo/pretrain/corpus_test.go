package pretrain

import (
	"math/rand/v2"
	"regexp"
	"strings"
	"sync"
	"testing"

	"editpipe/demo/world"
)

var loaded = sync.OnceValues(Load)

func facts(t testing.TB) *Facts {
	t.Helper()
	f, err := loaded()
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// documents is how many documents the tests of the text look at.
const documents = 4000

// asPattern matches what a template gives with any name in its place.
func asPattern(template string) string {
	return strings.Replace(strings.Replace(regexp.QuoteMeta(template), `\{s\}`, `.+`, 1), `\{o\}`, `.+`, 1)
}

// No reserved wording is used, and every other one is.
func TestReservedWordings(t *testing.T) {
	f := facts(t)
	r := rand.New(rand.NewPCG(1, 1))
	var all strings.Builder
	for range documents {
		all.WriteString(f.Document(r).Text + "\n")
	}
	text := all.String()
	for _, rel := range f.Base.Catalogue.Relations {
		for _, reserved := range []bool{true, false} {
			for _, w := range wordings(rel, reserved) {
				used := regexp.MustCompile(`(?m)` + asPattern(w.Text)).MatchString(text)
				if used && reserved {
					t.Errorf("reserved wording %s/%s is used", rel.ID, w.ID)
				}
				if !used && !reserved && len(f.byRelation[rel.ID]) > 300 {
					t.Errorf("wording %s/%s never is", rel.ID, w.ID)
				}
			}
		}
	}
}

// A wording kept from a subject is used with others, and not with it.
func TestKeptWordings(t *testing.T) {
	f := facts(t)
	prompts := map[string]bool{}
	kept, elsewhere := 0, map[string]bool{}
	for i, x := range f.List {
		used, _ := f.Wordings(i)
		for _, w := range f.Unseen(i) {
			kept++
			for _, name := range x.Subject.Names() {
				prompts[put(w.Text, name)] = true
			}
		}
		for _, w := range used {
			elsewhere[x.Relation.ID+"/"+w.ID] = true
		}
	}
	if kept < len(f.List) {
		t.Errorf("%d wordings are kept back from the subjects of %d facts", kept, len(f.List))
	}
	for i, x := range f.List {
		for _, w := range f.Unseen(i) {
			if !elsewhere[x.Relation.ID+"/"+w.ID] {
				t.Fatalf("%s/%s is used with nobody", x.Relation.ID, w.ID)
			}
		}
	}
	r := rand.New(rand.NewPCG(2, 2))
	for range documents {
		d := f.Document(r)
		for _, a := range d.Answers {
			prompt := strings.TrimSuffix(d.Text[:a[0]], " ")
			for _, cut := range []string{"Prompt: ", "Question: ", ". ", "? "} {
				if at := strings.LastIndex(prompt, cut); at >= 0 && !strings.HasSuffix(cut, "? ") {
					prompt = prompt[at+len(cut):]
				}
			}
			if prompts[strings.TrimSuffix(prompt, "\nAnswer:")] {
				t.Fatalf("%q shows a wording that is kept from its subject", d.Text)
			}
		}
	}
}

// No entity that is reserved for testing is the subject of a new fact or of a
// question that the new fact leaves alone; reserved relations are never stated as
// new facts. A fifth to a third of the documents are episodes.
func TestEpisodes(t *testing.T) {
	f := facts(t)
	held := map[string]bool{} // prompts about reserved entities
	for _, x := range f.List {
		if !x.Held {
			continue
		}
		for _, w := range wordings(x.Relation, false) {
			for _, name := range append([]string{x.Subject.Label}, f.aliases[x.Subject.ID]...) {
				held[put(w.Text, name)] = true
			}
		}
	}
	if len(held) < len(f.List) {
		t.Fatalf("%d prompts about reserved entities", len(held))
	}
	// New facts of reserved relations, and of others: {s} is run by, The town hall
	// of {s} is run by.
	var reserved, open []string
	for _, rel := range f.Base.Catalogue.Editable() {
		for _, w := range wordings(rel, false) {
			if world.HeldRelation(rel.ID) {
				reserved = append(reserved, asPattern(w.Text))
			} else {
				open = append(open, asPattern(w.Text))
			}
		}
	}
	stated := func(list []string) *regexp.Regexp {
		return regexp.MustCompile("^New Fact: (" + strings.Join(list, "|") + ")")
	}
	ofReserved, ofOpen := stated(reserved), stated(open)
	r := rand.New(rand.NewPCG(3, 3))
	kinds := map[Kind]int{}
	for range documents {
		d := f.Document(r)
		kinds[d.Kind]++
		if d.Kind != Override && d.Kind != Retain {
			continue
		}
		if !strings.HasPrefix(d.Text, "New Fact: ") || strings.Count(d.Text, "\nPrompt: ") != 1 || len(d.Answers) != 1 {
			t.Fatalf("%q is no episode", d.Text)
		}
		line, rest, _ := strings.Cut(strings.TrimPrefix(d.Text, "New Fact: "), "\n")
		for i := range line {
			if line[i] == ' ' && held[line[:i]] {
				t.Fatalf("%q states a new fact of a reserved entity", d.Text)
			}
		}
		ask := strings.TrimSuffix(rest[:d.Answers[0][0]-len(d.Text)+len(rest)], " ")
		for _, before := range []string{"Prompt: ", line + ". ", "Question: "} {
			ask = strings.TrimPrefix(ask, before)
		}
		if d.Kind == Retain && held[strings.TrimSuffix(ask, "\nAnswer:")] {
			t.Fatalf("%q asks about a reserved entity", d.Text)
		}
		if line = "New Fact: " + line; ofReserved.MatchString(line) && !ofOpen.MatchString(line) {
			t.Fatalf("%q states a new fact of a reserved relation", d.Text)
		}
	}
	if share := float64(kinds[Override]+kinds[Retain]) / documents; share < 0.2 || share > 0.3 {
		t.Errorf("%.3f of the documents are episodes, want 0.2 to 0.3", share)
	}
	for _, k := range []Kind{Statement, Backwards, Composed, Pair, Override, Retain} {
		if kinds[k] == 0 {
			t.Errorf("no document of kind %s", k)
		}
	}
}

// The answers of statements are the world's.
func TestStatementsAreTrue(t *testing.T) {
	f := facts(t)
	stated := map[string]bool{} // prompt and answer
	for i, x := range f.List {
		used, _ := f.Wordings(i)
		for _, w := range used {
			for _, name := range append([]string{x.Subject.Label}, f.aliases[x.Subject.ID]...) {
				stated[put(w.Text, name)+" "+x.Object] = true
			}
		}
	}
	r := rand.New(rand.NewPCG(4, 4))
	for range documents {
		d := f.statement(r)
		text := strings.TrimPrefix(strings.Replace(d.Text, "\nAnswer:", "", 1), "Question: ")
		if !stated[text] && !stated[strings.TrimSuffix(text, ".")] {
			t.Fatalf("%q is not true", d.Text)
		}
	}
	// One of them by hand: Wordings, aliases and objects could all be wrong together.
	w := world.Build(world.Seed)
	country := w.Of("country")[0]
	i := f.at[[2]string{country.ID, "P36"}]
	if x := f.List[i]; x.Object != country.Objects("P36")[0].Label || x.Subject.Label != country.Label {
		t.Errorf("the capital of %s is not %s", x.Subject.Label, x.Object)
	}
}
