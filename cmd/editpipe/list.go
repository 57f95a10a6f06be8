package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"editpipe/dataset/exporter"
	"editpipe/dataset/importer"
	"editpipe/edit"
	"editpipe/edit/all"
	"editpipe/metric"
	"editpipe/models/arch"
	"editpipe/ort"
)

// listed is one line of a list.
type listed struct {
	Name string `json:"name"`
	Note string `json:"note"`
	Doc  string `json:"doc"`
	Keys []key  `json:"keys,omitempty"`
	// Presets are what keys are for some models; the first that holds counts.
	Presets []preset `json:"presets,omitempty"`

	// Of a file format only.
	Schema  string `json:"schema,omitempty"`
	Source  string `json:"source,omitempty"`
	Licence string `json:"licence,omitempty"`
	Written string `json:"written,omitempty"` // what convert writes of it; empty where it cannot
}

type key struct {
	Name    string `json:"name"`
	Type    string `json:"type"`
	Default string `json:"default"` // empty where it is a share of the depth
	Share   string `json:"share,omitempty"`
	Doc     string `json:"doc"`
}

// String is the key as a list shows it.
func (k key) String() string {
	if k.Share != "" {
		return k.Name + " (" + k.Share + " of the layers)"
	}
	return k.Name + "=" + k.Default
}

type preset struct {
	Models string `json:"models"`
	Set    string `json:"set"`
}

// lists maps what can be listed to how.
var lists = []struct {
	name string
	rows func() ([]listed, error)
}{
	{"methods", listMethods},
	{"metrics", listMetrics},
	{"providers", listProviders},
	{"formats", listFormats},
}

func listCommand() *cli.Command {
	var names []string
	for _, l := range lists {
		names = append(names, l.name)
	}
	return &cli.Command{
		Name:      "list",
		Usage:     "list " + strings.Join(names, ", "),
		ArgsUsage: strings.Join(names, "|"),
		Description: "Methods are listed with their keys and with the settings published for some models: the first that fits a\n" +
			"model applies, and --set overrides it. editpipe inspect shows the result.\n\n" +
			"Example: editpipe list methods",
		Flags: []cli.Flag{jsonFlag()},
		Action: func(c *cli.Context) error {
			for _, l := range lists {
				if c.NArg() == 1 && l.name == c.Args().First() {
					rows, err := l.rows()
					if err != nil {
						return err
					}
					return writeList(c.App.Writer, rows, c.Bool("json"))
				}
			}
			return usagef("list what? one of: %s", strings.Join(names, ", "))
		},
	}
}

func jsonFlag() cli.Flag {
	return &cli.BoolFlag{Name: "json", Usage: "print JSON", EnvVars: env("json")}
}

func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

func writeList(w io.Writer, rows []listed, asJSON bool) error {
	if asJSON {
		return writeJSON(w, rows)
	}
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	for _, r := range rows {
		fmt.Fprintf(t, "%s\t%s\t%s\n", r.Name, r.Note, r.Doc)
		for _, k := range r.Keys {
			fmt.Fprintf(t, "  --set %s.%s\t%s\t%s\n", r.Name, k, k.Type, k.Doc)
		}
		for _, p := range r.Presets {
			fmt.Fprintf(t, "  on %s: %s\n", p.Models, cmp.Or(p.Set, "as above"))
		}
		for _, l := range [][2]string{{"reads", r.Schema}, {"from", r.Source}, {"licence", r.Licence}, {"convert writes", r.Written}} {
			if l[1] != "" {
				fmt.Fprintf(t, "  %s: %s\n", l[0], l[1])
			}
		}
	}
	return t.Flush()
}

func listMethods() ([]listed, error) {
	var rows []listed
	for _, m := range all.Methods() {
		keys, err := m.Keys(&arch.Info{})
		if err != nil {
			return nil, err
		}
		row := listed{Name: m.Name, Note: joinKinds(m.Schedules), Doc: m.Title}
		if m.Paper != "" {
			row.Doc += " (" + m.Paper + ")"
		}
		for _, k := range keys {
			if k.Share != "" {
				k.Default = "" // there is no model
			}
			row.Keys = append(row.Keys, key{Name: k.Name, Type: k.Type, Default: k.Default, Share: k.Share, Doc: k.Doc})
		}
		for _, p := range m.Presets {
			row.Presets = append(row.Presets, preset{p.Models(), p.Set})
		}
		rows = append(rows, row)
	}
	return rows, nil
}

func joinKinds(kinds []edit.Kind) string {
	var s []string
	for _, k := range kinds {
		s = append(s, string(k))
	}
	return strings.Join(s, ",")
}

func listMetrics() ([]listed, error) {
	var rows []listed
	for _, m := range metric.All() {
		rows = append(rows, listed{Name: m.ID, Note: m.Title, Doc: m.Text})
	}
	return rows, nil
}

func listProviders() ([]listed, error) {
	var rows []listed
	for _, p := range ort.KnownProviders() {
		rows = append(rows, listed{Name: p.Name, Note: p.Title, Doc: p.Needs})
	}
	return rows, nil
}

func listFormats() ([]listed, error) {
	written := map[string]string{}
	for _, f := range exporter.Formats() {
		written[f.Name] = f.Doc
	}
	var rows []listed
	for _, f := range importer.Formats() {
		rows = append(rows, listed{
			Name: f.Name, Note: f.Title, Doc: f.Doc, Schema: f.Schema, Source: f.Source,
			Licence: cmp.Or(f.Licence, "none stated; import --licence keeps yours"), Written: written[f.Name],
		})
	}
	return rows, nil
}
