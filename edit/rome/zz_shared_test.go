//go:build shared

package rome

import (
	"context"
	"testing"

	"editpipe/dataset"
	"editpipe/edit"
)

func TestZZ(t *testing.T) {
	w := open2(t)
	var ref reference
	w.json(t, &ref, "reference", "rome_l0.json")
	ed := w.editor(t, ref.Summary.Settings, ref.Contexts)
	ed.c.Key = Unified
	var edits []dataset.Edit
	for _, e := range ref.Edits {
		edits = append(edits, request(e.ID, e.Prompt, e.Subject, e.New))
	}
	cases := w.cases(t)
	patches, errs := edit.EachOf(context.Background(), name, ed, edit.Base{LM: w.lm}, edits)
	var m [3]float64
	norm := 0.0
	for i, e := range ref.Edits {
		if errs[i] != nil { t.Fatal(errs[i]) }
		c := cases[e.ID]
		for a, p := range [][]string{{edits[i].Prompt}, c.Para, c.Near} {
			m[a] += w.success(t, &patches[i], p, e.New, e.True, a == 2) / 60
		}
		norm += patches[i].DeltaNorm() / 60
	}
	t.Log(m, norm)
}
