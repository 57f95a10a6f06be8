// Package metric turns answers into numbers. A metric has an id, a definition
// and one function; Score applies all of them to one answer, Summarise averages
// them over records, and its confidence intervals say how far an average can be
// trusted.
//
// The package cannot run a model: definitions do not depend on a backend.
// All functions are pure, and equal sets of rows give bit-equal means whatever
// their order.
package metric

import (
	"fmt"
	"slices"
	"strings"

	"editpipe/dataset"
	"editpipe/row"
)

// Direction says which way a metric improves.
type Direction string

// The directions of a metric.
const (
	Higher  Direction = "higher is better"
	Lower   Direction = "lower is better"
	Neither Direction = "describes, does not rank"
)

// Overall is the axis of numbers that combine several axes.
const Overall dataset.Axis = "overall"

// Suffixes that make a variant of a metric's id.
const (
	Micro     = "_micro"     // every target token counts alike, not every record
	Completed = "_completed" // failed rows are left out instead of counted as 0
	Known     = "_known"     // only probes that the unedited model answers right
	Edited    = "_edited"    // only records whose edit took: tf_exact 1 on all of their reliability
)

// Def defines a metric.
type Def struct {
	ID     string
	Title  string
	Text   string // the definition, in sentences
	Axes   []dataset.Axis
	Better Direction
	Unit   string // empty for shares and probabilities

	Micro  bool // the variant ID_micro exists
	Zero   bool // a failed row counts as 0 on reliability and generalization; ID_completed exists there
	Known  bool // the variant ID_known exists
	Edited bool // the variant ID_edited exists on generalization and portability

	get func(row.Scores) *float64
}

