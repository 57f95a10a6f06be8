package metric

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"editpipe/row"
)

// parts are the columns of row.Scores that no metric of their own name averages, and
// what they are for.
var parts = map[string]string{
	"n_target_tokens":   "weight of micro averages",
	"tf_correct":        "numerator of tf_token_acc",
	"logp_alt_mean":     "one side of success_prob and prob_diff",
	"min_logit_gap":     "tells close calls when runs are compared",
	"boundary_repair":   "tells how the target was tokenised",
	"argmax_ids":        "compared for agree_tok",
	"choice":            "compared for acc",
	"choice_norm":       "compared for acc_norm",
	"gen_text":          "compared for gen_em and gen_contains",
	"gen_stop":          "tells why the text ends",
	"pre_argmax_ids":    "compared for agree_tok",
	"pre_logp_mean":     "one side of pre_success_prob",
	"pre_logp_alt_mean": "the other side of it",
	"pre_choice":        "compared for pre_acc and agree_tok",
	"flip":              "has one rate for each of its values",
}

// TestColumns walks the columns of row.Scores: each is a metric of All, which reads
// this column and no other, or is listed as a part of one. That docs/formats.md
// describes each is tested with all other tables, in package stages.
func TestColumns(t *testing.T) {
	defs := map[string]Def{}
	for _, d := range All() {
		defs[d.ID] = d
	}
	left := maps.Clone(parts)
	for _, f := range reflect.VisibleFields(reflect.TypeFor[row.Scores]()) {
		name, _, _ := strings.Cut(f.Tag.Get("parquet"), ",")
		_, part := parts[name]
		delete(left, name)
		d, ok := defs[name]
		if ok == part {
			t.Errorf("column %s (%s): defined in All %v, listed as a part of a metric %v; want one of the two", name, f.Name, ok, part)
		}
		if !ok {
			continue
		}
		var s row.Scores
		if d.get(s) != nil {
			t.Errorf("metric %s has a value where no column has", name)
		}
		field := reflect.ValueOf(&s).Elem().FieldByIndex(f.Index)
		field.Set(reflect.New(f.Type.Elem()))
		if v := d.get(s); v == nil || *v != 0 {
			t.Errorf("metric %s does not read its column %s", name, f.Name)
		}
		delete(defs, name)
	}
	for name := range left {
		t.Errorf("%s is listed and is no column", name)
	}
	var rates []string // of flip, and what combines metrics
	for _, f := range flips() {
		rates = append(rates, f.id)
	}
	if have, want := slices.Sorted(maps.Keys(defs)), slices.Sorted(slices.Values(append(rates, "cf_score"))); !slices.Equal(have, want) {
		t.Errorf("metrics without a column of their own are %v, want %v", have, want)
	}
}
