package all_test

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"editpipe/edit/all"
	"editpipe/models/arch"
)

var update = flag.Bool("update", false, "rewrite the golden file")

// families are the model types that methods meet. What is published is for some
// of them; the others are to get the same as each other.
var families = []string{
	"gpt2", "gptj", "gpt_neo", "gpt_neox", "llama", "mistral", "qwen2", "qwen3", "phi", "phi3", "gemma", "gemma2", "gemma3_text",
	"opt", "falcon", "bloom", "mamba", "t5", "",
}

// depths are numbers of layers at, and on both sides of, every bound that a
// method draws; 0 is no model.
var depths = []int{0, 1, 2, 5, 6, 7, 12, 16, 22, 23, 24, 25, 26, 27, 28, 29, 30, 32, 35, 36, 37, 40, 47, 48, 49, 64, 80}

// TestDefaults holds what every method is configured with on a model, for models
// of every family and depth, to a golden file (-update rewrites it).
func TestDefaults(t *testing.T) {
	var b strings.Builder
	for _, m := range all.Methods() {
		tables := map[string][]string{} // by content, the families that have it
		for _, family := range families {
			var table strings.Builder
			before := map[string]string{}
			for _, layers := range depths {
				c, err := m.Configure(&arch.Info{Family: family, Layers: layers}, nil)
				if err != nil {
					t.Fatal(err)
				}
				now := c.Map()
				var changed []string
				for _, k := range slices.Sorted(maps.Keys(now)) {
					if was, ok := before[k]; !ok || was != now[k] {
						changed = append(changed, k+"="+now[k])
					}
				}
				if changed != nil {
					fmt.Fprintf(&table, "  %d layers: %s\n", layers, strings.Join(changed, " "))
				}
				before = now
			}
			tables[table.String()] = append(tables[table.String()], fmt.Sprintf("%q", family))
		}
		for _, table := range slices.SortedFunc(maps.Keys(tables), func(x, y string) int { return strings.Compare(tables[x][0], tables[y][0]) }) {
			fmt.Fprintf(&b, "%s on %s, and what changes with the number of layers\n%s", m.Name, strings.Join(tables[table], " "), table)
		}
	}
	const golden = "testdata/defaults.txt"
	if *update {
		if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got := b.String(); got != string(want) {
		t.Errorf("the defaults are not those of %s:\n%s", golden, got)
	}
}
