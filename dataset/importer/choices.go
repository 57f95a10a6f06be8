package importer

import (
	"bufio"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"math/bits"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"editpipe/dataset"
	"editpipe/dataset/importer/rows"
)

// ReadChoices reads a file of questions with choices: PIQA's {goal, sol1, sol2}
// with a file of labels, or {question, choices, label}. It returns a pool of
// probes without EditID, in file order, for AttachChoices. The prompt is
// "Question: ...\nAnswer:", as the harnesses that report PIQA ask it. A record
// that cannot be used is an entry of the report's Errors.
func ReadChoices(path string, o Options) ([]dataset.Probe, Report, error) {
	format, err := formatNamed("choices")
	if err != nil {
		return nil, Report{}, err
	}
	o = o.with(path, format)
	report := Report{File: path, Format: format.Name, Probes: map[dataset.Axis]int{}}
	looks, keys, fault, err := sniff(path, o)
	if err != nil {
		return nil, report, err
	}
	if looks != format.Name {
		return nil, report, &FormatError{File: path, Want: format.Name, Looks: describe(looks), Keys: keys, Fault: fault}
	}
	labels, from, err := readLabels(path, o.Labels)
	if err != nil {
		return nil, report, err
	}
	var pool []dataset.Probe
	for p, err := range rowsOf(path, o, rows.JSON) {
		if err != nil {
			return nil, report, fmt.Errorf("importer: reading %s: %w", path, err)
		}
		report.Read++
		var label string
		if p.Index < len(labels) {
			label = labels[p.Index]
		}
		probe, field, err := choiceProbe(p, label, o.Set)
		if err != nil {
			re := &dataset.RecordError{File: path, Index: p.Index, Offset: p.Offset, Field: field, Err: err}
			report.Errors = append(report.Errors, Finding{Index: p.Index, Offset: p.Offset, Code: CodeRecord, Text: re.Error()})
			continue
		}
		if len(trimAll(probe.Choices)) < len(probe.Choices) {
			report.Warnings = append(report.Warnings, Finding{Index: p.Index, Offset: p.Offset, Code: CodeChoicesRepeated, Text: string(probe.ID)})
		}
		pool = append(pool, probe)
		report.Records++
		report.Probes[probe.Axis]++
	}
	if labels != nil && len(labels) != report.Read {
		return nil, report, fmt.Errorf("importer: %s has %d labels for the %d records of %s", from, len(labels), report.Read, path)
	}
	return pool, report, nil
}

// readLabels reads the lines of a labels file. Without an explicit name the
// file is looked for beside the records and may be absent.
func readLabels(path, explicit string) (labels []string, from string, err error) {
	from = explicit
	if from == "" {
		plain := unpackedName(path)
		from = strings.TrimSuffix(plain, filepath.Ext(plain)) + "-labels.lst"
	}
	file, err := os.Open(from)
	if errors.Is(err, fs.ErrNotExist) && explicit == "" {
		return nil, "", nil
	}
	if err != nil {
		return nil, from, fmt.Errorf("importer: opening labels: %w", err)
	}
	defer file.Close()
	scan := bufio.NewScanner(file)
	for scan.Scan() {
		if line := strings.TrimSpace(scan.Text()); line != "" {
			labels = append(labels, line)
		}
	}
	if err := scan.Err(); err != nil {
		return nil, from, fmt.Errorf("importer: reading labels %s: %w", from, err)
	}
	return labels, from, nil
}

// choiceProbe converts one record; label is the line of the labels file, or "".
func choiceProbe(p rows.Row, label, set string) (probe dataset.Probe, field string, err error) {
	f, err := newFields(p.Raw)
	if err != nil {
		return probe, "", err
	}
	var question string
	var choices []string
	if f.has("goal") {
		question = f.required("goal")
		choices = []string{f.required("sol1"), f.required("sol2")}
	} else {
		question = f.required("question")
		choices = f.texts("choices")
	}
	if own := f.id("label"); own != "" {
		label = own
	}
	if f.fault.err != nil {
		return probe, f.fault.field, f.fault.err
	}
	if len(choices) < 2 {
		return probe, "choices", fmt.Errorf("want two or more, have %d", len(choices))
	}
	for i, c := range choices {
		if choices[i] = strings.TrimSpace(c); choices[i] == "" {
			return probe, fmt.Sprintf("choices[%d]", i), ErrMissing
		}
	}
	if label == "" {
		return probe, "label", fmt.Errorf("%w: neither the record nor a labels file has one", ErrMissing)
	}
	right, err := strconv.Atoi(label)
	if err != nil || right < 0 || right >= len(choices) {
		return probe, "label", fmt.Errorf("want a number from 0 to %d, have %q", len(choices)-1, label)
	}
	return dataset.Probe{
		ID:     dataset.ProbeID(fmt.Sprintf("%s-%d", set, p.Index)),
		Family: dataset.AxisOtherTasks.Family(), Axis: dataset.AxisOtherTasks, Variant: "choices",
		Prompt: "Question: " + strings.TrimSpace(question) + "\nAnswer:", Format: dataset.Choice, AnswerMode: dataset.OneChoice,
		Answers: []string{choices[right]}, Choices: choices, ChoiceLabel: int32(right),
		SubjectStart: -1, SubjectEnd: -1, Phrasing: "imported",
	}, "", nil
}

// AttachChoices returns copies of records, each with n probes of the pool added
// under the axis other_tasks. Which ones depends on the seed and the edit's id
// alone, so that a record keeps its questions in any subset or order of the
// data, while different records spread over the pool.
func AttachChoices(records []dataset.Record, pool []dataset.Probe, n int, seed int64) ([]dataset.Record, error) {
	if n < 0 || n > len(pool) {
		return nil, fmt.Errorf("importer: attaching choices: %d questions per record asked of a pool of %d", n, len(pool))
	}
	ids := map[dataset.ProbeID]bool{}
	for _, p := range pool {
		if ids[p.ID] {
			return nil, fmt.Errorf("importer: attaching choices: the pool has two probes %s: read its files with different names of the set", p.ID)
		}
		ids[p.ID] = true
		if p.Format != dataset.Choice || len(p.Choices) < 2 || p.ChoiceLabel < 0 || int(p.ChoiceLabel) >= len(p.Choices) {
			return nil, fmt.Errorf("importer: attaching choices: probe %s of the pool is no question with choices", p.ID)
		}
	}
	out := make([]dataset.Record, len(records))
	for i, rec := range records {
		probes := slices.Clone(rec.Probes)
		for _, at := range draw(len(pool), n, seed, rec.Edit.ID) {
			p := pool[at]
			p.ID = dataset.ProbeID(fmt.Sprintf("%s-choice-%s", rec.Edit.ID, p.ID))
			p.EditID = rec.Edit.ID
			probes = append(probes, p)
		}
		out[i] = dataset.Record{Edit: rec.Edit, Probes: probes}
	}
	return out, nil
}

// draw picks k of n positions without replacement, in rising order, by the
// first k steps of a Fisher-Yates shuffle.
func draw(n, k int, seed int64, id dataset.EditID) []int {
	h := fnv.New64a()
	h.Write([]byte(id))
	r := rand.NewPCG(uint64(seed), h.Sum64())
	at := make([]int, n)
	for i := range at {
		at[i] = i
	}
	for i := range k {
		// The high half of a 64 x 64 bit product is uniform below n-i up to n/2^64.
		hi, _ := bits.Mul64(r.Uint64(), uint64(n-i))
		j := i + int(hi)
		at[i], at[j] = at[j], at[i]
	}
	picked := at[:k]
	slices.Sort(picked)
	return picked
}
