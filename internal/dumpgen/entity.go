package main

import (
	"fmt"
	"strconv"
	"strings"
)

// rng is splitmix64; each entity has one of its own.
type rng uint64

func (r *rng) next() uint64 {
	*r += 0x9E3779B97F4A7C15
	z := uint64(*r)
	z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
	z = (z ^ z>>27) * 0x94D049BB133111EB
	return z ^ z>>31
}

func (r *rng) intn(n int) int { return int(r.next() % uint64(n)) }

// kind is a sort of entity.
type kind struct {
	class       string // of P31
	description string
	share       int    // of a thousand lines behind the fixed ones
	fixed       int    // number of fixed ones; they come first
	claims      []rule // besides P31
}

// rule makes statements of a property. Object is the name of a kind, or year,
// string, title or text.
type rule struct {
	property, object string
	percent          int // of the entities that have it
	most             int // statements
}

// kinds lists the sorts of entities. The shares of those with properties of the
// catalogue add up to 300 of a thousand.
func kinds() map[string]kind {
	return map[string]kind{
		"continent":  {"Q5107", "continent", 0, 7, nil},
		"language":   {"Q34770", "language", 0, 120, []rule{{"P17", "country", 80, 2}, {"P279", "language", 40, 1}}},
		"currency":   {"Q8142", "currency", 0, 150, []rule{{"P17", "country", 90, 1}}},
		"country":    {"Q6256", "country", 0, 190, []rule{{"P30", "continent", 100, 1}, {"P36", "city", 100, 1}, {"P37", "language", 100, 2}, {"P38", "currency", 100, 1}, {"P35", "human", 95, 2}, {"P6", "human", 90, 2}, {"P571", "year", 90, 1}}},
		"occupation": {"Q12737077", "occupation", 0, 150, []rule{{"P279", "occupation", 60, 1}}},
		"genre":      {"Q483394", "genre", 0, 80, []rule{{"P279", "genre", 50, 1}}},
		"religion":   {"Q9174", "religion", 0, 30, []rule{{"P112", "human", 40, 1}}},
		"university": {"Q3918", "university", 6, 0, []rule{{"P17", "country", 100, 1}, {"P131", "city", 90, 1}, {"P571", "year", 80, 1}, {"P112", "human", 30, 1}}},
		"city":       {"Q515", "city", 40, 0, []rule{{"P17", "country", 100, 1}, {"P131", "city", 60, 1}, {"P6", "human", 40, 2}, {"P571", "year", 20, 1}, {"P1376", "country", 1, 1}, {"P281", "string", 60, 2}, {"P2044", "string", 50, 1}}},
		"human":      {"Q5", "person", 140, 0, []rule{{"P19", "city", 70, 1}, {"P27", "country", 85, 2}, {"P106", "occupation", 90, 3}, {"P69", "university", 30, 2}, {"P22", "human", 10, 1}, {"P26", "human", 12, 2}, {"P20", "city", 25, 1}, {"P103", "language", 10, 1}, {"P140", "religion", 8, 1}}},
		"film":       {"Q11424", "film", 40, 0, []rule{{"P57", "human", 95, 1}, {"P495", "country", 90, 1}, {"P364", "language", 85, 1}, {"P136", "genre", 90, 2}, {"P577", "year", 95, 1}, {"P345", "string", 90, 1}}},
		"book":       {"Q47461344", "written work", 40, 0, []rule{{"P50", "human", 95, 1}, {"P407", "language", 90, 1}, {"P136", "genre", 50, 2}, {"P577", "year", 90, 1}, {"P1476", "title", 60, 1}}},
		"business":   {"Q4830453", "business", 34, 0, []rule{{"P159", "city", 85, 1}, {"P17", "country", 90, 1}, {"P112", "human", 35, 2}, {"P169", "human", 25, 2}, {"P571", "year", 80, 1}, {"P127", "business", 10, 1}, {"P856", "string", 60, 1}}},
		"paper":      {"Q13442814", "scientific article", 560, 0, []rule{{"P1476", "title", 100, 1}, {"P304", "string", 50, 1}, {"P356", "string", 50, 1}, {"P2093", "text", 40, 1}}},
		"gene":       {"Q7187", "gene", 140, 0, []rule{{"P351", "string", 90, 1}, {"P644", "string", 50, 1}, {"P645", "string", 50, 1}}},
	}
}

// world knows which lines hold what.
type world struct {
	n     int
	seed  uint64
	kinds map[string]kind
	fixed []string         // kind of each fixed line
	first map[string]int   // place of the first fixed one of a kind
	turn  []string         // kind of each line behind the fixed ones, by its number modulo 1000
	of    map[string][]int // turns of a kind
}

