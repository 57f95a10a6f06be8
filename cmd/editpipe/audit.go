package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"editpipe/audit"
	"editpipe/dataset"
	"editpipe/dataset/importer"
	"editpipe/generator/kb"
	"editpipe/sets"
)

func auditCommand() *cli.Command {
	return &cli.Command{
		Name:      "audit",
		Usage:     "look for faults in a data set of edits",
		ArgsUsage: "DIR|FILE",
		Description: "DIR is a data set folder, as import and generate write them; FILE is in a format that import reads.\n" +
			"Exit code 3 if a check exceeds its limit. Faults have the limit 0; doubts and notes have none unless --max sets one.\n\n" +
			"Examples:\n" +
			"  editpipe audit out/sets --kb world\n" +
			"  editpipe audit zsre-test.json --tokenizer gpt2/tokenizer.json --max alias_overlap=0.2 --out findings",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "format", Usage: "`NAME` of the file's format; recognised from the file if not given", EnvVars: env("format")},
			languageFlag(),
			&cli.StringFlag{Name: "kb", Usage: "knowledge base `SRC`, as in generate, to check names and facts against", EnvVars: env("kb")},
			&cli.StringFlag{Name: "relations", Usage: "relation catalogue `FILE`, as in generate", EnvVars: env("relations")},
			&cli.StringFlag{Name: "as-of", Usage: "`DAY` at which facts are current, YYYY-MM-DD (default: the edits' own)", EnvVars: env("as-of")},
			&cli.StringFlag{Name: "tokenizer", Usage: "tokenizer.json `FILE`, or a model folder, to check the tokens of targets", EnvVars: env("tokenizer")},
			&cli.StringSliceFlag{Name: "max", Usage: "`CODE=SHARE`: largest share of edits or probes in which a check may find something; may be repeated", EnvVars: env("max")},
			&cli.StringFlag{Name: "out", Usage: "`DIR` to write " + sets.FindingsFile + " and " + sets.ChecksFile + " to", EnvVars: env("out")},
			jsonFlag(),
		},
		Action: runAudit,
	}
}

func runAudit(c *cli.Context) error {
	if c.NArg() != 1 {
		return usagef("audit needs one data set folder or file")
	}
	limits, err := limits(c.StringSlice("max"))
	if err != nil {
		return err
	}
	if day := c.String("as-of"); day != "" {
		if _, err := kb.ParseDate(day); err != nil {
			return usagef("--as-of: %w", err)
		}
	}
	for _, flag := range []string{"relations", "as-of"} {
		if c.String(flag) != "" && c.String("kb") == "" {
			return usagef("--%s is for --kb, which names no knowledge base", flag)
		}
	}
	if out := c.String("out"); out != "" {
		if err := writableData(out); err != nil {
			return err
		}
	}
	source, err := auditSource(c, c.Args().First())
	if err != nil {
		return err
	}
	report, err := sets.Audit{
		Source: source, KB: c.String("kb"), Relations: c.String("relations"), AsOf: c.String("as-of"),
		Tokenizer: c.String("tokenizer"), Limits: limits, Out: c.String("out"),
	}.Do(c.Context)
	if err != nil {
		return err
	}
	over := report.Over()
	if c.Bool("json") {
		err = writeJSON(c.App.Writer, struct {
			*audit.Report
			Over []string `json:"over"`
		}{report, append([]string{}, over...)})
	} else {
		err = writeAudit(c.App.Writer, report)
	}
	if err == nil && len(over) > 0 {
		err = fmt.Errorf("audit: %s: %w: %s", c.Args().First(), errOverLimit, strings.Join(over, ", "))
	}
	return err
}

// limits reads the values of --max.
func limits(values []string) (map[string]float64, error) {
	var codes []string
	for _, check := range audit.Checks() {
		codes = append(codes, check.Code)
	}
	out := map[string]float64{}
	for _, v := range values {
		code, text, ok := strings.Cut(v, "=")
		share, err := strconv.ParseFloat(text, 64)
		if !ok || err != nil || !(share >= 0 && share <= 1) {
			return nil, usagef("--max %q: want CODE=SHARE with a share from 0 to 1", v)
		}
		if !slices.Contains(codes, code) {
			return nil, usagef("--max: unknown check %q (known: %s)", code, strings.Join(codes, ", "))
		}
		if _, twice := out[code]; twice {
			return nil, usagef("--max %s is given twice", code)
		}
		out[code] = share
	}
	return out, nil
}

// auditSource opens a data set folder or a file to import.
func auditSource(c *cli.Context, path string) (dataset.Source, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	if info.IsDir() {
		for _, flag := range []string{"format", "language"} {
			if c.String(flag) != "" {
				return nil, usagef("--%s is for files, and %s is a folder", flag, path)
			}
		}
	} else if err := checkFormat(c); err != nil {
		return nil, err
	}
	source, err := sets.Open(path, c.String("format"), importer.Options{Language: c.String("language")})
	switch {
	case info.IsDir() && errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("audit: %s is no data set folder, as import and generate write them: %w", path, err)
	case errors.Is(err, importer.ErrMap):
		return nil, usagef("%w; import the file with --map first, and audit the folder", err)
	case errors.Is(err, importer.ErrPool):
		return nil, usagef("%w", err)
	}
	return source, fileFault(err)
}

// exampleRunes is how much of an example a line of the table shows.
const exampleRunes = 100

func writeAudit(w io.Writer, r *audit.Report) error {
	fmt.Fprintf(w, "%s: %d records, %d probes\n\n", r.Set, r.Records, r.Probes)
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "severity\tcheck\taxis\tfound\tof\tshare\tmax\tapart\tfirst example")
	var quiet, statuses []string
	open := map[string][]string{} // status -> codes
	loud := map[string]bool{}
	for _, row := range r.Tallies {
		loud[row.Code] = loud[row.Code] || row.Found+row.ApartFound > 0
	}
	for _, row := range r.Tallies {
		switch {
		case row.Status != audit.Checked:
			if open[row.Status] == nil {
				statuses = append(statuses, row.Status)
			}
			open[row.Status] = append(open[row.Status], row.Code)
		case !loud[row.Code]:
			if !slices.Contains(quiet, row.Code) {
				quiet = append(quiet, row.Code)
			}
		case row.Found+row.ApartFound == 0: // other axes of this check are shown
		default:
			share, limit := "-", "-"
			if row.Share != nil {
				share = fmt.Sprintf("%.1f %%", 100**row.Share)
			}
			if row.MaxShare != nil {
				limit = fmt.Sprintf("%.1f %%", 100**row.MaxShare)
			}
			if row.Over {
				limit += " !"
			}
			example := strings.Join(row.Examples[:min(1, len(row.Examples))], "")
			if runes := []rune(example); len(runes) > exampleRunes {
				example = string(runes[:exampleRunes-1]) + "…"
			}
			fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%d\t%s\t%s\t%d\t%s\n", row.Severity, row.Code, row.Axis, row.Found, row.Checked, share, limit, row.ApartFound,
				strings.Join(strings.Fields(example), " "))
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if len(r.Lengths) > 0 {
		fmt.Fprint(w, "\ntokens of the new object:")
		for _, l := range r.Lengths {
			fmt.Fprintf(w, "  %d: %d", l.Tokens, l.Edits)
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintf(w, "\nfound nothing on any axis: %s\n", strings.Join(quiet, ", "))
	for _, status := range statuses {
		fmt.Fprintf(w, "%s: %s\n", status, strings.Join(open[status], ", "))
	}
	return nil
}
