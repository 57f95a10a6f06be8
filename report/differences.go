package report

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"editpipe/store"
)

// fact is something that may tell a run from others.
type fact struct{ name, value string }

// facts is what decides the rows of a run.
type facts struct {
	run     []fact            // of the run as a whole
	methods map[string][]fact // by method, its configuration
}

// chosen are the flags of eval that decide which rows a run has or how they are
// asked, where the manifest itself does not say it.
var chosen = []string{"limit", "ids", "order-seed", "eval-at", "generate", "artifacts"}

func factsOf(m store.Manifest) facts {
	f := facts{
		run: []fact{
			{"model", m.Model.Name}, {"data", m.Dataset.Name},
			{"provider", m.Provider}, {"dtype", m.DType}, {"runtime", m.RuntimeVersion}, {"seed", fmt.Sprint(m.Seed)},
			{"model path", m.Model.Path}, {"model hash", short(m.Model.Hash)}, {"tokenizer hash", short(m.Model.TokenizerHash)},
			{"data path", m.Dataset.Path}, {"data hash", short(m.Dataset.Hash)}, {"protocol", m.ProtocolID},
		},
		methods: map[string][]fact{},
	}
	for _, flag := range chosen {
		var values []string // of the run's commands
		for _, c := range m.Commands {
			if v := c.Config[flag]; !slices.Contains(values, v) {
				values = append(values, v)
			}
		}
		value := strings.Join(values, " and ")
		if value == "0" { // as if it were not given
			value = ""
		}
		f.run = append(f.run, fact{flag, value})
	}
	for _, method := range m.Methods {
		for _, key := range slices.Sorted(maps.Keys(method.Config)) {
			f.methods[method.Name] = append(f.methods[method.Name], fact{key, method.Config[key]})
		}
	}
	return f
}

// lesser are facts that say less than others do: a path, a hash, a protocol. One is
// left out where one of those behind which it stands differs as well, or none of
// those that would show it to matter.
var lesser = map[string]struct{ behind, shown []string }{
	"model path":     {behind: []string{"model"}, shown: []string{"model hash", "tokenizer hash"}},
	"model hash":     {behind: []string{"model", "model path"}},
	"tokenizer hash": {behind: []string{"model", "model path"}},
	"data path":      {behind: []string{"data"}, shown: []string{"data hash"}},
	"data hash":      {behind: []string{"data", "data path"}},
	"protocol":       {behind: []string{"model", "provider", "dtype", "generate", "model path", "model hash", "tokenizer hash"}},
}

// short is as much of a hash as people compare.
func short(hash string) string { return hash[:min(len(hash), 12)] }

// of lists what decides the rows of a method.
func (f facts) of(method string) []fact { return slices.Concat(f.methods[method], f.run) }

// tellApart fills in what tells the rows of runs that show the same method under
// the same schedule apart.
func (r *Report) tellApart() {
	shows := map[group][]int{} // runs by what they show
	place := map[string]int{}  // of a run, by folder
	for i, run := range r.Runs {
		place[run.Dir] = i
	}
	for _, row := range r.Rows {
		g, i := group{row.Method, row.Setting}, place[row.Dir]
		if !slices.Contains(shows[g], i) {
			shows[g] = append(shows[g], i)
		}
	}
	differs := func(g group, dir string) string {
		var list []fact
		for _, f := range r.Runs[place[dir]].facts.of(g.method) {
			if slices.ContainsFunc(shows[g], func(i int) bool {
				return !slices.Contains(r.Runs[i].facts.of(g.method), f)
			}) {
				list = append(list, f)
			}
		}
		return describe(list)
	}
	for i, row := range r.Rows {
		r.Rows[i].Differs = differs(group{row.Method, row.Setting}, row.Dir)
	}
	for i, e := range r.Efficiency {
		r.Efficiency[i].Differs = differs(group{e.Method, e.Setting}, e.Dir)
	}
}

// describe writes down facts that differ.
func describe(list []fact) string {
	has := func(names ...string) bool {
		return slices.ContainsFunc(list, func(f fact) bool { return slices.Contains(names, f.name) })
	}
	var words []string
	for _, f := range list {
		l := lesser[f.name]
		switch {
		case has(l.behind...) || l.shown != nil && !has(l.shown...):
		case f.value == "":
			words = append(words, "no "+f.name)
		default:
			words = append(words, f.name+"="+f.value)
		}
	}
	return strings.Join(words, ", ")
}