// order of the kinds, fixed ones first; maps have none.
func order() []string {
	return strings.Fields("continent language currency country occupation genre religion university city human film book business paper gene")
}

func newWorld(n int, seed uint64) *world {
	w := &world{seed: seed, kinds: kinds(), first: map[string]int{}, of: map[string][]int{}, turn: make([]string, 1000)}
	place := 0
	for _, name := range order() {
		k := w.kinds[name]
		w.first[name] = len(w.fixed)
		for range k.fixed {
			w.fixed = append(w.fixed, name)
		}
		for range k.share {
			// 367 and 1000 have no common factor: the kinds are spread over the turns.
			at := place * 367 % 1000
			w.turn[at] = name
			place++
		}
	}
	for at, name := range w.turn {
		w.of[name] = append(w.of[name], at)
	}
	w.n = max(n, len(w.fixed)+1000)
	return w
}

func (w *world) kindOf(i int) string {
	if i < len(w.fixed) {
		return w.fixed[i]
	}
	return w.turn[(i-len(w.fixed))%1000]
}

// some returns the number of some entity of a kind.
func (w *world) some(name string, r *rng) int {
	if k := w.kinds[name]; k.fixed > 0 {
		return w.first[name] + r.intn(k.fixed)
	}
	turns := w.of[name]
	rounds := (w.n - len(w.fixed)) / 1000
	return len(w.fixed) + r.intn(rounds)*1000 + turns[r.intn(len(turns))]
}

// idOf is the number in an entity's id.
func idOf(i int) int { return 1_000_000 + 3*i }

func (w *world) rng(i int) *rng {
	r := rng(w.seed*0x9E3779B97F4A7C15 + uint64(i)*0xD1B54A32D192ED03)
	r.next()
	return &r
}

var (
	syllables = strings.Fields("ba be bi bo da de di do fa fe fi ga gar go ha hel hi ja ka kel ki ko la len li lo ma mer mi mo na ner ni no pa per pi ra ren ri ro sa sel si so ta ten ti to va vel vi wa za zen")
	languages = strings.Fields("en de fr es it nl pt sv pl ca cs da fi hu nb ro sk sl tr vi")
	nouns     = strings.Fields("analysis method growth model response structure water protein network field patients treatment effect cells energy surface study risk design soil")
)

// name is a word of a few syllables.
func (r *rng) name(n int) string {
	var b strings.Builder
	for range n {
		b.WriteString(syllables[r.intn(len(syllables))])
	}
	s := b.String()
	return strings.ToUpper(s[:1]) + s[1:]
}

func (r *rng) title() string {
	words := make([]string, 5+r.intn(6))
	for i := range words {
		words[i] = nouns[r.intn(len(nouns))]
	}
	return "The " + strings.Join(words, " ") + " of " + r.name(3)
}

// label is the entity's name; it depends on nothing but its number.
func (w *world) label(i int) string {
	r := w.rng(^i)
	switch w.kindOf(i) {
	case "human":
		return r.name(2) + " " + r.name(3)
	case "paper":
		return r.title()
	case "film", "book":
		return "The " + r.name(2) + " of " + r.name(3)
	case "gene":
		return strings.ToUpper(r.name(2)) + strconv.Itoa(r.intn(99))
	}
	return r.name(3 + r.intn(2))
}

func (w *world) entity(b []byte, i int) []byte {
	name := w.kindOf(i)
	k, r, label := w.kinds[name], w.rng(i), w.label(i)
	id := "Q" + strconv.Itoa(idOf(i))
	texts := languages[:4+r.intn(8)]
	if name == "paper" || name == "gene" {
		texts = languages[:2+r.intn(3)]
	}
	b = fmt.Appendf(b, `{"type":"item","id":"%s","labels":{`, id)
	for j, l := range texts {
		b = comma(b, j)
		b = fmt.Appendf(b, `"%s":{"language":"%s","value":"%s"}`, l, l, label)
	}
	b = append(b, `},"descriptions":{`...)
	for j, l := range texts {
		b = comma(b, j)
		b = fmt.Appendf(b, `"%s":{"language":"%s","value":"%s"}`, l, l, k.description)
	}
	b = append(b, `},"aliases":{`...)
	if name == "human" || r.intn(3) == 0 {
		b = fmt.Appendf(b, `"en":[{"language":"en","value":"%s"}]`, r.name(2)+" "+r.name(3))
	}
	b = fmt.Appendf(b, `},"claims":{"P31":[`)
	b = w.statement(b, id, "P31", item(k.class), r)
	b = append(b, ']')
	for _, c := range k.claims {
		if r.intn(100) >= c.percent {
			continue
		}
		b = fmt.Appendf(b, `,"%s":[`, c.property)
		for j := range 1 + r.intn(c.most) {
			b = comma(b, j)
			b = w.statement(b, id, c.property, w.object(c.object, r), r)
		}
		b = append(b, ']')
	}
	b = append(b, `},"sitelinks":{`...)
	if name != "paper" && name != "gene" {
		for j, l := range languages[:r.intn(1+r.intn(len(languages)))] {
			b = comma(b, j)
			b = fmt.Appendf(b, `"%swiki":{"site":"%swiki","title":"%s","badges":[]}`, l, l, label)
		}
	}
	return fmt.Appendf(b, `},"pageid":%d,"ns":0,"title":"%s","lastrevid":%d,"modified":"2026-10-%02dT%02d:%02d:07Z"}`,
		idOf(i)+77, id, 1_900_000_000+r.intn(1<<26), 1+r.intn(30), r.intn(24), r.intn(60))
}

