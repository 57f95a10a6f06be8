package generator_test

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"editpipe/dataset"
	"editpipe/generator"
)

// scripted is a phraser of one answer, which keeps what it was asked. In the
// answer NEW stands for the new object.
type scripted struct {
	text  string
	err   error
	asked []generator.PhraseRequest
}

func (s *scripted) Phrase(_ context.Context, r generator.PhraseRequest) (string, error) {
	s.asked = append(s.asked, r)
	return strings.ReplaceAll(s.text, "NEW", r.Forbidden[0]), s.err
}

func TestPhraser(t *testing.T) {
	for text, refused := range map[string]string{
		"Torland is governed from which city?": "",
		"":                                     "no text",
		"Which city governs Torland, NEW or another?":           "names ",
		"Is Sable the seat of Torland?":                         "names Sable",
		"Which city governs the country?":                       "does not name the subject once",
		"Which city governs Torlandia?":                         "does not name the subject once",
		"Torland? Which city governs Torland?":                  "does not name the subject once",
		"Tell me the capital of Torland.":                       "not one sentence",
		"I wonder. Which city governs Torland?":                 "not one sentence",
		"Which city? The capital of Torland?":                   "not one sentence",
		"Which city\ngoverns Torland?":                          "stray space",
		" Which city governs Torland?":                          "stray space",
		"Which city governs Torland" + strings.Repeat("?", 300): "longer than 300 letters",
	} {
		s := &scripted{text: text}
		p := atlas{cloze: "The capital of {s} is", cities: []string{"Sable", "Bree"},
			options: generator.Options{Sets: []dataset.Axis{dataset.AxisGeneralization}, Phraser: s}}.generate(t)
		if len(s.asked) != 1 {
			t.Fatalf("asked %d times, want once: %+v", len(s.asked), p.probes)
		}
		want := generator.PhraseRequest{ID: string(p.probes[0].ID), Axis: "generalization", Facts: []string{"Torland | capital | Bree"},
			Text: "Which city is the capital of Torland?", Subject: "Torland", Forbidden: []string{"Bree", "Sable"}}
		if !reflect.DeepEqual(s.asked[0], want) {
			t.Errorf("request %+v, want %+v", s.asked[0], want)
		}
		if refused != "" {
			i := slices.IndexFunc(p.rejects, func(r generator.Reject) bool { return r.Reason == generator.RejectPhrasing })
			if len(p.probes) != 1 || i < 0 || !strings.HasPrefix(p.rejects[i].Detail, refused) {
				t.Errorf("%q: probes %+v, rejects %+v; want a reject %q", text, p.probes, p.rejects, refused)
			}
			continue
		}
		if len(p.probes) != 2 || p.probes[0].Phrasing != "template" {
			t.Fatalf("%q: probes %+v", text, p.probes)
		}
		q := p.probes[1]
		if q.Prompt != text || q.Phrasing != "llm" || q.Variant != "phrased" || q.Prompt[q.SubjectStart:q.SubjectEnd] != "Torland" ||
			q.ID == p.probes[0].ID || !slices.Contains(q.Flags, dataset.FlagApart) || slices.Contains(p.probes[0].Flags, dataset.FlagApart) ||
			!reflect.DeepEqual(q.Answers, p.probes[0].Answers) {
			t.Errorf("phrased probe %+v beside %+v", q, p.probes[0])
		}
		if p.counts.Variants["generalization/phrased"] != 1 || p.counts.Probes[dataset.AxisGeneralization] != 2 {
			t.Errorf("counts %+v", p.counts)
		}
	}
}

// TestPhraserOfTheTemplates repeats the template's question: that is a duplicate.
// An error of the phraser ends the generation.
func TestPhraserOfTheTemplates(t *testing.T) {
	a := atlas{cloze: "The capital of {s} is", cities: []string{"Sable", "Bree"},
		options: generator.Options{Sets: []dataset.Axis{dataset.AxisGeneralization}, Phraser: &scripted{text: "Which city is the capital of Torland?"}}}
	p := a.generate(t)
	if len(p.probes) != 1 || p.counts.Rejects["generalization/duplicate_prompt"] != 1 {
		t.Errorf("probes %+v, rejects %v", p.probes, p.counts.Rejects)
	}
	broken := errors.New("no answer")
	_, err := generator.Generate(context.Background(), miniKB(t), generator.Options{N: 5, Phraser: &scripted{err: broken}}, generator.Sink{
		Edit: func(dataset.Edit) error { return nil }, Probe: func(dataset.Probe) error { return nil }, Reject: func(generator.Reject) error { return nil },
	})
	if !errors.Is(err, broken) {
		t.Errorf("error %v, want the phraser's", err)
	}
}
