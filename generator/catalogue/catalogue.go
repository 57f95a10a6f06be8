// Package catalogue defines the relation catalogue: the relations that data
// sets are generated from, each with its wordings and the rules for its edits
// and probes. A catalogue is read from YAML (docs/generator.md describes the
// format); the one for Wikidata is built in.
package catalogue

import (
	"bytes"
	_ "embed" // for the general catalogue
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// Form is what a template is used for.
type Form string

// The forms of a template.
const (
	Cloze      Form = "cloze"    // a statement that ends where the object goes
	Question   Form = "question" // a question whose answer is the object
	NounPhrase Form = "np"       // a phrase that names the object
)

// Template is one wording of a relation. Text holds exactly one place for the
// subject, {s}, or in the wordings of an inverse one for the object, {o}.
type Template struct {
	ID       string `yaml:"id"`
	Text     string `yaml:"text"`
	Reserved bool   `yaml:"reserved"` // never used in text a model is trained on, nor for the edit prompt
}

// Inverse is how a relation reads from its object's side.
type Inverse struct {
	ID       string     `yaml:"id"` // property of the opposite direction; the relation's own id if it is symmetric; may be empty
	Cloze    []Template `yaml:"cloze"`
	Question []Template `yaml:"question"`
}

// Reverse says which question about the object has one answer.
type Reverse string

// The values of Reverse.
const (
	ReverseAsk   Reverse = "ask"   // one-to-one where the facts say so: usable for reversed_relation
	ReverseList  Reverse = "list"  // the answer is a set; scored by membership, reported apart
	ReverseNever Reverse = "never" // no sensible question
)

// ObjectKind is the kind of a relation's object.
type ObjectKind string

// The kinds of object.
const (
	Item     ObjectKind = "item"
	String   ObjectKind = "string"
	Year     ObjectKind = "year"
	Quantity ObjectKind = "quantity"
)

// Pool says where a counterfactual object is drawn from.
type Pool string

// The pools.
const (
	SameClass    Pool = "same_class"    // any entity of the true object's class
	SiblingValue Pool = "sibling_value" // an entity that is the relation's object elsewhere
)

// Relation is one property with its wordings and the rules for its sets.
type Relation struct {
	ID        string     `yaml:"id"`
	Label     string     `yaml:"label"`      // expected English label, checked against the knowledge base
	Domain    []string   `yaml:"domain"`     // classes of the subject; empty for any
	Range     []string   `yaml:"range"`      // classes of the object; empty for any
	Answer    ObjectKind `yaml:"answer"`     // kind of object, item by default
	ProbeOnly bool       `yaml:"probe_only"` // asked about, never edited
	Temporal  bool       `yaml:"temporal"`   // the value changes over time
	Reverse   Reverse    `yaml:"reverse"`
	Pool      Pool       `yaml:"pool"`
	Match     []string   `yaml:"match"`   // properties a new object should share with the true one; given up from the last on where nothing fits
	Follow    []string   `yaml:"follow"`  // properties worth asking of the new object, best first
	Other     []string   `yaml:"other"`   // properties of the subject for other_relations, best first
	Blocked   []string   `yaml:"blocked"` // properties of the subject that the edit logically changes

	Cloze    []Template `yaml:"cloze"`
	Question []Template `yaml:"question"`
	NP       []Template `yaml:"np"`
	Inverse  *Inverse   `yaml:"inverse"`
}

// Catalogue is the list of relations a set is built from.
type Catalogue struct {
	Version   int               `yaml:"version"`
	Extends   string            `yaml:"extends"` // Wikidata to add to the built-in catalogue, or replace relations of it; empty otherwise
	Language  string            `yaml:"language"`
	Classes   map[string]string `yaml:"classes"` // name used in domain and range -> item id
	Relations []*Relation       `yaml:"relations"`

	byID map[string]*Relation
}

//go:embed relations.yaml
var general []byte

// Wikidata names the built-in catalogue in Catalogue.Extends.
const Wikidata = "wikidata"

// General returns the catalogue for Wikidata itself, for Load.
func General() []byte { return bytes.Clone(general) }

// Load reads a catalogue. Unknown keys and syntax errors are reported with line
// and column; the result has passed Validate. A catalogue that extends the
// built-in one has that one's relations and classes, in its order, except where
// it gives its own under the same id or name.
func Load(r io.Reader) (*Catalogue, error) {
	var c Catalogue
	if err := decode(r, &c); err != nil {
		return nil, fmt.Errorf("catalogue: reading relation catalogue: %w", err)
	}
	if err := c.extend(); err != nil {
		return nil, err
	}
	c.byID = map[string]*Relation{}
	for _, rel := range c.Relations {
		if rel.Answer == "" {
			rel.Answer = Item
		}
		if rel.Reverse == "" {
			rel.Reverse = ReverseNever
		}
		if rel.Pool == "" {
			rel.Pool = SameClass
		}
		if c.byID[rel.ID] == nil {
			c.byID[rel.ID] = rel
		}
	}
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("catalogue: reading relation catalogue: %w", err)
	}
	return &c, nil
}

