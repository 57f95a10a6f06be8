package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"editpipe/dataset"
	"editpipe/edit"
	"editpipe/lfs"
	"editpipe/pipeline"
	"editpipe/row"
	"editpipe/stages"
	"editpipe/store"
)

func evalCommand() *cli.Command {
	return &cli.Command{
		Name:  "eval",
		Usage: "edit a model with one or more methods and evaluate it before and after each edit",
		Description: "It may be killed at any moment; the same command then resumes, and finished units are kept. With --plan nothing is run.\n\n" +
			"Examples:\n" +
			"  editpipe eval --method none,ike --out out/demo\n" +
			"  editpipe eval --model gpt-j-onnx --data counterfact --method ice --provider cuda --limit 500 --out runs/gptj\n" +
			"  editpipe eval --method patch --set patch.path=edits --data counterfact --model gpt2-onnx --out runs/mine",
		Flags: append(runtimeFlags(),
			configFlag(), dataFlag(),
			&cli.StringSliceFlag{Name: "method", Usage: "`ID[,ID...]` of the methods (editpipe list methods), repeatable", Value: cli.NewStringSlice("none"), EnvVars: env("method")},
			&cli.StringSliceFlag{Name: "setting", Usage: "schedule of the edits: single, batch:N, sequential, sequential:N, sequential:N/B; several separated by commas, or repeated", Value: cli.NewStringSlice("single"), EnvVars: env("setting")},
			&cli.StringFlag{Name: "out", Usage: "run folder `DIR`", EnvVars: env("out")},
			&cli.IntFlag{Name: "limit", Usage: "edit the first `N` records only", EnvVars: env("limit")},
			&cli.StringFlag{Name: "ids", Usage: "`FILE` of edit ids, one per line: edit these only", EnvVars: env("ids")},
			&cli.Int64Flag{Name: "seed", Usage: "seed of the methods' random choices", Value: 1, EnvVars: env("seed")},
			&cli.Int64Flag{Name: "order-seed", Usage: "shuffle the records by this seed (default: data set order)", EnvVars: env("order-seed")},
			&cli.StringSliceFlag{Name: "eval-at", Usage: "when to evaluate in a sequence: immediate, final, every:K; several separated by commas, or repeated", Value: cli.NewStringSlice("final"), EnvVars: env("eval-at")},
			&cli.IntFlag{Name: "generate", Usage: "also generate up to `N` tokens of free text per probe (0: none)", EnvVars: env("generate")},
			&cli.StringFlag{Name: "artifacts", Usage: "`DIR` that prepare wrote", EnvVars: env("artifacts")},
			&cli.StringFlag{Name: "shard", Usage: "run part `I/N` of the units; the parts may share --out", EnvVars: env("shard")},
			&cli.BoolFlag{Name: "plan", Usage: "print what would run and the memory and disk it needs, and stop", EnvVars: env("plan")},
			&cli.BoolFlag{Name: "retry-errors", Usage: "run units with failed rows again", EnvVars: env("retry-errors")},
			&cli.BoolFlag{Name: "fresh", Usage: "remove the run folder's rows and start over", EnvVars: env("fresh")},
			&cli.IntFlag{Name: "max-errors", Usage: "number of failed units to tolerate before stopping", EnvVars: env("max-errors")},
			setFlag(), jsonFlag(),
		),
		Before: readConfig,
		Action: runEval,
	}
}

func runEval(c *cli.Context) error {
	e, err := evalArguments(c)
	if err != nil {
		return err
	}
	return withTexts(c, func(ctx context.Context, model opened) error {
		for _, m := range e.Methods {
			if _, err := configure(m, model.Info(), e.Overrides[m.Name]); err != nil {
				return err
			}
		}
		e.LM, e.Manifest = model.LM, manifest(c, model)
		if c.Bool("plan") {
			plan, err := e.Plan(ctx)
			if err != nil {
				return prepareFirst(c, err)
			}
			if c.Bool("json") {
				return writeJSON(c.App.Writer, plan)
			}
			return writePlan(c.App.Writer, plan, model.budget)
		}
		e.Observe = pipeline.NewProgress(c.App.ErrWriter).Observe
		report, err := e.Do(ctx)
		if err != nil {
			return prepareFirst(c, err)
		}
		return finishEval(c, report)
	})
}

