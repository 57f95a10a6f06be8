package main

import (
	"fmt"
	"io"
	"text/tabwriter"

	"editpipe/stages"
)

// writePlan prints what an evaluation would do; budget is the bytes one run of
// the model may hold beside the weights.
func writePlan(w io.Writer, p *stages.Plan, budget int64) error {
	fmt.Fprintf(w, "model %s, data %s: %d edits, %d probes, %d records to learn from\n", p.Model, p.Dataset, p.Edits, p.Probes, p.Train)
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	for _, s := range p.Stages {
		fmt.Fprintf(t, "%s\t%d units\t%d finished\n", s.Name, s.Units, s.Done)
	}
	for _, c := range p.Combos {
		note := fmt.Sprintf("%d units", c.Units)
		if c.Refused != "" {
			note = "unsupported: " + c.Refused
		}
		fmt.Fprintf(t, "%s\t%s\t%s\n", c.Method, c.Setting, note)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "memory: %.1f MiB of weights and at most %.1f MiB for one run of the model; disk: about %.1f MiB\n",
		mib(p.Weights), mib(budget), mib(p.Disk))
	return err
}

func mib(bytes int64) float64 { return float64(bytes) / (1 << 20) }
