package report

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

// Format is a way to write a report.
type Format string

// The formats of a report.
const (
	Text     Format = "text"
	Markdown Format = "md"
	CSV      Format = "csv"
	JSON     Format = "json"
)

// Formats lists the formats Write knows.
func Formats() []Format { return []Format{Text, Markdown, CSV, JSON} }

// Write renders the report. Text and Markdown show the survey's table, the
// CounterFact scores, efficiency and rows without numbers; CSV and JSON carry
// every mean, JSON everything.
func (r *Report) Write(w io.Writer, f Format) error {
	var err error
	switch f {
	case Text, Markdown:
		err = r.writeTables(w, f)
	case CSV:
		err = r.writeCSV(w)
	case JSON:
		err = r.writeJSON(w)
	default:
		return fmt.Errorf("report: unknown format %q (known: text, md, csv, json)", f)
	}
	if err != nil {
		return fmt.Errorf("report: writing %s: %w", f, err)
	}
	return nil
}

func (r *Report) writeJSON(w io.Writer) error {
	doc := Report{append([]Run{}, r.Runs...), append([]Row{}, r.Rows...), append([]Efficiency{}, r.Efficiency...), append([]Problem{}, r.Problems...)}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(doc)
}

func (r *Report) writeCSV(w io.Writer) error {
	c := csv.NewWriter(w)
	if err := c.Write([]string{"run", "model", "dataset", "method", "setting", "axis", "metric", "protocol_id", "n", "mean", "ci_lo", "ci_hi", "folder", "differs"}); err != nil {
		return err
	}
	num := func(v *float64) string {
		if v == nil {
			return ""
		}
		return strconv.FormatFloat(*v, 'g', -1, 64)
	}
	for _, s := range r.Rows {
		if err := c.Write([]string{s.Run, s.Model, s.Dataset, s.Method, s.Setting, s.Axis, s.Metric, s.ProtocolID,
			strconv.FormatInt(s.N, 10), num(s.Mean), num(s.Lo), num(s.Hi), s.Dir, s.Differs}); err != nil {
			return err
		}
	}
	c.Flush()
	return c.Error()
}

func (r *Report) writeTables(w io.Writer, f Format) error {
	for _, t := range r.tables() {
		if _, err := io.WriteString(w, t.render(f)+"\n"); err != nil {
			return err
		}
	}
	return nil
}

// grid is a table before it is rendered.
type grid struct {
	title  string
	left   int // columns that name a line; the others are figures, set right
	header []string
	rows   [][]string
	notes  []string
}

func (g grid) render(f Format) string {
	t := table.NewWriter()
	head := make(table.Row, len(g.header))
	var columns []table.ColumnConfig
	for i, h := range g.header {
		head[i] = h
		if i >= g.left {
			columns = append(columns, table.ColumnConfig{Number: i + 1, Align: text.AlignRight, AlignHeader: text.AlignRight})
		}
	}
	t.SetColumnConfigs(columns)
	t.AppendHeader(head)
	for _, row := range g.rows {
		cells := make(table.Row, len(row))
		for i, c := range row {
			cells[i] = c
		}
		t.AppendRow(cells)
	}
	var b strings.Builder
	if f == Markdown {
		fmt.Fprintf(&b, "### %s\n\n%s\n", strings.ReplaceAll(g.title, "\n", "<br>"), t.RenderMarkdown())
		for _, n := range g.notes {
			fmt.Fprintf(&b, "\n%s\n", n)
		}
		return b.String()
	}
	style := table.StyleLight
	style.Format.Header = text.FormatDefault // column names stay as they are in the files
	style.Options = table.OptionsNoBordersAndSeparators
	style.Options.SeparateHeader = true
	t.SetStyle(style)
	fmt.Fprintf(&b, "%s\n\n%s\n", g.title, t.Render())
	for _, n := range g.notes {
		fmt.Fprintf(&b, "%s\n", n)
	}
	return b.String()
}
