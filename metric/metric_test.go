package metric

import (
	"os"
	"strings"
	"testing"

	"editpipe/dataset"
)

func TestDefinitionsAreComplete(t *testing.T) {
	seen := map[string]bool{}
	for _, d := range All() {
		if d.ID == "" || d.Title == "" || d.Text == "" || d.Better == "" || len(d.Axes) == 0 || seen[d.ID] {
			t.Errorf("definition %+v", d)
		}
		seen[d.ID] = true
		if (d.get == nil) != (d.ID == "cf_score") {
			t.Errorf("%s: only cf_score is made from other cells", d.ID)
		}
		text, err := Explain(d.ID)
		if err != nil || !strings.Contains(text, d.Text) || !strings.Contains(text, string(d.Better)) || !strings.Contains(text, string(d.Axes[0])) {
			t.Errorf("Explain(%s): %v\n%s", d.ID, err, text)
		}
	}
	for _, id := range []string{"tf_token_acc", "tf_exact", "success_prob", "agree_tok", "agree_exact", "kl", "gen_em", "gen_contains", "acc", "acc_norm"} {
		if !seen[id] {
			t.Errorf("the command line promises %s", id)
		}
	}
}

func TestLookup(t *testing.T) {
	for id, want := range map[string]bool{
		"tf_token_acc": true, "tf_token_acc_micro": true, "tf_token_acc_completed": true, "agree_tok_known": true, "tf_exact_edited": true, "kl_edited": false, "acc_norm": true,
		"acc_norm_micro": false, "kl_known": false, "tf_exact_micro": false, "": false, "_micro": false, "tf": false,
	} {
		d, variant, ok := Lookup(id)
		if ok != want || ok && d.ID+variant != id {
			t.Errorf("%q: %s%s, %v", id, d.ID, variant, ok)
		}
	}
	text, err := Explain("tf_token_acc_micro")
	if err != nil || !strings.Contains(text, "all tokens") {
		t.Errorf("%v\n%s", err, text)
	}
	if _, err := Explain("acuracy"); err == nil || !strings.Contains(err.Error(), "want one of tf_token_acc, ") {
		t.Errorf("%v", err)
	}
}

func TestHeadlines(t *testing.T) {
	for _, a := range append(dataset.Axes(), Overall) {
		d, variant, ok := Lookup(Headline(a))
		if !ok || variant != "" || !d.appliesTo(a) {
			t.Errorf("headline of %s is %q", a, Headline(a))
		}
	}
	if Headline("fluency") != "" {
		t.Error("an unknown axis has a headline")
	}
}

// The manual has a section for every metric and variant.
func TestManual(t *testing.T) {
	text, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range All() {
		if !strings.Contains(string(text), "`"+d.ID+"`") {
			t.Errorf("docs/metrics.md does not define `%s`", d.ID)
		}
	}
	for _, v := range []string{Micro, Completed, Known} {
		if !strings.Contains(string(text), "`"+v+"`") {
			t.Errorf("docs/metrics.md does not define the suffix `%s`", v)
		}
	}
}
