package stages

import (
	"path/filepath"
	"strings"
	"testing"

	"editpipe/dataset"
	"editpipe/edit"
	"editpipe/edit/none"
	"editpipe/row"
)

// pairs has n edits with a yes-or-no question each, and behind every edit one
// that takes it back.
func pairs(n int) dataset.Data {
	d := dataset.Data{Name: "pairs"}
	for _, r := range village(n).Records {
		e := r.Edit
		e.ConflictGroup = string(e.ID)
		back := e
		back.ID, back.Mode, back.Target, back.GroundTruth = e.ID+"-back", dataset.Restore, e.GroundTruth, e.Target
		probe := func(e dataset.Edit, axis dataset.Axis, p dataset.Probe) dataset.Record {
			p.ID, p.EditID, p.Axis, p.Family, p.SubjectStart, p.SubjectEnd = dataset.ProbeID(string(e.ID)+"/1"), e.ID, axis, axis.Family(), -1, -1
			return dataset.Record{Edit: e, Probes: []dataset.Probe{p}}
		}
		d.Records = append(d.Records,
			probe(e, dataset.AxisBeliefYesNo, dataset.Probe{Prompt: "Question: Is it true that " + e.Prompt + " " + e.Target + "?\nAnswer:",
				Format: dataset.Choice, AnswerMode: dataset.OneChoice, Answers: []string{"yes"}, Choices: []string{"yes", "no"}}),
			probe(back, dataset.AxisRoundEdit, dataset.Probe{Prompt: e.Prompt, Format: dataset.Cloze, AnswerMode: dataset.Single, ChoiceLabel: -1,
				Answers: []string{back.Target}, Contrast: back.GroundTruth}))
	}
	return d
}

// TestFollowUps asks about edits that take others back: only behind those, in
// steps of their own.
func TestFollowUps(t *testing.T) {
	e := Eval{
		LM: tiny(t), Data: pairs(3), Seed: 1, Out: filepath.Join(t.TempDir(), "run"),
		Methods: []edit.Method{none.Method(), nudge()}, Schedules: scheduleList(t, "single", "batch:2", "sequential:2", "sequential:6/2", "sequential:3"),
		When: When{Immediate: true, Final: true},
	}
	r := do(t, e)
	asked := map[string]int{} // round edits with numbers, by setting
	for _, one := range resultsIn(t, e.Out) {
		if one.Method != "nudge" || one.Axis != string(dataset.AxisRoundEdit) {
			continue
		}
		if one.Status == row.OK {
			asked[one.Setting]++
			if one.AgreeTok == nil || one.KL == nil || one.Success == nil {
				t.Errorf("%s: no comparison with the unedited model: %+v", one.Setting, one)
			}
		} else if one.Status != row.Skipped || !strings.Contains(one.Detail, "sequential:2") {
			t.Errorf("%s: status %s, detail %q", one.Setting, one.Status, one.Detail)
		}
	}
	// Chains of three cut the second pair apart. The first edit back is asked about
	// right after it and again at the end of its chain.
	if asked["single"] != 0 || asked["batch:2"] != 0 || asked["sequential:6/2"] != 0 || asked["sequential:2"] != 3 || asked["sequential:3"] != 3 {
		t.Errorf("round edits asked about, by setting: %v", asked)
	}
	means := map[string]bool{}
	for _, s := range r.Summary {
		if s.Mean != nil && s.Setting == "sequential:2" && s.Method == "nudge" {
			means[s.Axis+" "+s.Metric] = true
		}
	}
	for _, want := range []string{"round_edit tf_token_acc", "round_edit agree_tok", "round_edit kl", "round_edit success_prob", "belief_yes_no acc", "belief_yes_no acc_norm"} {
		if !means[want] {
			t.Errorf("the summary has no %s", want)
		}
	}
}
