package kb

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"

	"editpipe/generator/catalogue"
)

// LineError is a row of a dump that could not be read. The rows around it can.
type LineError struct {
	Line int
	Err  error
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
					if !yield(nil, &LineError{line, err}) {
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
			for e, err := range parseRow(row) {
				if err != nil {
					err = &LineError{line, err}
				}
				if !yield(e, err) {
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

// parseRow yields the entities of one row: none, one, or all of an array.
func parseRow(row []byte) iter.Seq2[*Entity, error] {
	return func(yield func(*Entity, error) bool) {
		row = bytes.TrimSpace(bytes.TrimSuffix(row, []byte(",")))
		if len(row) > 1 && row[0] == '[' {
			var all []json.RawMessage
			if json.Unmarshal(row, &all) == nil {
				for _, one := range all {
					for e, err := range parseRow(one) {
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
		var raw rawEntity
		if err := json.Unmarshal(row, &raw); err != nil {
			yield(nil, err)
			return
		}
		if raw.Entities != nil {
			all := object[json.RawMessage](raw.Entities)
			for _, id := range slices.Sorted(maps.Keys(all)) {
				for e, err := range parseRow(all[id]) {
					if !yield(e, err) {
						return
					}
				}
			}
			return
		}
		if raw.ID == "" {
			yield(nil, errors.New("no entity: the object has no id"))
			return
		}
		if raw.Type != "item" && raw.Type != "property" {
			return
		}
		yield(raw.entity())
	}
}

// object decodes a JSON object; the dump writes an empty one as [].
func object[V any](raw json.RawMessage) map[string]V {
	var m map[string]V
	if json.Unmarshal(raw, &m) != nil {
		return nil
	}
	return m
}

type rawEntity struct {
	Type         string          `json:"type"`
	ID           string          `json:"id"`
	Labels       json.RawMessage `json:"labels"`
	Descriptions json.RawMessage `json:"descriptions"`
	Aliases      json.RawMessage `json:"aliases"`
	Claims       json.RawMessage `json:"claims"`
	SiteLinks    json.RawMessage `json:"sitelinks"`
	Revision     int64           `json:"lastrevid"`
	Modified     string          `json:"modified"`
	Entities     json.RawMessage `json:"entities"`
}

type rawText struct {
	Value string `json:"value"`
}

type rawSnak struct {
	SnakType  string `json:"snaktype"`
	DataValue struct {
		Type  string          `json:"type"`
		Value json.RawMessage `json:"value"`
	} `json:"datavalue"`
}

type rawStatement struct {
	MainSnak   rawSnak         `json:"mainsnak"`
	Rank       Rank            `json:"rank"`
	Qualifiers json.RawMessage `json:"qualifiers"`
}

// languages in which names are read, best first; labels are moving to "mul".
func languages() []string { return []string{"en", "mul"} }

func (raw *rawEntity) entity() (*Entity, error) {
	e := &Entity{ID: raw.ID, Type: raw.Type, Revision: raw.Revision, Claims: map[string][]Statement{}}
	labels := object[rawText](raw.Labels)
	descriptions := object[rawText](raw.Descriptions)
	aliases := object[[]rawText](raw.Aliases)
	if day, _, ok := strings.Cut(raw.Modified, "T"); ok {
		e.Modified, _ = ParseDate(day) // one that cannot be read counts as not stated
	}
	for _, l := range languages() {
		if t := strings.TrimSpace(labels[l].Value); e.Label == "" && t != "" {
			e.Label, e.LabelLang = t, l
		}
		if e.Description == "" {
			e.Description = descriptions[l].Value
		}
		for _, a := range aliases[l] {
			if t := strings.TrimSpace(a.Value); t != "" {
				e.Aliases = append(e.Aliases, t)
			}
		}
	}
	e.Sitelinks = len(object[json.RawMessage](raw.SiteLinks))
	claims := object[json.RawMessage](raw.Claims)
	if claims == nil && len(raw.Claims) > 0 && raw.Claims[0] == '{' {
		return nil, errors.New("claims cannot be read")
	}
	for _, p := range slices.Sorted(maps.Keys(claims)) {
		var list []rawStatement
		if err := json.Unmarshal(claims[p], &list); err != nil {
			return nil, fmt.Errorf("%s: claims of %s: %w", raw.ID, p, err)
		}
		for _, s := range list {
			e.Claims[p] = append(e.Claims[p], s.statement(p))
		}
	}
	return e, nil
}

func (s *rawStatement) statement(property string) Statement {
	out := Statement{Property: property, Rank: s.Rank}
	if out.Rank == "" {
		out.Rank = Normal
	}
	out.Value, out.HasValue = s.MainSnak.value()
	qualifiers := object[[]rawSnak](s.Qualifiers)
	for _, q := range qualifiers["P580"] {
		out.Start, _ = q.date()
	}
	for _, q := range qualifiers["P582"] {
		if q.SnakType == "novalue" {
			continue // stated to go on
		}
		out.Ended = true
		if d, ok := q.date(); ok {
			out.End = d
		}
	}
	for _, q := range qualifiers["P2306"] {
		if v, ok := q.value(); ok && v.Kind == catalogue.Item {
			out.Items = append(out.Items, v.ID)
		}
	}
	return out
}

func (s *rawSnak) value() (Value, bool) {
	if s.SnakType != "value" {
		return Value{}, false
	}
	switch s.DataValue.Type {
	case "wikibase-entityid":
		var v struct {
			ID         string `json:"id"`
			EntityType string `json:"entity-type"`
			Numeric    int64  `json:"numeric-id"`
		}
		if json.Unmarshal(s.DataValue.Value, &v) != nil {
			return Value{}, false
		}
		if v.ID == "" && v.Numeric > 0 { // the form of 2015
			v.ID = "Q" + strconv.FormatInt(v.Numeric, 10)
			if v.EntityType == "property" {
				v.ID = "P" + v.ID[1:]
			}
		}
		return Value{Kind: catalogue.Item, ID: v.ID}, v.ID != ""
	case "time":
		d, ok := s.date()
		return Value{Kind: catalogue.Year, Text: strconv.Itoa(d.Year)}, ok && d.Year > 0
	case "quantity":
		var v struct {
			Amount string `json:"amount"`
		}
		ok := json.Unmarshal(s.DataValue.Value, &v) == nil && v.Amount != ""
		return Value{Kind: catalogue.Quantity, Text: strings.TrimPrefix(v.Amount, "+")}, ok
	case "monolingualtext":
		var v struct {
			Text string `json:"text"`
		}
		ok := json.Unmarshal(s.DataValue.Value, &v) == nil && v.Text != ""
		return Value{Kind: catalogue.String, Text: v.Text}, ok
	case "string":
		var v string
		ok := json.Unmarshal(s.DataValue.Value, &v) == nil && v != ""
		return Value{Kind: catalogue.String, Text: v}, ok
	}
	return Value{}, false // coordinates and other kinds that no template asks for
}

func (s *rawSnak) date() (Date, bool) {
	var v struct {
		Time      string `json:"time"`
		Precision int    `json:"precision"`
	}
	if s.SnakType != "value" || json.Unmarshal(s.DataValue.Value, &v) != nil {
		return Date{}, false
	}
	return parseTime(v.Time, v.Precision)
}
