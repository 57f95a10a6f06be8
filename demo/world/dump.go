package world

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// The Wikidata JSON of one entity. Maps are written with sorted keys.
type (
	text struct {
		Language string `json:"language"`
		Value    string `json:"value"`
	}
	snak struct {
		SnakType  string     `json:"snaktype"`
		Property  string     `json:"property"`
		DataType  string     `json:"datatype"`
		DataValue *dataValue `json:"datavalue,omitempty"`
	}
	dataValue struct {
		Type  string `json:"type"`
		Value any    `json:"value"`
	}
	itemValue struct {
		EntityType string `json:"entity-type"`
		NumericID  int    `json:"numeric-id"`
		ID         string `json:"id"`
	}
	timeValue struct {
		Time          string `json:"time"`
		Timezone      int    `json:"timezone"`
		Before        int    `json:"before"`
		After         int    `json:"after"`
		Precision     int    `json:"precision"`
		CalendarModel string `json:"calendarmodel"`
	}
	monoValue struct {
		Text     string `json:"text"`
		Language string `json:"language"`
	}
	statement struct {
		MainSnak   snak              `json:"mainsnak"`
		Type       string            `json:"type"`
		ID         string            `json:"id"`
		Rank       string            `json:"rank"`
		Qualifiers map[string][]snak `json:"qualifiers,omitempty"`
	}
	link struct {
		Site  string `json:"site"`
		Title string `json:"title"`
	}
	record struct {
		Type         string                 `json:"type"`
		ID           string                 `json:"id"`
		DataType     string                 `json:"datatype,omitempty"`
		Labels       map[string]text        `json:"labels"`
		Descriptions map[string]text        `json:"descriptions"`
		Aliases      map[string][]text      `json:"aliases"`
		Claims       map[string][]statement `json:"claims"`
		SiteLinks    map[string]link        `json:"sitelinks,omitempty"`
		LastRevID    int                    `json:"lastrevid"`
		Modified     string                 `json:"modified"`
	}
)

// Write writes the world of a seed as a Wikidata JSON dump: "[", one entity a
// line with a comma behind it, "]". The properties come first.
func Write(out io.Writer, seed int64) error {
	b := bufio.NewWriter(out)
	b.WriteString("[\n")
	var lines [][]byte
	for _, p := range properties() {
		line, err := json.Marshal(p.record())
		if err != nil {
			return fmt.Errorf("world: property %s: %w", p.id, err)
		}
		lines = append(lines, line)
	}
	for i, e := range Build(seed).Entities {
		line, err := json.Marshal(e.record(i))
		if err != nil {
			return fmt.Errorf("world: entity %s: %w", e.ID, err)
		}
		lines = append(lines, line)
	}
	for i, line := range lines {
		b.Write(line)
		if i < len(lines)-1 {
			b.WriteByte(',')
		}
		b.WriteByte('\n')
	}
	b.WriteString("]\n")
	if err := b.Flush(); err != nil {
		return fmt.Errorf("world: writing: %w", err)
	}
	return nil
}

func (e *Entity) record(i int) record {
	r := record{
		Type: "item", ID: e.ID, LastRevID: 1000 + i, Modified: AsOf + "T00:00:00Z",
		Labels: map[string]text{}, Descriptions: map[string]text{"en": {"en", e.Description}},
		Aliases: map[string][]text{}, Claims: map[string][]statement{}, SiteLinks: map[string]link{},
	}
	if e.Label != "" {
		language := "en"
		if e.Mul {
			language = "mul"
		}
		r.Labels[language] = text{language, e.Label}
	}
	for _, a := range e.Aliases {
		r.Aliases["en"] = append(r.Aliases["en"], text{"en", a})
	}
	for n := range e.Sitelinks {
		site := "wiki" + strconv.Itoa(n)
		r.SiteLinks[site] = link{site, e.Label}
	}
	for n, c := range e.Claims {
		r.Claims[c.Property] = append(r.Claims[c.Property], c.statement(fmt.Sprintf("%s$%d", e.ID, n)))
	}
	return r
}

func (c Claim) statement(id string) statement {
	s := statement{MainSnak: snak{SnakType: c.SnakType, Property: c.Property, DataType: "wikibase-item"}, Type: "statement", ID: id, Rank: c.Rank}
	switch {
	case c.Object != nil:
		s.MainSnak.DataValue = itemData(c.Object.ID)
	case c.Text != "":
		s.MainSnak.DataType = "monolingualtext"
		s.MainSnak.DataValue = &dataValue{"monolingualtext", monoValue{c.Text, "en"}}
	case c.Year != 0:
		s.MainSnak = yearSnak(c.Property, c.Year)
	}
	if c.Start != 0 || c.End != 0 {
		s.Qualifiers = map[string][]snak{}
	}
	if c.Start != 0 {
		s.Qualifiers["P580"] = []snak{yearSnak("P580", c.Start)}
	}
	if c.End != 0 {
		s.Qualifiers["P582"] = []snak{yearSnak("P582", c.End)}
	}
	return s
}

