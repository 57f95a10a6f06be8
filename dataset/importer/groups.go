package importer

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"editpipe/dataset"
)

// kind is an axis of ours with a word of the file for it.
type kind struct {
	axis    dataset.Axis
	variant string
}

// kinds are the names that files give to groups of questions: those of our axes,
// of KnowEdit (Zhang et al. 2024), RippleEdits, the survey, and EasyEdit's editor
// and examples. KnowEdit's Logical_Generalization is mostly, but not only, the
// reversed relation, and its Reasoning may take more than one hop: the variant
// keeps the file's own word.
var kinds = map[dataset.Axis]map[string][]string{ // axis -> variant -> names
	dataset.AxisGeneralization: {
		"":         {"generalization", "rephrase", "rephrase_prompt", "paraphrase"},
		"personas": {"persona"},
	},
	dataset.AxisSubjectReplace: {
		"alias":   {"subject_replace", "subject_replacement", "subject_aliasing", "subject_alias", "subject_aliases", "alias", "aliases"},
		"synonym": {"synonym"},
	},
	dataset.AxisReversedRelation: {
		"":                       {"reversed_relation", "reverse_relation", "inverse_relation"},
		"logical_generalization": {"logical_generalization"},
	},
	dataset.AxisOneHop: {
		"":                   {"one_hop", "onehop", "1_hop"},
		"reasoning":          {"reasoning"},
		"mhop":               {"mhop", "multi_hop", "multihop"},
		"compositionality_i": {"compositionality_i"}, "compositionality_ii": {"compositionality_ii"},
		"portability": {"portability", "por_hop"},
	},
	dataset.AxisOtherRelations: {
		"":                     {"other_relation", "other_attribution", "other_attribute"},
		"unrelated_relation":   {"unrelated_relation"},
		"relation_specificity": {"relation_specificity", "relation_specifity"}, // the second is RippleEdits' own
		"forgetfulness":        {"forgetfulness"},
		"locality":             {"locality", "loc_hop"},
	},
	dataset.AxisNeighbourhood: {
		"": {"neighbourhood", "neighbour"},
	},
	dataset.AxisDistractNeighbourhood: {
		"": {"distract_neighbourhood", "distracting_neighbourhood", "distract_neighbour", "distracting_neighbour", "distracting", "distract"},
	},
	dataset.AxisOtherTasks: {
		"":          {"other_task"},
		"unrelated": {"unrelated"},
		"nq":        {"nq"},
	},
}

var oneSpelling = strings.NewReplacer("-", "_", " ", "_", "neighbor", "neighbour", "generalis", "generaliz") //nolint:misspell // files have both

// spelled brings a group's name into the form in which it is looked up: case,
// joints, American and British spelling, and a plural's s make no difference.
func spelled(name string) string {
	name = oneSpelling.Replace(strings.ToLower(strings.TrimSpace(name)))
	for _, end := range []string{"_prompts", "_inputs"} {
		name = strings.TrimSuffix(name, end)
	}
	return strings.TrimSuffix(name, "s")
}

// kindBySpelling is kinds by name, spelled.
var kindBySpelling = func() map[string]kind {
	m := map[string]kind{}
	for axis, variants := range kinds {
		for variant, names := range variants {
			for _, n := range names {
				m[spelled(n)] = kind{axis, variant}
			}
		}
	}
	return m
}()

// kindNamed says what a group of questions asks.
func kindNamed(name string) (kind, bool) {
	k, ok := kindBySpelling[spelled(name)]
	return k, ok
}

// askKind adds the probes of one named group.
func (d *draft) askKind(name, path string, raw json.RawMessage) {
	k, ok := kindNamed(name)
	if !ok {
		d.drop(path)
		return
	}
	d.askGroup(k, path, raw)
}

// askGroup adds the probes of a group of one kind.
func (d *draft) askGroup(k kind, path string, raw json.RawMessage) {
	items, err := parseGroup(raw)
	if err != nil {
		d.fail(path, err)
		return
	}
	for _, it := range items {
		d.ask(k.axis, k.variant, it.prompt, it.want, d.contrast(k.axis))
	}
}

// drop reports a group of questions whose name says no kind.
func (d *draft) drop(path string) {
	d.warn(CodeProbeDropped, "%s is no known kind of probe", path)
	d.groups[path]++
}

// readByName are the fields with prompts that flat and grouped records have under
// names of their own.
var readByName = []string{"prompt", "cloze_prompt", "rephrase_prompt", "rephrase", "locality_prompt", "locality", "portability"}

// askOthers adds the questions of the fields that have no reader of their own:
// NAME_prompt with NAME_ground_truth, and groups, where the name says what they
// ask. Where it does not they are reported and left out.
func (d *draft) askOthers() {
	for _, name := range slices.Sorted(maps.Keys(d.m)) {
		raw := d.m[name]
		base, flat := strings.CutSuffix(strings.TrimSuffix(name, "s"), "_prompt")
		switch {
		case slices.Contains(readByName, name) || blank(raw):
		case name == "loc_prompts": // texts that some of EasyEdit's methods learn from: no questions
			d.skipped[name]++
		case holdsPrompt(raw):
			d.askNested(name, name, raw)
		case flat:
			d.askFlat(base, name)
		}
	}
}

// askFlat adds the questions of the field NAME_prompt with the answers of
// NAME_ground_truth.
func (d *draft) askFlat(name, field string) {
	k, known := kindNamed(name)
	truths := name + "_ground_truth"
	switch {
	case known && d.has(truths):
		d.askColumns(k, field, truths)
	case known && k.axis == dataset.AxisGeneralization: // the target is expected
		d.rephrase(d.texts(field))
	default:
		d.drop(field)
	}
}

