package generator_test

import (
	"bytes"
	"context"
	"maps"
	"math/rand/v2"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"editpipe/dataset"
	"editpipe/generator"
	"editpipe/generator/catalogue"
	"editpipe/generator/kb"
)

// shape is one kind of entity of the synthetic knowledge base: its share of the
// whole, and where its facts lead. A fact's objects are drawn with a skew, so
// that a few countries and clubs have very many subjects, as in Wikidata.
type shape struct {
	class string
	share float64
	facts map[string]string // property -> class of its object; "" for a year
}

func shapes() []shape {
	return []shape{
		{"Q6256", 0.0004, map[string]string{"P36": "Q515", "P30": "Q5107", "P37": "Q34770", "P38": "Q8142", "P35": "Q5", "P6": "Q5", "P571": ""}},
		{"Q5107", 0.00001, nil},
		{"Q34770", 0.001, nil},
		{"Q8142", 0.0003, nil},
		{"Q12737077", 0.001, nil},
		{"Q31629", 0.0002, nil},
		{"Q515", 0.08, map[string]string{"P17": "Q6256", "P6": "Q5", "P131": "Q56061", "P571": ""}},
		{"Q56061", 0.01, map[string]string{"P36": "Q515", "P17": "Q6256", "P6": "Q5"}},
		{"Q4830453", 0.1, map[string]string{"P159": "Q515", "P169": "Q5", "P112": "Q5", "P571": "", "P17": "Q6256"}},
		{"Q3918", 0.01, map[string]string{"P17": "Q6256", "P131": "Q56061", "P571": ""}},
		{"Q11424", 0.12, map[string]string{"P57": "Q5", "P86": "Q5", "P364": "Q34770", "P495": "Q6256", "P577": ""}},
		{"Q482994", 0.1, map[string]string{"P175": "Q5", "P264": "Q18127", "P577": ""}},
		{"Q18127", 0.004, map[string]string{"P17": "Q6256", "P571": ""}},
		{"Q847017", 0.02, map[string]string{"P286": "Q5", "P115": "Q483110", "P641": "Q31629", "P571": ""}},
		{"Q483110", 0.02, map[string]string{"P17": "Q6256", "P84": "Q5"}},
		{"Q5", 0.5, map[string]string{"P19": "Q515", "P20": "Q515", "P27": "Q6256", "P69": "Q3918", "P106": "Q12737077", "P103": "Q34770", "P26": "Q5", "P54": "Q847017"}},
	}
}

