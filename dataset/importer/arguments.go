package importer

import (
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"

	"editpipe/dataset/importer/rows"
)

// argumentsOf are the arguments of EasyEdit's editor that hold one value for every
// edit, with the name that the value has in a request. Groups of questions are under
// locality_inputs and portability_inputs.
var argumentsOf = map[string]string{
	"prompts": "prompt", "subject": "subject", "target_new": "target_new", "ground_truth": "ground_truth", "rephrase_prompts": "rephrase_prompt",
}

// requests cuts EasyEdit requests. The arguments of the editor as one object of
// lists become the requests they stand for.
func requests(r io.Reader) iter.Seq2[rows.Row, error] {
	return func(yield func(rows.Row, error) bool) {
		index := 0
		for row, err := range rows.JSON(r) {
			if err != nil {
				yield(rows.Row{}, err)
				return
			}
			parts := []rows.Row{row}
			if f, err := newFields(row.Raw); err == nil && f.has("prompts") && row.Err == nil {
				if parts, err = unzip(f); err != nil {
					parts = []rows.Row{{Err: err}}
				}
			}
			for _, p := range parts {
				p.Index, p.Offset = index, row.Offset
				index++
				if !yield(p, nil) {
					return
				}
			}
		}
	}
}

// unzip parts an object of lists into one object for each place in the lists.
func unzip(args fields) ([]rows.Row, error) {
	columns := map[string][]json.RawMessage{} // by path in a request
	n := -1
	add := func(path, name string, raw json.RawMessage) error {
		if kindOf(raw) == "null" {
			return nil
		}
		var list []json.RawMessage
		if kindOf(raw) != "a list" { // the editor takes a lone edit without a list
			list = []json.RawMessage{raw}
		} else if err := json.Unmarshal(raw, &list); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if n >= 0 && len(list) != n {
			return fmt.Errorf("%s has %d values, prompts has %d", path, len(list), n)
		}
		n, columns[name] = len(list), list
		return nil
	}
	if err := add("prompts", "prompt", args.m["prompts"]); err != nil || n < 0 {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(argumentsOf)) {
		if err := add(name, argumentsOf[name], orNull(args.m[name])); err != nil {
			return nil, err
		}
	}
	// What the editor does not take is the request's all the same, whose reader says
	// what becomes of it.
	var others []string
	for _, name := range slices.Sorted(maps.Keys(args.m)) {
		if _, known := argumentsOf[name]; !known && name != "locality_inputs" && name != "portability_inputs" {
			others = append(others, name)
		}
	}
	groups := map[string]map[string]group{} // family -> name
	for _, family := range []string{"locality", "portability"} {
		name := family + "_inputs"
		if !args.has(name) {
			continue
		}
		var all map[string]group
		if err := json.Unmarshal(args.m[name], &all); err != nil {
			return nil, fmt.Errorf("%s: want an object of groups with prompt and ground_truth: %w", name, err)
		}
		groups[family] = all
		for _, g := range slices.Sorted(maps.Keys(all)) {
			path := name + "." + g
			for column, raw := range map[string]json.RawMessage{"prompt": all[g].Prompt, "ground_truth": all[g].Truth} {
				if err := add(path+"."+column, family+"."+g+"."+column, orNull(raw)); err != nil {
					return nil, err
				}
			}
		}
	}
	out := make([]rows.Row, n)
	for i := range out {
		request := map[string]any{}
		for _, name := range argumentsOf {
			if list := columns[name]; list != nil {
				request[name] = list[i]
			}
		}
		for _, name := range others {
			if request[name] != nil {
				continue
			}
			var list []json.RawMessage
			if request[name] = args.m[name]; json.Unmarshal(args.m[name], &list) == nil && len(list) == n {
				request[name] = list[i]
			}
		}
		for family, all := range groups {
			asked := map[string]group{}
			for g := range all {
				q := group{at(columns[family+"."+g+".prompt"], i), at(columns[family+"."+g+".ground_truth"], i)}
				if kindOf(q.Prompt) != "null" { // this edit is not asked it
					asked[g] = q
				}
			}
			request[family] = asked
		}
		out[i].Raw, out[i].Err = json.Marshal(request)
	}
	return out, nil
}

func at(list []json.RawMessage, i int) json.RawMessage {
	if list == nil {
		return json.RawMessage("null")
	}
	return list[i]
}
