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
		all.WriteString(f.Document(r, First()).Text + "\n")
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
		d := f.Document(r, First())
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
// question that the new facts leave alone. A fifth to three tenths of the documents
// are episodes; in some the new fact is a stranger's, in some there are several.
func TestEpisodes(t *testing.T) {
	f := facts(t)
	held := map[string]bool{} // prompts about reserved entities
	known := map[string]bool{}
	for _, x := range f.List {
		for _, w := range wordings(x.Relation, false) {
			for _, name := range append([]string{x.Subject.Label}, f.aliases[x.Subject.ID]...) {
				known[put(w.Text, name)] = true
				if x.Held {
					held[put(w.Text, name)] = true
				}
			}
		}
	}
	if len(held) < len(f.List) {
		t.Fatalf("%d prompts about reserved entities", len(held))
	}
	r := rand.New(rand.NewPCG(3, 3))
	kinds := map[Kind]int{}
	strangers, several := 0, 0
	for range documents {
		d := f.Document(r, First())
		kinds[d.Kind]++
		if d.Kind != Override && d.Kind != Retain {
			continue
		}
		lines, ask := strings.Split(d.Text[:d.Answers[0][0]], "\n"), ""
		for n, line := range lines {
			if strings.HasPrefix(line, "Prompt: ") {
				lines, ask = lines[:n], strings.TrimSuffix(strings.TrimPrefix(strings.Join(lines[n:], "\n"), "Prompt: "), " ")
				break
			}
		}
		if len(lines) > mostFacts || len(d.Answers) != 1 {
			t.Fatalf("%q is no episode", d.Text)
		}
		if len(lines) > 1 {
			several++
		}
		for _, line := range lines {
			fact, ok := strings.CutPrefix(line, "New Fact: ")
			if !ok {
				t.Fatalf("%q is no episode", d.Text)
			}
			about := false
			for i := range fact {
				about = about || fact[i] == ' ' && known[fact[:i]]
				if fact[i] == ' ' && held[fact[:i]] {
					t.Fatalf("%q states a new fact of a reserved entity", d.Text)
				}
			}
			if !about {
				strangers++
			}
			ask = strings.TrimPrefix(ask, fact+". ")
		}
		ask = strings.TrimSuffix(strings.TrimPrefix(ask, "Question: "), "\nAnswer:")
		if d.Kind == Retain && held[ask] {
			t.Fatalf("%q asks about a reserved entity", d.Text)
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
	if strangers == 0 || several == 0 {
		t.Errorf("%d new facts of strangers, %d episodes of several facts", strangers, several)
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