// synthetic is a knowledge base of about n entities under the general
// catalogue: invented names, of which some belong to several entities, second
// values, ended and deprecated statements, and missing labels.
func synthetic(tb testing.TB, n int, seed uint64) *kb.Base {
	tb.Helper()
	c, err := catalogue.Load(bytes.NewReader(catalogue.General()))
	if err != nil {
		tb.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(seed, 0))
	pick := func(list []string) string { return list[rng.IntN(len(list))] }
	first := strings.Fields("ba ce di fo gu ha je ki lo mu na pe ri so tu va we xi yo zu bra cle dri flo gru pra ste tri")
	last := strings.Fields("bel cor dan fer gil hos jun kar lin mor nas por quin ras sel tor und vil wen zor")
	word := func() string {
		w := pick(first)
		for range 1 + rng.IntN(2) {
			w += pick(first)
		}
		w += pick(last)
		return strings.ToUpper(w[:1]) + w[1:]
	}
	kinds := shapes()
	first0, count := map[string]int{}, map[string]int{}
	next := 1_000_000
	for _, k := range kinds {
		first0[k.class], count[k.class] = next, max(4, int(k.share*float64(n)))
		next += count[k.class]
	}
	some := func(class string) string {
		u := rng.Float64()
		return "Q" + strconv.Itoa(first0[class]+int(u*u*u*float64(count[class])))
	}
	b := kb.NewBuilder(c, kb.Date{Year: 2024, Month: 1, Day: 1}, "synthetic")
	for _, k := range kinds {
		b.Add(&kb.Entity{ID: k.class, Type: "item", Label: "class " + k.class})
		for i := range count[k.class] {
			e := &kb.Entity{ID: "Q" + strconv.Itoa(first0[k.class]+i), Type: "item", Label: word() + " " + word(), LabelLang: "en", Sitelinks: rng.IntN(200) / (1 + rng.IntN(20))}
			if rng.IntN(50) == 0 {
				e.Label = ""
			}
			for range rng.IntN(3) {
				e.Aliases = append(e.Aliases, word())
			}
			item := func(p, class string) kb.Statement {
				return kb.Statement{Property: p, Rank: kb.Normal, HasValue: true, Value: kb.Value{Kind: catalogue.Item, ID: class}}
			}
			e.Claims.Add(item("P31", k.class))
			for _, p := range slices.Sorted(maps.Keys(k.facts)) {
				class := k.facts[p]
				if rng.IntN(4) == 0 {
					continue // facts are missing
				}
				if class == "" {
					e.Claims.Add(kb.Statement{Property: p, Rank: kb.Normal, HasValue: true, Value: kb.Value{Kind: catalogue.Year, Text: strconv.Itoa(1500 + rng.IntN(520))}})
					continue
				}
				st := item(p, some(class))
				e.Claims.Add(st)
				switch rng.IntN(10) {
				case 0:
					e.Claims.Add(item(p, some(class)))
				case 1, 2:
					past := item(p, some(class))
					past.Start, past.End, past.Ended = kb.Date{Year: 1990}, kb.Date{Year: 1990 + rng.Int32N(30)}, true
					e.Claims.Add(past)
				case 3:
					wrong := item(p, some(class))
					wrong.Rank = kb.Deprecated
					e.Claims.Add(wrong)
				}
			}
			b.Add(e)
		}
	}
	base, err := b.Build()
	if err != nil {
		tb.Fatal(err)
	}
	return base
}

// BenchmarkGenerate makes 10,000 edits with all sets from a knowledge base of
// 600,000 entities: what is left of 2 million after the catalogue's filter.
func BenchmarkGenerate(b *testing.B) {
	const edits = 10_000
	base := synthetic(b, 600_000, 1)
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	probes := 0
	for b.Loop() {
		counts, err := generator.Generate(context.Background(), base, generator.Options{N: edits, Seed: 1, SetName: "scale"}, generator.Sink{
			Edit:   func(dataset.Edit) error { return nil },
			Probe:  func(dataset.Probe) error { probes++; return nil },
			Reject: func(generator.Reject) error { return nil },
		})
		if err != nil || counts.Edits != edits {
			b.Fatalf("%d edits, error %v", counts.Edits, err)
		}
	}
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(probes)/float64(b.N), "probes/op")
	b.ReportMetric(float64(before.HeapAlloc)/(1<<20), "base-MiB")
	b.ReportMetric(float64(after.HeapSys-before.HeapSys)/(1<<20), "grown-MiB")
}

// TestCoresDoNotMatter builds one set on one, two and eight processors.
func TestCoresDoNotMatter(t *testing.T) {
	base := synthetic(t, 3000, 2)
	o := generator.Options{N: 600, Seed: 5, SetName: "cores", Sets: slices.Concat(dataset.Axes(), dataset.FurtherAxes())}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	var first product
	for i, cores := range []int{1, 2, 8} {
		runtime.GOMAXPROCS(cores)
		p := generate(t, base, o)
		if len(p.probes) < 10*o.N || p.counts.FollowUps == 0 || len(p.rejects) == 0 {
			t.Fatalf("%d edits, %d probes, %d rejects: too little to compare", len(p.edits), len(p.probes), len(p.rejects))
		}
		if i == 0 {
			first = p
		} else if !reflect.DeepEqual(p, first) {
			t.Errorf("%d processors give another set than one", cores)
		}
	}
}