func comma(b []byte, i int) []byte {
	if i > 0 {
		b = append(b, ',')
	}
	return b
}

func item(id string) string {
	return fmt.Sprintf(`"datavalue":{"value":{"entity-type":"item","numeric-id":%s,"id":"%s"},"type":"wikibase-entityid"},"datatype":"wikibase-item"`, id[1:], id)
}

func text(s string) string {
	return fmt.Sprintf(`"datavalue":{"value":"%s","type":"string"},"datatype":"string"`, s)
}

func day(year, month int) string {
	return fmt.Sprintf(`"datavalue":{"value":{"time":"+%04d-%02d-01T00:00:00Z","timezone":0,"before":0,"after":0,"precision":11,"calendarmodel":"http://www.wikidata.org/entity/Q1985727"},"type":"time"},"datatype":"time"`, year, month)
}

// object is the value part of a snak.
func (w *world) object(name string, r *rng) string {
	switch name {
	case "year":
		return day(1700+r.intn(320), 1+r.intn(12))
	case "string":
		return text(strconv.Itoa(r.intn(1 << 30)))
	case "text":
		return text(r.name(2) + " " + r.name(3))
	case "title":
		return fmt.Sprintf(`"datavalue":{"value":{"text":"%s","language":"en"},"type":"monolingualtext"},"datatype":"monolingualtext"`, r.title())
	}
	return item("Q" + strconv.Itoa(idOf(w.some(name, r))))
}

func (w *world) statement(b []byte, id, property, value string, r *rng) []byte {
	b = fmt.Appendf(b, `{"mainsnak":{"snaktype":"value","property":"%s",%s},"type":"statement"`, property, value)
	if property == "P6" || property == "P35" || property == "P169" || property == "P26" { // held for some time, a third of them still
		start := 1950 + r.intn(70)
		b = fmt.Appendf(b, `,"qualifiers":{"P580":[{"snaktype":"value","property":"P580","hash":"%s",%s}]`, w.hash(start), day(start, 1))
		if r.intn(3) > 0 {
			b = fmt.Appendf(b, `,"P582":[{"snaktype":"value","property":"P582","hash":"%s",%s}]`, w.hash(start+5), day(start+5, 1))
		}
		b = append(b, `},"qualifiers-order":["P580"]`...)
	}
	rank := "normal"
	if r.intn(50) == 0 {
		rank = "deprecated"
	}
	b = fmt.Appendf(b, `,"id":"%s$%08X-%04X-4%03X-A%03X-%012X","rank":"%s"`, id, r.intn(1<<32), r.intn(1<<16), r.intn(1<<12), r.intn(1<<12), r.intn(1<<48), rank)
	if r.intn(10) < 3 {
		source := r.intn(30) // references repeat
		b = fmt.Appendf(b, `,"references":[{"hash":"%s","snaks":{"P248":[{"snaktype":"value","property":"P248","hash":"%s",%s}],"P813":[{"snaktype":"value","property":"P813","hash":"%s",%s}]},"snaks-order":["P248","P813"]}]`,
			w.hash(source), w.hash(source+100), item("Q"+strconv.Itoa(5000+source)), w.hash(source+200), day(2010+source%15, 1+source%12))
	}
	return append(b, '}')
}

// hash looks like the hash of a snak.
func (w *world) hash(n int) string {
	r := rng(n)
	return fmt.Sprintf("%016x%016x%08x", r.next(), r.next(), r.next()>>32)
}