// decode reads the one document of a YAML file.
func decode(r io.Reader, c *Catalogue) error {
	data, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	f, err := parser.ParseBytes(data, 0)
	if err != nil {
		return err
	}
	docs := slices.DeleteFunc(f.Docs, func(d *ast.DocumentNode) bool { return d.Body != nil && d.Body.Type() == ast.DirectiveType })
	if len(docs) > 1 {
		return fmt.Errorf("it holds %d documents, parted by ---: want one", len(docs))
	}
	if len(docs) == 0 || docs[0].Body == nil {
		return errors.New("the file is empty")
	}
	if at, word := version(docs[0].Body); at != "" {
		return fmt.Errorf("%s version is %s: want a whole number in decimal digits", at, word)
	}
	ast.Walk(asWritten{}, docs[0].Body)
	return yaml.NewDecoder(bytes.NewReader(nil), yaml.Strict()).DecodeFromNode(docs[0].Body, c)
}

// version finds a version that is no whole number, which the library would round:
// its place as [line:column] and its text; "" where there is none.
func version(body ast.Node) (at, word string) {
	m, ok := body.(ast.MapNode)
	if !ok {
		return "", ""
	}
	for it := m.MapRange(); it.Next(); {
		token := it.Value().GetToken()
		if n, err := strconv.Atoi(token.Value); it.Key().GetToken().Value == "version" && (err != nil || strconv.Itoa(n) != token.Value) {
			return fmt.Sprintf("[%d:%d]", token.Position.Line, token.Position.Column), token.Value
		}
	}
	return "", ""
}

// asWritten makes texts of all that the library would convert before it becomes
// text: 1.1 of 1.10, 15 of 017.
type asWritten struct{}

// Visit changes the values below a node.
func (v asWritten) Visit(n ast.Node) ast.Visitor {
	switch n := n.(type) {
	case *ast.MappingValueNode:
		if key := n.Key.GetToken().Value; !slices.Contains([]string{"version", "reserved", "probe_only", "temporal"}, key) {
			n.Value = asText(n.Value)
		}
	case *ast.AnchorNode:
		n.Value = asText(n.Value)
	case *ast.SequenceNode:
		for i := range n.Values {
			n.Values[i] = asText(n.Values[i])
		}
	}
	return v
}

func asText(n ast.Node) ast.Node {
	switch n.(type) {
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return ast.String(n.GetToken())
	}
	return n
}

// extend puts the catalogue on top of the one it extends.
func (c *Catalogue) extend() error {
	if c.Extends == "" {
		return nil
	}
	if c.Extends != Wikidata {
		return fmt.Errorf("catalogue: reading relation catalogue: extends %q: only %q, the built-in catalogue, can be extended", c.Extends, Wikidata)
	}
	below, err := Load(bytes.NewReader(general))
	if err != nil {
		return err
	}
	classes := below.Classes
	maps.Copy(classes, c.Classes)
	own := c.Relations
	relations := below.Relations
	for _, r := range own {
		i := slices.IndexFunc(below.Relations, func(old *Relation) bool { return old.ID == r.ID })
		if i < 0 || slices.Contains(own, relations[i]) { // new, or listed twice, which Validate says
			relations = append(relations, r)
		} else {
			relations[i] = r
		}
	}
	c.Classes, c.Relations = classes, relations
	return nil
}

// Relation returns the relation of a property id, or nil.
func (c *Catalogue) Relation(id string) *Relation { return c.byID[id] }

// Editable returns the relations whose facts may be edited, in catalogue order.
func (c *Catalogue) Editable() []*Relation {
	var out []*Relation
	for _, r := range c.Relations {
		if !r.ProbeOnly {
			out = append(out, r)
		}
	}
	return out
}

// Blocked returns the properties that an edit of the relation changes for the
// subject, followed through blocked lists. The relation itself is among them.
func (c *Catalogue) Blocked(id string) map[string]bool {
	out := map[string]bool{id: true}
	queue := []string{id}
	for len(queue) > 0 {
		r := c.byID[queue[0]]
		queue = queue[1:]
		if r == nil {
			continue
		}
		for _, b := range r.Blocked {
			if !out[b] {
				out[b] = true
				queue = append(queue, b)
			}
		}
	}
	return out
}

var (
	propertyID = regexp.MustCompile(`^P[1-9][0-9]*$`)
	itemID     = regexp.MustCompile(`^Q[1-9][0-9]*$`)
)

