package main

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"editpipe/demo"
	"editpipe/edit"
	"editpipe/edit/all"
	"editpipe/models"
	"editpipe/models/arch"
)

func inspectCommand() *cli.Command {
	return &cli.Command{
		Name:  "inspect",
		Usage: "show a model's layers and editable weights, and what cannot be edited and why",
		Description: "Only the graph is read; the runtime library is not needed.\n\n" +
			"Example: editpipe inspect --model gpt-j-6b-onnx",
		Flags: []cli.Flag{modelFlag(), jsonFlag()},
		Action: func(c *cli.Context) error {
			if err := noArgs(c); err != nil {
				return err
			}
			dir, embedded, err := modelDir(c)
			if err != nil {
				return err
			}
			info, err := models.Inspect(dir)
			if err != nil {
				return err
			}
			if embedded {
				info.Name = demo.Name
			}
			methods, err := methodsFor(info)
			if err != nil {
				return err
			}
			if c.Bool("json") {
				return writeJSON(c.App.Writer, struct {
					*arch.Info
					Methods []methodFor `json:"methods"`
				}{info, methods})
			}
			return writeInfo(c.App.Writer, info, methods)
		},
	}
}

// methodFor is a method as it would run on one model.
type methodFor struct {
	Name     string            `json:"name"`
	Defaults map[string]string `json:"defaults,omitempty"`
	Why      string            `json:"why_not,omitempty"` // empty where the method runs on the model
}

func methodsFor(info *arch.Info) ([]methodFor, error) {
	var out []methodFor
	for _, m := range all.Methods() {
		config, err := m.Configure(info, nil)
		if err != nil {
			return nil, err
		}
		row := methodFor{Name: m.Name, Defaults: config.Map()}
		err = m.Supports(edit.Schedule{Kind: m.Schedules[0]}, info)
		if err == nil {
			err = m.Lacks(config, info)
		}
		if err != nil {
			row.Why = err.Error()
		}
		out = append(out, row)
	}
	return out, nil
}

func writeInfo(w io.Writer, info *arch.Info, methods []methodFor) error {
	if err := writeModel(w, info); err != nil {
		return err
	}
	if err := writeWeights(w, info); err != nil {
		return err
	}
	writeMethods(w, methods)
	for _, n := range info.Warnings {
		fmt.Fprintf(w, "\nwarning: %s\n", n)
	}
	for _, r := range info.Refusals {
		fmt.Fprintf(w, "\nnot possible: %s\n", r)
	}
	return nil
}

func writeModel(w io.Writer, info *arch.Info) error {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	line := func(name, format string, args ...any) {
		fmt.Fprintf(t, "%s\t%s\n", name, fmt.Sprintf(format, args...))
	}
	line("model", "%s (%s)", info.Name, info.Family)
	line("kind", "%s", info.Arch)
	files := strings.Join(info.Files, ", ")
	if info.Others != "" {
		files += fmt.Sprintf(" (not in use: %s; give the path of one to use it)", info.Others)
	}
	line("files", "%s", files)
	line("opset, IR", "%d, %d", info.Opset, info.IR)
	layers := fmt.Sprint(info.Layers)
	if info.EncoderLayers > 0 {
		layers = fmt.Sprintf("%d encoder, %d decoder", info.EncoderLayers, info.Layers)
	}
	line("layers", "%s", layers)
	line("width, FFN width", "%d, %d", info.Width, info.FFNWidth)
	line("vocabulary", "%d", info.Vocab)
	context := fmt.Sprintf("%d (%s)", info.Context, info.ContextFrom)
	if info.Context == 0 {
		context = "unbounded"
	}
	line("context", "%s", context)
	line("weights", "%s", info.DType)
	tokenizer := filepath.Base(info.TokenizerFile)
	switch {
	case !info.Tokenizer:
		tokenizer = "none: the model can be asked by token ids only"
	case info.TokenizerFault != "":
		tokenizer = "cannot be used: " + info.TokenizerFault
	}
	line("tokenizer", "%s", tokenizer)
	line("scoring", "%s", info.Scoring)
	line("generation", "%s", info.Generation)
	line("dense patches", "%s", info.Dense)
	gradients := "yes"
	if info.NoGradient != "" {
		gradients = "no: " + info.NoGradient
	}
	line("gradients", "%s", gradients)
	return t.Flush()
}

func writeWeights(w io.Writer, info *arch.Info) error {
	fmt.Fprintln(w, "\nfeed-forward weights, y = x W")
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "  id\tin x out\tinitializer\tstored\teditable")
	for i := range info.FFNs {
		f := &info.FFNs[i]
		for _, part := range []arch.Part{arch.FFNUp, arch.FFNGate, arch.FFNDown} {
			wt := f.Weight(part)
			if wt == nil {
				continue
			}
			stored := wt.DType + " in x out"
			if wt.Transposed {
				stored = wt.DType + " out x in"
			}
			editable := "yes"
			if !wt.Editable {
				editable = "no: " + wt.Why
			}
			fmt.Fprintf(t, "  %s\t%d x %d\t%s\t%s\t%s\n", wt.ID, wt.In, wt.Out, wt.Initializer, stored, editable)
		}
	}
	return t.Flush()
}

func writeMethods(w io.Writer, methods []methodFor) {
	fmt.Fprintln(w, "\nmethods, with their defaults for this model")
	for _, m := range methods {
		note := ""
		if m.Why != "" {
			note = "not on this model: " + m.Why
		}
		fmt.Fprintf(w, "  %s %s\n", m.Name, note)
		for _, k := range sortedKeys(m.Defaults) {
			fmt.Fprintf(w, "    %s.%s=%s\n", m.Name, k, m.Defaults[k])
		}
	}
}
