package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/urfave/cli/v2"

	"editpipe/lfs"
)

func configFlag() cli.Flag {
	return &cli.StringFlag{Name: "config", Usage: "YAML `FILE` with flags by name; the command line takes precedence", EnvVars: env("config")}
}

// readConfig sets the flags a YAML file holds and the command line does not. A
// name that is no flag is an error that shows the line, and so is one without a
// value: a default in its place would be what nobody asked for.
func readConfig(c *cli.Context) error {
	path := c.String("config")
	if path == "" {
		return nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return usagef("--config: %w", err)
	}
	if err := lfs.Check(data); err != nil {
		return usagef("--config %s: %w", path, err)
	}
	entries, err := configEntries(data)
	if err != nil {
		return usagef("--config %s: %w", path, err)
	}
	flags := map[string]cli.Flag{}
	for _, f := range c.Command.Flags {
		for _, n := range f.Names() {
			flags[n] = f
		}
	}
	for _, e := range entries {
		f := flags[e.key]
		if f == nil || e.key == "config" {
			return usagef("--config %s: %s is not a flag of %s", path, e.key, c.Command.Name)
		}
		values, err := e.values(isList(f))
		if err != nil {
			return usagef("--config %s: %s: %w", path, e.key, err)
		}
		if c.IsSet(e.key) {
			continue
		}
		if e.key != "set" {
			values = []string{strings.Join(values, ",")} // a list, as the flag takes it
		}
		for _, v := range values {
			if err := c.Set(e.key, v); err != nil {
				return usagef("--config %s: %s: %w", path, e.key, err)
			}
		}
	}
	return nil
}

// configEntry is a line of a configuration file.
type configEntry struct {
	key     string
	value   ast.Node
	anchors map[string]ast.Node
}

// configEntries reads a YAML file of one document, a map.
func configEntries(data []byte) ([]configEntry, error) {
	f, err := parser.ParseBytes(data, 0)
	if err != nil {
		return nil, errors.New(yaml.FormatError(err, false, true))
	}
	docs := slices.DeleteFunc(f.Docs, func(d *ast.DocumentNode) bool { return d.Body != nil && d.Body.Type() == ast.DirectiveType })
	if len(docs) > 1 {
		return nil, fmt.Errorf("it holds %d documents, parted by ---: want one", len(docs))
	}
	if len(docs) == 0 || docs[0].Body == nil {
		return nil, errors.New("it holds no flags")
	}
	m, ok := docs[0].Body.(ast.MapNode)
	if !ok {
		return nil, errors.New("want a flag and its value on each line: NAME: VALUE")
	}
	anchors := map[string]ast.Node{}
	for _, n := range ast.Filter(ast.AnchorType, docs[0].Body) {
		a := n.(*ast.AnchorNode)
		anchors[a.Name.GetToken().Value] = a.Value
	}
	var entries []configEntry
	for it := m.MapRange(); it.Next(); {
		entries = append(entries, configEntry{it.Key().GetToken().Value, it.Value(), anchors})
	}
	return entries, nil
}

// values are the words of an entry as they are written: the YAML library would
// make 1.1 of 1.10, and 15 of 017. Only a flag that takes a list may have one.
func (e configEntry) values(isList bool) ([]string, error) {
	nodes := []ast.Node{e.resolve(e.value)}
	if list, ok := nodes[0].(*ast.SequenceNode); ok {
		if !isList {
			return nil, errors.New("want one value, not a list")
		}
		nodes = list.Values
	}
	var words []string
	for _, n := range nodes {
		n = e.resolve(n)
		word := ""
		switch s := n.(type) {
		case *ast.NullNode:
		case *ast.StringNode:
			word = s.Value
		case *ast.LiteralNode:
			word = s.Value.Value
		case ast.ScalarNode:
			word = s.GetToken().Value
		default:
			return nil, fmt.Errorf("want a value or a list of values, not a %s", strings.ToLower(n.Type().String()))
		}
		if strings.TrimSpace(word) == "" {
			return nil, errNoValue
		}
		words = append(words, word)
	}
	if len(words) == 0 {
		return nil, errNoValue
	}
	return words, nil
}

var errNoValue = errors.New("it has no value: give one, or leave the line out")

// resolve follows anchors, aliases and tags to what they stand for.
func (e configEntry) resolve(n ast.Node) ast.Node {
	switch n := n.(type) {
	case *ast.AnchorNode:
		return e.resolve(n.Value)
	case *ast.TagNode:
		return e.resolve(n.Value)
	case *ast.AliasNode:
		if to, ok := e.anchors[n.Value.GetToken().Value]; ok {
			return to
		}
	}
	return n
}

// effective is the value of every flag, for the run's manifest.
func effective(c *cli.Context) map[string]string {
	out := map[string]string{}
	for _, f := range c.Command.Flags {
		name := f.Names()[0]
		if name == "help" {
			continue
		}
		switch {
		case !isList(f):
			out[name] = fmt.Sprint(c.Value(name))
		case name == "set":
			out[name] = strings.Join(c.StringSlice(name), " ")
		default:
			out[name] = list(c, name)
		}
	}
	return out
}