// Validate returns all faults of the catalogue, joined.
func (c *Catalogue) Validate() error {
	var faults []error
	fault := func(format string, a ...any) { faults = append(faults, fmt.Errorf(format, a...)) }
	if c.Version != 1 {
		fault("version is %d; this program reads version 1", c.Version)
	}
	if c.Language == "" {
		fault("language is missing")
	}
	for _, name := range slices.Sorted(maps.Keys(c.Classes)) {
		if !itemID.MatchString(c.Classes[name]) {
			fault("class %s: %q is not an item id such as Q5", name, c.Classes[name])
		}
	}
	if len(c.Editable()) == 0 {
		fault("no relation can be edited: every one is probe_only or the list is empty")
	}
	seen := map[string]bool{}
	for i, r := range c.Relations {
		if seen[r.ID] {
			fault("relation %s is listed twice", r.ID)
		}
		seen[r.ID] = true
		for _, err := range r.faults(c) {
			fault("relation %d (%s): %w", i+1, r.ID, err)
		}
	}
	return errors.Join(faults...)
}

func (r *Relation) faults(c *Catalogue) []error {
	var faults []error
	fault := func(format string, a ...any) { faults = append(faults, fmt.Errorf(format, a...)) }
	if !propertyID.MatchString(r.ID) {
		fault("id %q is not a property id such as P36", r.ID)
	}
	if r.Label == "" {
		fault("label is missing")
	}
	for _, name := range slices.Concat(r.Domain, r.Range) {
		if c.Classes[name] == "" {
			fault("class %q is not in classes", name)
		}
	}
	for _, list := range []struct {
		key string
		ids []string
	}{{"match", r.Match}, {"follow", r.Follow}, {"other", r.Other}, {"blocked", r.Blocked}} {
		for _, id := range list.ids {
			if !propertyID.MatchString(id) {
				fault("%s: %q is not a property id", list.key, id)
			}
			if (list.key == "follow" || list.key == "other") && c.byID[id] == nil {
				fault("%s: %s has no entry in this catalogue, so there is no wording for it", list.key, id)
			}
		}
	}
	if !slices.Contains([]ObjectKind{Item, Year, String, Quantity}, r.Answer) {
		fault("answer %q is none of item, year, string, quantity", r.Answer)
	}
	if !slices.Contains([]Reverse{ReverseAsk, ReverseList, ReverseNever}, r.Reverse) {
		fault("reverse %q is none of ask, list, never", r.Reverse)
	}
	if !slices.Contains([]Pool{SameClass, SiblingValue}, r.Pool) {
		fault("pool %q is none of same_class, sibling_value", r.Pool)
	}
	if Unreserved(r.Question) == nil || Unreserved(r.Cloze) == nil {
		fault("needs at least one cloze and one question that are not reserved")
	}
	if !r.ProbeOnly {
		if r.Answer != Item {
			fault("only relations between items can be edited; set probe_only")
		}
		if len(r.NP) == 0 {
			fault("needs at least one np")
		}
	}
	ids := map[string]bool{}
	check := func(form Form, place string, list []Template) {
		for _, t := range list {
			if t.ID == "" || ids[t.ID] {
				fault("%s template %q: id %q is empty or used twice", form, t.Text, t.ID)
			}
			ids[t.ID] = true
			if strings.Count(t.Text, place) != 1 || strings.Count(t.Text, "{") != 1 {
				fault("template %s %q must hold %s once and no other brace", t.ID, t.Text, place)
			}
			if t.Text != strings.TrimSpace(t.Text) || strings.Contains(t.Text, "  ") {
				fault("template %s %q has stray spaces", t.ID, t.Text)
			}
			if q := strings.HasSuffix(t.Text, "?"); q != (form == Question) {
				fault("template %s %q: questions, and only questions, end with a question mark", t.ID, t.Text)
			}
			if form == Cloze && (strings.HasSuffix(t.Text, ".") || strings.HasSuffix(t.Text, " a") || strings.HasSuffix(t.Text, " an")) {
				fault("template %s %q: a cloze ends where any object can follow, not with a full stop or an indefinite article", t.ID, t.Text)
			}
		}
	}
	check(Cloze, "{s}", r.Cloze)
	check(Question, "{s}", r.Question)
	check(NounPhrase, "{s}", r.NP)
	if r.Inverse != nil {
		if r.Inverse.ID != "" && !propertyID.MatchString(r.Inverse.ID) {
			fault("inverse: %q is not a property id", r.Inverse.ID)
		}
		check(Cloze, "{o}", r.Inverse.Cloze)
		check(Question, "{o}", r.Inverse.Question)
	}
	if r.Reverse != ReverseNever && (r.Inverse == nil || len(r.Inverse.Question) == 0) {
		fault("reverse: %s needs inverse.question", r.Reverse)
	}
	return faults
}

// Unreserved returns the templates that are not reserved.
func Unreserved(list []Template) []Template {
	var out []Template
	for _, t := range list {
		if !t.Reserved {
			out = append(out, t)
		}
	}
	return out
}