// evalArguments reads the flags and the data set; what hangs on the model is left
// to be filled in.
func evalArguments(c *cli.Context) (*stages.Eval, error) {
	if err := errors.Join(noArgs(c), need(c, "out")); err != nil {
		return nil, err
	}
	e := &stages.Eval{
		Artifacts: c.String("artifacts"), Seed: c.Int64("seed"), MaxNew: c.Int("generate"),
		Out: c.String("out"), RetryErrors: c.Bool("retry-errors"), Fresh: c.Bool("fresh"), MaxErrors: c.Int("max-errors"),
	}
	names, err := splitList(c, "method")
	if err != nil {
		return nil, err
	}
	for _, n := range names {
		m, err := methodNamed(n)
		if err != nil {
			return nil, err
		}
		e.Methods = append(e.Methods, m)
	}
	if e.Overrides, err = overrides(c, e.Methods); err != nil {
		return nil, err
	}
	words, err := splitList(c, "setting")
	if err != nil {
		return nil, err
	}
	for _, w := range words {
		s, err := edit.ParseSchedule(w)
		if err != nil {
			return nil, usagef("--setting: %w", err)
		}
		e.Schedules = append(e.Schedules, s)
	}
	if e.When, err = stages.ParseWhen(list(c, "eval-at")); err != nil {
		return nil, usagef("%w", err)
	}
	if e.Shard, err = pipeline.ParseShard(c.String("shard")); err != nil {
		return nil, usagef("--shard: %w", err)
	}
	for _, f := range []string{"limit", "generate", "max-errors"} {
		if c.Int(f) < 0 {
			return nil, usagef("--%s must not be negative", f)
		}
	}
	ids, err := readIDs(c.String("ids"))
	if err != nil {
		return nil, err
	}
	e.Select = dataset.Selection{Limit: c.Int("limit"), IDs: ids, OrderSeed: c.Int64("order-seed")}
	if err := writable(e.Out); err != nil {
		return nil, err
	}
	e.Data, err = openData(c)
	return e, err
}

// manifest is what only the command knows of a run.
func manifest(c *cli.Context, m opened) store.Manifest {
	return store.Manifest{
		ToolVersion: version(), RuntimeVersion: m.runtime, Provider: m.provider.String(), DType: m.Info().DType,
		Model:    store.ModelInfo{Path: modelPath(c)},
		Dataset:  store.DatasetInfo{Path: c.String("data")},
		Host:     store.ThisHost(),
		Commands: []store.Command{{At: time.Now().UTC(), Args: os.Args[1:], Config: effective(c)}},
	}
}

// finishEval says what came of it; failed rows are exit code 3.
func finishEval(c *cli.Context, r *stages.Report) error {
	if err := writeEvaluated(c, r); err != nil {
		return err
	}
	if r.Replaced > 0 {
		fmt.Fprintf(c.App.ErrWriter, "%d rows of commands with another selection, order or preparation are kept in %s, and not counted\n", r.Replaced, filepath.Join(r.Dir, "replaced"))
	}
	if n := len(r.Unasked); n > 0 {
		fmt.Fprintf(c.App.ErrWriter, "warning: %d of %d edits under test have no question in the data set, and no row: first %s\n", n, r.Edits, r.Unasked[0])
	}
	if len(r.Units.Failed) > 0 {
		return fmt.Errorf("eval: %d units failed, first: %w; %w", len(r.Units.Failed), r.Units.Failed[0], errFailedRows)
	}
	if r.Failed() {
		return fmt.Errorf("eval: rows with status error: editpipe report %s shows why, --retry-errors does them again; %w", r.Dir, errFailedRows)
	}
	if r.Nothing {
		return fmt.Errorf("eval: no row of this command has numbers: editpipe report %s shows why; %w", r.Dir, errNoNumbers)
	}
	return nil
}

func writeEvaluated(c *cli.Context, r *stages.Report) error {
	if c.Bool("json") {
		return writeJSON(c.App.Writer, struct {
			Run  string             `json:"run"`
			Dir  string             `json:"dir"`
			Rows map[row.Status]int `json:"rows"` // by status
		}{r.Run, r.Dir, r.Rows})
	}
	var counts []string
	total := 0
	for _, s := range sortedKeys(r.Rows) {
		counts = append(counts, fmt.Sprintf("%d %s", r.Rows[s], s))
		total += r.Rows[s]
	}
	_, err := fmt.Fprintf(c.App.Writer, "%s: %d rows (%s)\n", r.Dir, total, strings.Join(counts, ", "))
	return err
}

func readIDs(path string) ([]string, error) {
	if path == "" {
		return nil, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("--ids: %w", err)
	}
	defer f.Close()
	r := bufio.NewReader(f) // looks ahead in a pipe, too
	head, _ := r.Peek(1024) // an error comes again from Scan
	if err := lfs.Check(head); err != nil {
		return nil, fmt.Errorf("--ids: %s: %w", path, err)
	}
	var ids []string
	for s := bufio.NewScanner(r); ; {
		if !s.Scan() {
			if err := s.Err(); err != nil {
				return nil, fmt.Errorf("--ids: %s: %w", path, err)
			}
			break
		}
		if id := strings.TrimSpace(s.Text()); id != "" {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return nil, fmt.Errorf("--ids: %s holds no ids", path)
	}
	return ids, nil
}