func itemData(id string) *dataValue {
	n, err := strconv.Atoi(strings.TrimLeft(id, "QP"))
	if err != nil {
		panic("world: id " + id) // ids are made in this package
	}
	kind := "item"
	if strings.HasPrefix(id, "P") {
		kind = "property"
	}
	return &dataValue{"wikibase-entityid", itemValue{kind, n, id}}
}

// yearPrecision is Wikidata's code for a date known to the year.
const yearPrecision = 9

func yearSnak(property string, year int) snak {
	return snak{"value", property, "time", &dataValue{"time", timeValue{
		Time: fmt.Sprintf("+%04d-00-00T00:00:00Z", year), Precision: yearPrecision, CalendarModel: "Q1985727"}}}
}

// property is one property entity: its inverse (P1696) and the constraints
// (P2302) that say how many values it takes.
type property struct {
	id, label, inverse string
	constraints        []string
	dataType           string
}

// Constraint types, by their Wikidata ids.
const (
	symmetricConstraint = "Q21510862"
	singleConstraint    = "Q19474404"
	distinctConstraint  = "Q21502410"
)

func properties() []property {
	one, only, same := singleConstraint, distinctConstraint, symmetricConstraint
	return []property{
		{"P6", "head of government", "", []string{one}, ""}, {"P17", "country", "", nil, ""},
		{"P19", "place of birth", "", []string{one}, ""}, {"P20", "place of death", "", []string{one}, ""},
		{"P22", "father", "", []string{one}, ""}, {"P25", "mother", "", []string{one}, ""},
		{"P26", "spouse", "", []string{same}, ""}, {"P27", "country of citizenship", "", nil, ""},
		{"P30", "continent", "", nil, ""}, {"P31", "instance of", "", nil, ""},
		{"P35", "head of state", "", []string{one}, ""}, {"P36", "capital", "P1376", []string{one, only}, ""},
		{"P37", "official language", "", nil, ""}, {"P38", "currency", "", nil, ""}, {"P40", "child", "", nil, ""},
		{"P50", "author", "", nil, ""}, {"P54", "member of sports team", "", nil, ""}, {"P57", "director", "", nil, ""},
		{"P69", "educated at", "", nil, ""}, {"P84", "architect", "", nil, ""}, {"P85", "anthem", "", []string{one, only}, ""},
		{"P86", "composer", "", nil, ""}, {"P103", "native language", "", nil, ""}, {"P106", "occupation", "", nil, ""},
		{"P108", "employer", "", nil, ""}, {"P112", "founded by", "", nil, ""}, {"P115", "home venue", "P466", []string{one}, ""},
		{"P118", "league or competition", "", nil, ""}, {"P136", "genre", "", nil, ""}, {"P140", "religion or worldview", "", nil, ""},
		{"P144", "based on", "", nil, ""}, {"P159", "headquarters location", "", nil, ""},
		{"P169", "chief executive officer", "", []string{one}, ""}, {"P176", "manufacturer", "", nil, ""},
		{"P279", "subclass of", "", nil, ""}, {"P286", "head coach", "", []string{one}, ""},
		{"P403", "mouth of the watercourse", "", []string{one}, ""}, {"P407", "language of work or name", "", nil, ""},
		{"P452", "industry", "", nil, ""}, {"P466", "occupant", "P115", nil, ""},
		{"P569", "date of birth", "", []string{one}, "time"}, {"P570", "date of death", "", []string{one}, "time"},
		{"P571", "inception", "", []string{one}, "time"}, {"P577", "publication date", "", []string{one}, "time"},
		{"P580", "start time", "", nil, "time"}, {"P582", "end time", "", nil, "time"}, {"P641", "sport", "", nil, ""},
		{"P742", "pseudonym", "", nil, "monolingualtext"}, {"P1303", "instrument", "", nil, ""},
		{"P1304", "central bank", "", []string{one}, ""}, {"P1376", "capital of", "P36", nil, ""},
		{"P1448", "official name", "", nil, "monolingualtext"}, {"P1449", "nickname", "", nil, "monolingualtext"},
		{"P1813", "short name", "", nil, "monolingualtext"},
	}
}

func (p property) record() record {
	kind := p.dataType
	if kind == "" {
		kind = "wikibase-item"
	}
	r := record{
		Type: "property", ID: p.id, DataType: kind, LastRevID: 1, Modified: AsOf + "T00:00:00Z",
		Labels: map[string]text{"en": {"en", p.label}}, Descriptions: map[string]text{}, Aliases: map[string][]text{},
		Claims: map[string][]statement{},
	}
	add := func(property, object string) {
		n := len(r.Claims[property])
		r.Claims[property] = append(r.Claims[property], statement{
			MainSnak: snak{"value", property, "wikibase-item", itemData(object)}, Type: "statement",
			ID: fmt.Sprintf("%s$%s-%d", p.id, property, n), Rank: "normal"})
	}
	if p.inverse != "" {
		add("P1696", p.inverse)
	}
	for _, c := range p.constraints {
		add("P2302", c)
	}
	return r
}