// All lists the metrics in report order.
func All() []Def {
	all := slices.Concat(dataset.Axes(), dataset.FurtherAxes())
	var locality, choices []dataset.Axis
	for _, a := range all {
		switch a.Family() {
		case dataset.Locality:
			locality = append(locality, a)
		case dataset.Belief:
			choices = append(choices, a)
		}
	}
	choices = append(choices, dataset.AxisOtherTasks)
	// An edit that was taken back should leave the unedited model.
	locality = append(locality, dataset.AxisRoundEdit)
	compared := []dataset.Axis{
		dataset.AxisReliability, dataset.AxisGeneralization, dataset.AxisSubjectReplace,
		dataset.AxisNeighbourhood, dataset.AxisDistractNeighbourhood,
		dataset.AxisTimeSlice, dataset.AxisRoundEdit, dataset.AxisConflict,
	}
	defs := []Def{
		{
			ID: "tf_token_acc", Title: "Token accuracy, teacher-forced", Axes: all, Better: Higher, Micro: true, Zero: true, Edited: true,
			Text: "Share of the target's tokens that are the most probable token when the prompt and the target's earlier tokens are given. " +
				"The earlier tokens leak the answer and its length, so a long target is partly right without being known. This is EasyEdit's accuracy.",
			get: func(s row.Scores) *float64 { return s.TokenAcc },
		},
		{
			ID: "tf_exact", Title: "Exact match, teacher-forced", Axes: all, Better: Higher, Zero: true, Edited: true,
			Text: "1 if every token of the target is the most probable one (given the target's earlier tokens), else 0. Equals greedy decoding of exactly the target's length.",
			get:  func(s row.Scores) *float64 { return bit(s.Exact) },
		},
		{
			ID: "tf_exact_eos", Title: "Exact match including the end, teacher-forced", Axes: all, Better: Higher,
			Text: "1 if tf_exact is 1 and an end token is the most probable token after the whole target, else 0: greedy decoding would give the target and stop. Only for encoder-decoder models, which decode the target on its own.",
			get:  func(s row.Scores) *float64 { return bit(s.ExactEOS) },
		},
		{
			ID: "success_prob", Title: "Success by probability", Axes: compared, Better: Higher, Zero: true,
			Text: "1 if the mean log-probability per token of the text that should be more probable exceeds that of the text it is compared with, else 0; 0 if they are equal. " +
				"For edits the new object should be more probable than the old one; for neighbourhoods the neighbour's own object should be more probable than the new one. CounterFact's ES, PS and NS. It can be 1 although neither text would be generated.",
			get: func(s row.Scores) *float64 { return bit(s.Success) },
		},
		{
			ID: "prob_diff", Title: "Probability difference", Axes: compared, Better: Higher,
			Text: "exp(mean log-probability per token) of the text that should be more probable minus that of the text it is compared with; from -1 to 1. CounterFact's EM, PM and NM.",
			get:  func(s row.Scores) *float64 { return s.ProbDiff },
		},
		{
			ID: "agree_tok", Title: "Agreement with the unedited model", Axes: locality, Better: Higher, Micro: true, Known: true,
			Text: "Share of the answer's positions at which the edited and the unedited model have the same most probable token, both given the earlier tokens of the right answer. " +
				"For a question with choices the choice is the only position. It measures agreement, not correctness. This is EasyEdit's locality.",
			get: func(s row.Scores) *float64 { return s.AgreeTok },
		},
		{
			ID: "agree_exact", Title: "Full agreement with the unedited model", Axes: locality, Better: Higher, Known: true,
			Text: "1 if the edited and the unedited model have the same most probable token at every position of the answer, else 0. SERAC's retain rate.",
			get:  func(s row.Scores) *float64 { return bit(s.AgreeExact) },
		},
		{
			ID: "kl", Title: "Change of the distribution", Axes: locality, Better: Lower, Unit: "nats",
			Text: "Mean over the answer's positions of KL(unedited || edited), the divergence of the distributions over the next token. 0 if nothing changed; it changes before any most probable token does.",
			get:  func(s row.Scores) *float64 { return s.KL },
		},
		{
			ID: "gen_em", Title: "Generated text equals an answer", Axes: all, Better: Higher, Zero: true, Edited: true,
			Text: "1 if the whole greedily generated text equals an accepted spelling, else 0, after lower-casing and removal of punctuation, the articles a, an, the, and surplus spaces. No part of the answer is given.",
			get:  func(s row.Scores) *float64 { return bit(s.GenEM) },
		},
		{
			ID: "gen_contains", Title: "Generated text contains an answer", Axes: all, Better: Higher, Zero: true, Edited: true,
			Text: "1 if the greedily generated text contains an accepted spelling as whole words (articles, case and punctuation aside), else 0. A text that goes on to contradict itself still counts.",
			get:  func(s row.Scores) *float64 { return bit(s.GenContains) },
		},
		{
			ID: "acc", Title: "Accuracy of choices", Axes: choices, Better: Higher,
			Text: "1 if the right choice has the largest sum of log-probabilities, else 0; ties go to the first choice. Favours short choices.",
			get:  func(s row.Scores) *float64 { return bit(s.Acc) },
		},
		{
			ID: "acc_norm", Title: "Accuracy of choices, by length", Axes: choices, Better: Higher,
			Text: "As acc, with each sum divided by the number of UTF-8 bytes of the choice.",
			get:  func(s row.Scores) *float64 { return bit(s.AccNorm) },
		},
		{
			ID: "logp_mean", Title: "Log-probability per token", Axes: all, Better: Neither, Unit: "nats",
			Text: "Mean log-probability of the target's tokens, each given the prompt and the tokens before it.",
			get:  func(s row.Scores) *float64 { return s.LogPMean },
		},
		{
			ID: "logp_sum", Title: "Log-probability", Axes: all, Better: Neither, Unit: "nats",
			Text: "Sum of the log-probabilities of the target's tokens: the log-probability of the target as a whole.",
			get:  func(s row.Scores) *float64 { return s.LogPSum },
		},
		{
			ID: "rank_first", Title: "Rank of the first token", Axes: all, Better: Lower, Unit: "rank",
			Text: "Number of tokens more probable than the target's first token; 0 is best. The only position where nothing of the answer is given.",
			get:  func(s row.Scores) *float64 { return number(s.FirstRank) },
		},
	}
	for _, f := range flips() {
		defs = append(defs, Def{
			ID: f.id, Title: f.title, Axes: all, Better: f.better, Text: f.text,
			get: func(s row.Scores) *float64 {
				if s.Flip == nil {
					return nil
				}
				is := *s.Flip == f.id
				return bit(&is)
			},
		})
	}
	defs = append(
		defs,
		Def{
			ID: "pre_tf_token_acc", Title: "Token accuracy before the edit", Axes: all, Better: Neither,
			Text: "tf_token_acc of the unedited model on the same probe: what the edit deserves no credit for.",
			get:  func(s row.Scores) *float64 { return s.PreTokenAcc },
		},
		Def{
			ID: "pre_tf_exact", Title: "Exact match before the edit", Axes: all, Better: Neither,
			Text: "tf_exact of the unedited model on the same probe.",
			get:  func(s row.Scores) *float64 { return bit(s.PreExact) },
		},
		Def{
			ID: "pre_success_prob", Title: "Success by probability before the edit", Axes: compared, Better: Neither,
			Text: "success_prob of the unedited model on the same probe.",
			get:  func(s row.Scores) *float64 { return bit(s.PreSuccess) },
		},
		Def{
			ID: "pre_acc", Title: "Accuracy of choices before the edit", Axes: choices, Better: Neither,
			Text: "acc of the unedited model on the same question.",
			get:  func(s row.Scores) *float64 { return bit(s.PreAcc) },
		},
		Def{
			ID: "cf_score", Title: "CounterFact's score S", Axes: []dataset.Axis{Overall}, Better: Higher,
			Text: "Harmonic mean of success_prob on reliability, generalization and neighbourhood; 0 if one of them is 0. Its n is the smallest of the three. Bootstrap S itself rather than combining their intervals.",
		},
	)
	return defs
}

