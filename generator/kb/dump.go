package kb

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"iter"
	"strconv"
	"strings"

	"editpipe/generator/catalogue"
)

// Fault is a way in which a row of a dump is broken.
type Fault string

// The faults.
const (
	FaultSyntax Fault = "syntax"   // no JSON, or cut short
	FaultNoID   Fault = "no_id"    // an object, but no entity
	FaultClaims Fault = "claims"   // an entity whose statements are not what they should be
	FaultLong   Fault = "too_long" // longer than 256 MiB
)

// LineError is a row of a dump that could not be read. The rows around it can.
type LineError struct {
	Line  int
	Fault Fault
	Err   error
}

func (e *LineError) Error() string { return fmt.Sprintf("kb: line %d: %v", e.Line, e.Err) }
func (e *LineError) Unwrap() error { return e.Err }

// maxLine bounds one row of a dump. The largest Wikidata entities are a few
// megabytes.
const maxLine = 256 << 20

// Entities reads Wikidata JSON: the dump's array with one entity a line, JSON
// lines, an array on one line, or the {"entities": {...}} object of
// Special:EntityData. A broken line is yielded as *LineError and skipped; any
// other error ends the sequence. Lexemes and other kinds of row are skipped.
func Entities(r io.Reader) iter.Seq2[*Entity, error] {
	return func(yield func(*Entity, error) bool) {
		in := bufio.NewReaderSize(r, 1<<16)
		for line := 1; ; line++ {
			row, err := readLine(in)
			end := errors.Is(err, io.EOF)
			if err != nil && !end {
				if errors.Is(err, errLongLine) {
					if !yield(nil, &LineError{line, FaultLong, err}) {
						return
					}
					continue
				}
				yield(nil, fmt.Errorf("kb: reading line %d: %w", line, err))
				return
			}
			row = bytes.TrimSpace(bytes.TrimPrefix(row, []byte("\xef\xbb\xbf")))
			if bytes.Equal(row, []byte("{")) {
				// An indented object: the rest of the input belongs to it.
				rest, err := io.ReadAll(io.LimitReader(in, maxLine))
				if err != nil {
					yield(nil, fmt.Errorf("kb: reading line %d: %w", line, err))
					return
				}
				row, end = append([]byte("{\n"), rest...), true
			}
			for e, err := range ParseRow(row, nil) {
				if err != nil {
					err.Line = line
					if !yield(nil, err) {
						return
					}
				} else if !yield(e, nil) {
					return
				}
			}
			if end {
				return
			}
		}
	}
}

var errLongLine = fmt.Errorf("longer than %d MiB, skipped", maxLine>>20)