// askNested adds the questions of a group, or of the groups in an object of groups.
func (d *draft) askNested(name, path string, raw json.RawMessage) {
	var sub map[string]json.RawMessage
	if json.Unmarshal(raw, &sub) != nil || sub["prompt"] != nil {
		d.askKind(name, path, raw)
		return
	}
	for _, key := range slices.Sorted(maps.Keys(sub)) {
		if holdsPrompt(sub[key]) {
			d.askNested(key, path+"."+key, sub[key])
		}
	}
}

// holdsPrompt says whether a value is an object or list with the key prompt in it.
func holdsPrompt(raw json.RawMessage) bool {
	var inside []json.RawMessage
	switch kindOf(raw) {
	case "an object":
		var m map[string]json.RawMessage
		if json.Unmarshal(raw, &m) != nil {
			return false
		}
		if !blank(orNull(m["prompt"])) {
			return true
		}
		inside = slices.Collect(maps.Values(m))
	case "a list":
		if json.Unmarshal(raw, &inside) != nil {
			return false
		}
	}
	return slices.ContainsFunc(inside, holdsPrompt)
}

// blank says whether a value asks nothing: null, or text or a list without any in it.
func blank(raw json.RawMessage) bool {
	switch kindOf(raw) {
	case "null":
		return true
	case "a string":
		var s string
		return json.Unmarshal(raw, &s) == nil && strings.TrimSpace(s) == ""
	case "a list":
		var list []json.RawMessage
		return json.Unmarshal(raw, &list) == nil && !slices.ContainsFunc(list, func(e json.RawMessage) bool { return !blank(e) })
	}
	return false
}

// askGroups adds the probes of the groups under portability and locality, in a
// fixed order.
func (d *draft) askGroups() {
	for _, family := range []string{"portability", "locality"} {
		if !d.has(family) {
			continue
		}
		var groups map[string]json.RawMessage
		if err := json.Unmarshal(d.m[family], &groups); err != nil {
			d.fail(family, fmt.Errorf("want an object of named groups, have %s", kindOf(d.m[family])))
			return
		}
		for _, name := range slices.Sorted(maps.Keys(groups)) {
			d.askKind(name, family+"."+name, groups[name])
		}
	}
}

// contrast is what the right answer to a question of an axis must beat.
func (d *draft) contrast(axis dataset.Axis) string {
	switch axis {
	case dataset.AxisGeneralization, dataset.AxisSubjectReplace: // the edit's own question
		return d.edit.GroundTruth
	case dataset.AxisNeighbourhood, dataset.AxisDistractNeighbourhood: // the new object must not spill over
		return d.edit.Target
	}
	return ""
}

// item is one question of a group.
type item struct {
	prompt string
	want   answer
}

// parseGroup reads a group of questions in either of two shapes: a list of
// objects {prompt, ground_truth} (KnowEdit), or one object whose prompt and
// ground_truth are both strings or lists of equal length (EasyEdit). A prompt that
// is no string, null included, is an error.
func parseGroup(raw json.RawMessage) ([]item, error) {
	var list []group
	switch kindOf(raw) {
	case "null":
		return nil, nil
	case "a list":
		if err := json.Unmarshal(raw, &list); err != nil {
			return nil, fmt.Errorf("want a list of objects with prompt and ground_truth: %w", err)
		}
	case "an object":
		var g group
		if err := json.Unmarshal(raw, &g); err != nil {
			return nil, err
		}
		if g.Prompt == nil && g.Truth == nil { // {} is an empty group
			return nil, nil
		}
		if kindOf(g.Prompt) != "a list" {
			it, err := g.item()
			return []item{it}, err
		}
		var prompts, truths []json.RawMessage
		if err := json.Unmarshal(g.Prompt, &prompts); err != nil {
			return nil, err
		}
		if kindOf(g.Truth) != "a list" {
			return nil, fmt.Errorf("prompt is a list but ground_truth is %s", kindOf(g.Truth))
		}
		if err := json.Unmarshal(g.Truth, &truths); err != nil {
			return nil, err
		}
		if len(prompts) != len(truths) {
			return nil, fmt.Errorf("%d prompts but %d ground truths", len(prompts), len(truths))
		}
		for i := range prompts {
			list = append(list, group{prompts[i], truths[i]})
		}
	default:
		return nil, fmt.Errorf("want an object or a list of objects with prompt and ground_truth, have %s", kindOf(raw))
	}
	out := make([]item, len(list))
	for i, g := range list {
		var err error
		if out[i], err = g.item(); err != nil {
			return nil, fmt.Errorf("entry %d: %w", i, err)
		}
	}
	return out, nil
}

// group is one question, or several in lists, as files have it.
type group struct {
	Prompt json.RawMessage `json:"prompt"`
	Truth  json.RawMessage `json:"ground_truth"`
}

// item reads a group of one question.
func (g group) item() (it item, err error) {
	if kindOf(g.Prompt) != "a string" {
		return it, fmt.Errorf("prompt: want a string, have %s", kindOf(g.Prompt))
	}
	if err := json.Unmarshal(g.Prompt, &it.prompt); err != nil {
		return it, err
	}
	if it.want, err = parseAnswer(orNull(g.Truth)); err != nil {
		return it, fmt.Errorf("ground_truth: %w", err)
	}
	return it, nil
}

func orNull(raw json.RawMessage) json.RawMessage {
	if raw == nil {
		return json.RawMessage("null")
	}
	return raw
}