// flip is one way a probe's outcome can go from the unedited to the edited model.
type flip struct {
	id, title, text string
	better          Direction
}

// The values of the flip column, and the ids of their rates.
const (
	KeptRight    = "kept_right"
	KeptWrong    = "kept_wrong"
	RightToWrong = "right_to_wrong"
	WrongToRight = "wrong_to_right"
	WrongToOther = "wrong_to_other"
)

func flips() []flip {
	const outcome = " Right means tf_exact, for questions with choices acc."
	return []flip{
		{KeptRight, "Right before and after", "Share of probes that the unedited and the edited model answer right." + outcome, Higher},
		{KeptWrong, "Same wrong answer", "Share of probes that both models answer wrong with the same most probable tokens or choice." + outcome, Neither},
		{RightToWrong, "Broken by the edit", "Share of probes that the unedited model answers right and the edited one wrong." + outcome, Lower},
		{WrongToRight, "Corrected by the edit", "Share of probes that the unedited model answers wrong and the edited one right." + outcome, Higher},
		{WrongToOther, "Another wrong answer", "Share of probes that both models answer wrong, but differently." + outcome, Neither},
	}
}

// Headline is the id of the metric that stands for an axis in short tables:
// EasyEdit's, so that numbers can be held against the literature. It is empty
// for an unknown axis.
func Headline(axis dataset.Axis) string {
	switch axis.Family() {
	case dataset.Reliability, dataset.Generalization, dataset.Portability, dataset.Time, dataset.Repeat:
		return "tf_token_acc"
	case dataset.Belief:
		return "acc"
	case dataset.Locality:
		return "agree_tok"
	}
	if axis == Overall {
		return "cf_score"
	}
	return ""
}

// Lookup finds a metric by its id, which may have the suffix of a variant that
// the metric has. It returns the definition and the suffix.
func Lookup(id string) (d Def, variant string, ok bool) {
	for _, d := range All() {
		suffix, found := strings.CutPrefix(id, d.ID)
		if !found {
			continue
		}
		switch {
		case suffix == "",
			suffix == Micro && d.Micro,
			suffix == Completed && d.Zero,
			suffix == Known && d.Known,
			suffix == Edited && d.Edited:
			return d, suffix, true
		}
	}
	return Def{}, "", false
}

// Explain says in plain text what a metric is and how it is averaged. The error
// names the metrics there are.
func Explain(id string) (string, error) {
	d, variant, ok := Lookup(id)
	if !ok {
		var ids []string
		for _, d := range All() {
			ids = append(ids, d.ID)
		}
		return "", fmt.Errorf("metric: unknown metric %q: want one of %s", id, strings.Join(ids, ", "))
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s (%s)\n\n%s\n", id, d.Title, d.Better, d.Text)
	if d.Unit != "" {
		fmt.Fprintf(&b, "\nUnit: %s.\n", d.Unit)
	}
	var axes []string
	for _, a := range d.Axes {
		axes = append(axes, string(a))
	}
	fmt.Fprintf(&b, "\nAxes: %s.\n", strings.Join(axes, ", "))
	if d.get == nil {
		return b.String(), nil
	}
	switch variant {
	case Micro:
		b.WriteString("\nMean over all tokens of all probes: long targets weigh more.\n")
	case Known:
		b.WriteString("\nMean over records of the mean over the record's probes that the unedited model answers right (tf_exact, for choices acc).\n")
	case Edited:
		b.WriteString("\nMean over the records whose edit succeeded (tf_exact is 1 on all of their reliability probes) of the mean over the record's probes; generalization and portability only.\n")
	default:
		b.WriteString("\nMean over records of the mean over the record's probes.\n")
	}
	switch {
	case variant == Completed:
		b.WriteString("Rows that failed are left out.\n")
	case d.Zero:
		b.WriteString("On reliability and generalization a row that failed counts as 0 (intention to treat), unless the fault is the model's; elsewhere it is left out.\n")
	default:
		b.WriteString("Rows that failed are left out.\n")
	}
	return b.String(), nil
}

func (d Def) appliesTo(axis dataset.Axis) bool { return slices.Contains(d.Axes, axis) }

// countsFailures says whether failed rows of the axis are zeros of the metric.
func (d Def) countsFailures(axis dataset.Axis) bool {
	return d.Zero && (axis == dataset.AxisReliability || axis == dataset.AxisGeneralization)
}

func bit(b *bool) *float64 {
	if b == nil {
		return nil
	}
	v := 0.0
	if *b {
		v = 1
	}
	return &v
}

func number(n *int32) *float64 {
	if n == nil {
		return nil
	}
	v := float64(*n)
	return &v
}