// readLine reads one line of any length up to maxLine; a longer one is read
// past and reported as errLongLine.
func readLine(in *bufio.Reader) ([]byte, error) {
	var row []byte
	long := false
	for {
		part, err := in.ReadSlice('\n')
		if !long {
			row = append(row, part...)
			long = len(row) > maxLine
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if long {
			return nil, errLongLine
		}
		return row, err
	}
}

// ParseRow yields the entities of one row of a dump: none, one, or all of an
// array. A broken one is yielded as an error without line number. With a filter,
// which may be nil, only entities it has a use for are yielded, with the
// statements it keeps. The row may be used again once the sequence has ended.
func ParseRow(row []byte, f *Filter) iter.Seq2[*Entity, *LineError] {
	return func(yield func(*Entity, *LineError) bool) {
		row = bytes.TrimSpace(bytes.TrimSuffix(bytes.TrimSpace(row), []byte(",")))
		if len(row) > 1 && row[0] == '[' {
			if all, ok := elementsOf(row); ok {
				for _, one := range all {
					for e, err := range ParseRow(one, f) {
						if !yield(e, err) {
							return
						}
					}
				}
				return
			}
			row = bytes.TrimSpace(row[1:]) // "[" and the first entity share a line
		}
		if len(row) > 1 && row[len(row)-1] == ']' && row[0] == '{' {
			row = bytes.TrimSpace(row[:len(row)-1]) // so do the last one and "]"
		}
		if len(row) == 0 || string(row) == "[" || string(row) == "]" {
			return
		}
		r := reader{scanner: scanner{b: row}, filter: f}
		e, err := r.entity()
		switch {
		case err != nil && r.fault == "":
			yield(nil, &LineError{Fault: FaultSyntax, Err: err})
		case err != nil:
			yield(nil, &LineError{Fault: r.fault, Err: err})
		case r.bundle != nil:
			for _, one := range r.bundle {
				for e, err := range ParseRow(one, f) {
					if !yield(e, err) {
						return
					}
				}
			}
		case e.ID == "":
			yield(nil, &LineError{Fault: FaultNoID, Err: errors.New("no entity: the object has no id")})
		case e.Type != "item" && e.Type != "property":
		case f == nil || f.Use(e) != Never:
			yield(e, nil)
		}
	}
}

// elementsOf returns the elements of an array, or false if it is none as a whole.
func elementsOf(row []byte) (all [][]byte, ok bool) {
	s := scanner{b: row}
	err := s.elements(func() error {
		one, err := s.span()
		all = append(all, one)
		return err
	})
	return all, err == nil && s.end() == nil
}

// reader parses one entity.
type reader struct {
	scanner
	filter *Filter
	fault  Fault    // of an error that is none of syntax
	bundle [][]byte // the entities of Special:EntityData
}

// texts are an entity's names in one language.
type texts struct {
	label, description string
	aliases            []string
}

func (r *reader) entity() (*Entity, error) {
	e := &Entity{}
	var en, mul texts // names are read in English, then in "mul", to which labels are moving
	in := func(language []byte) *texts {
		switch string(language) {
		case "en":
			return &en
		case "mul":
			return &mul
		}
		return nil
	}
	if r.peek() != '{' {
		return nil, r.unexpected("an object")
	}
	err := r.members(func(key []byte) (err error) {
		switch string(key) {
		case "type":
			e.Type, err = r.text()
		case "id":
			e.ID, err = r.text()
		case "lastrevid":
			e.Revision, err = r.number()
		case "modified":
			var at string
			at, err = r.text()
			if day, _, ok := strings.Cut(at, "T"); ok {
				e.Modified, _ = ParseDate(day) // one that cannot be read counts as not stated
			}
		case "labels":
			err = r.members(func(language []byte) (err error) {
				t := in(language)
				if t == nil {
					return r.skip()
				}
				t.label, err = r.value()
				return err
			})
		case "descriptions":
			err = r.members(func(language []byte) (err error) {
				t := in(language)
				if t == nil {
					return r.skip()
				}
				t.description, err = r.value()
				return err
			})
		case "aliases":
			err = r.members(func(language []byte) error {
				t := in(language)
				if t == nil {
					return r.skip()
				}
				return r.elements(func() error {
					a, err := r.value()
					if a = strings.TrimSpace(a); a != "" {
						t.aliases = append(t.aliases, a)
					}
					return err
				})
			})
		case "sitelinks":
			err = r.members(func([]byte) error {
				e.Sitelinks++
				return r.skip()
			})
		case "claims":
			err = r.members(func(property []byte) error { return r.claims(e, property) })
		case "entities":
			r.bundle = [][]byte{}
			err = r.members(func([]byte) error {
				one, err := r.span()
				r.bundle = append(r.bundle, one)
				return err
			})
		default:
			err = r.skip()
		}
		return err
	})
	if err == nil {
		err = r.end()
	}
	if err != nil {
		return nil, err
	}
	e.Label, e.LabelLang = strings.TrimSpace(en.label), "en"
	if e.Label == "" {
		e.Label, e.LabelLang = strings.TrimSpace(mul.label), "mul"
	}
	if e.Label == "" {
		e.LabelLang = ""
	}
	e.Description = cmp.Or(en.description, mul.description)
	e.Aliases = append(en.aliases, mul.aliases...)
	e.Claims.sort()
	return e, nil
}

// value reads {"value": text}.
func (r *reader) value() (text string, err error) {
	err = r.members(func(key []byte) (err error) {
		if string(key) != "value" {
			return r.skip()
		}
		text, err = r.text()
		return err
	})
	return text, err
}

// claims reads the statements of one property.
func (r *reader) claims(e *Entity, key []byte) error {
	var property string
	if r.filter == nil {
		property = string(key)
	} else if property = r.filter.keep[string(key)]; property == "" {
		return r.skip()
	}
	if r.peek() != '[' {
		r.fault = FaultClaims
		return fmt.Errorf("claims of %s are no list", property)
	}
	return r.elements(func() error {
		if r.peek() != '{' {
			r.fault = FaultClaims
			return fmt.Errorf("a claim of %s is no object", property)
		}
		st, err := r.statement(property)
		e.Claims = append(e.Claims, st)
		return err
	})
}

func (r *reader) statement(property string) (Statement, error) {
	st := Statement{Property: property, Rank: Normal}
	err := r.members(func(key []byte) error {
		switch string(key) {
		case "mainsnak":
			main, err := r.snak()
			st.Value, st.HasValue = main.value()
			return err
		case "rank":
			rank, _, err := r.raw()
			if r, none := parseRank(string(rank)); none == nil {
				st.Rank = r // any other word counts as normal
			}
			return err
		case "qualifiers":
			return r.members(func(key []byte) error {
				switch string(key) {
				case "P580", "P582", "P2306":
				default:
					return r.skip()
				}
				name := string(key)
				return r.elements(func() error {
					q, err := r.snak()
					st.qualify(name, q)
					return err
				})
			})
		}
		return r.skip()
	})
	return st, err
}

// qualify notes what a qualifier says about the statement.
func (s *Statement) qualify(property string, q snak) {
	switch property {
	case "P580":
		s.Start, _ = q.date()
	case "P582":
		if q.kind == "novalue" {
			return // stated to go on
		}
		s.Ended = true
		if d, ok := q.date(); ok {
			s.End = d
		}
	case "P2306":
		if v, ok := q.value(); ok && v.Kind == catalogue.Item {
			s.Items = append(s.Items, v.ID)
		}
	}
}

// snak is a property's value as a dump writes it.
type snak struct {
	kind string // value, somevalue or novalue
	typ  string // of the value
	data []byte // the value, not yet read
}

func (r *reader) snak() (s snak, err error) {
	err = r.members(func(key []byte) (err error) {
		switch string(key) {
		case "snaktype":
			s.kind, err = r.word()
		case "datavalue":
			err = r.members(func(key []byte) (err error) {
				switch string(key) {
				case "type":
					s.typ, err = r.word()
				case "value":
					s.data, err = r.span()
				default:
					err = r.skip()
				}
				return err
			})
		default:
			err = r.skip()
		}
		return err
	})
	return s, err
}

// word reads one of the few strings that dumps repeat; any other reads as "".
func (r *reader) word() (string, error) {
	if r.peek() != '"' {
		return "", r.skip()
	}
	raw, _, err := r.raw()
	for _, w := range [...]string{"value", "somevalue", "novalue", "wikibase-entityid", "time", "quantity", "monolingualtext", "string"} {
		if string(raw) == w {
			return w, err
		}
	}
	return "", err
}

// value reads a value that has been stepped over before, so that its structure is sound.
func (s *snak) value() (Value, bool) {
	if s.kind != "value" || len(s.data) == 0 {
		return Value{}, false
	}
	in := scanner{b: s.data}
	switch s.typ {
	case "wikibase-entityid":
		var id string
		var numeric int64
		kind := byte('Q') // also of a value that does not say its kind
		err := in.members(func(key []byte) (err error) {
			switch string(key) {
			case "id":
				id, err = in.text()
			case "numeric-id":
				numeric, err = in.number()
			case "entity-type":
				var t []byte
				t, err = in.span()
				switch string(t) {
				case `"item"`:
				case `"property"`:
					kind = 'P'
				default: // a lexeme, a form, a sense: the number alone names another entity
					kind = 0
				}
			default:
				err = in.skip()
			}
			return err
		})
		if id == "" && numeric > 0 && kind > 0 { // the form of 2015
			id = string(strconv.AppendInt([]byte{kind}, numeric, 10))
		}
		return Value{Kind: catalogue.Item, ID: id}, err == nil && id != ""
	case "time":
		d, ok := s.date()
		return Value{Kind: catalogue.Year, Text: strconv.Itoa(int(d.Year))}, ok && d.Year > 0
	case "quantity":
		amount := in.field("amount")
		return Value{Kind: catalogue.Quantity, Text: strings.TrimPrefix(amount, "+")}, amount != ""
	case "monolingualtext":
		text := in.field("text")
		return Value{Kind: catalogue.String, Text: text}, text != ""
	case "string":
		text, err := in.text()
		return Value{Kind: catalogue.String, Text: text}, err == nil && text != ""
	}
	return Value{}, false // coordinates and other kinds that no template asks for
}

// field reads one text of an object.
func (s *scanner) field(name string) (text string) {
	err := s.members(func(key []byte) (err error) {
		if string(key) != name {
			return s.skip()
		}
		text, err = s.text()
		return err
	})
	if err != nil {
		return ""
	}
	return text
}

func (s *snak) date() (Date, bool) {
	if s.kind != "value" || len(s.data) == 0 {
		return Date{}, false
	}
	in := scanner{b: s.data}
	var at string
	var precision int64
	err := in.members(func(key []byte) (err error) {
		switch string(key) {
		case "time":
			at, err = in.text()
		case "precision":
			precision, err = in.number()
		default:
			err = in.skip()
		}
		return err
	})
	if err != nil {
		return Date{}, false
	}
	return parseTime(at, int(precision))
}
