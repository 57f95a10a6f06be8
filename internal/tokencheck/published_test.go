//go:build tokencheck

package tokencheck

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"editpipe/token"
)

// publishedFile is a line of published.tsv: a tokenizer.json that others published.
type publishedFile struct{ family, source, path, hash string }

// local is where the file lies: packages of npm where node finds them, files of
// repositories in a checkout below the folder that TOKENIZERS names.
func (p publishedFile) local() string {
	kind, source, _ := strings.Cut(p.source, ":")
	name, _, _ := strings.Cut(source[1:], "@") // a scope begins with @
	name = source[:1] + name
	if kind == "npm" {
		return filepath.Join(os.Getenv("NODE_PATH"), filepath.FromSlash(name), filepath.FromSlash(p.path))
	}
	return filepath.Join(os.Getenv("TOKENIZERS"), filepath.FromSlash(name), filepath.FromSlash(p.path))
}

func readPublished(t *testing.T) []publishedFile {
	t.Helper()
	data, err := os.ReadFile("published.tsv")
	if err != nil {
		t.Fatal(err)
	}
	var out []publishedFile
	for _, line := range strings.Split(strings.TrimSpace(string(data)), "\n")[1:] {
		f := strings.Split(line, "\t")
		if len(f) != 4 {
			t.Fatalf("published.tsv: %q", line)
		}
		out = append(out, publishedFile{f[0], f[1], f[2], f[3]})
	}
	return out
}

// TestPublished compares every file of published.tsv that is there. The others are
// skipped by name; all of them is a failure.
func TestPublished(t *testing.T) {
	families := make(map[string]bool)
	for _, p := range readPublished(t) {
		t.Run(strings.ReplaceAll(p.source+"/"+p.path, "/", "|"), func(t *testing.T) {
			data, err := os.ReadFile(p.local())
			if err != nil {
				t.Skipf("%s (%s, %s) is absent", p.path, p.family, p.source)
			}
			if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != p.hash {
				t.Fatalf("%s is not the file of the list", p.local())
			}
			v := variant{name: p.family, data: data, special: specials(t, data)}
			compare(t, v)
			if *opinion {
				second(t, v)
			}
			families[p.family] = true
		})
	}
	if len(families) == 0 && !t.Failed() {
		t.Error("no file is there: see the package for where they are looked for")
	}
	t.Logf("%d families compared", len(families))
}

// specials are a few of a file's added tokens, to write into texts.
func specials(t *testing.T, data []byte) []string {
	t.Helper()
	var c struct {
		Added []struct{ Content string } `json:"added_tokens"`
	}
	if err := json.Unmarshal(data, &c); err != nil {
		t.Fatal(err)
	}
	step := max(1, len(c.Added)/12)
	var out []string
	for i := 0; i < len(c.Added); i += step {
		out = append(out, c.Added[i].Content, " "+c.Added[i].Content+" ")
	}
	return out
}

// second counts where the official implementation in JavaScript says something else.
// It knows less of Unicode and of Oniguruma, so that this is no failure.
func second(t *testing.T, v variant) {
	t.Helper()
	const few = 1000
	tok, err := token.Parse(v.data)
	if err != nil {
		t.Fatal(err)
	}
	texts := append(Texts(*seed, few/2, v.special), AllScripts(*seed, few/2, v.special)...)
	other := 0
	for i, ids := range node[[]int64](t, map[string]any{"second": string(v.data), "texts": texts}, len(texts)) {
		e, err := tok.Encode(texts[i])
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(e.IDs, ids) {
			other++
		}
	}
	t.Logf("second opinion: %d of %d texts have other ids in JavaScript", other, len(texts))
}

// TestTwoFilesPublished reads CodeGen's vocab.json, merges.txt and added_tokens.json,
// and gets the ids of its tokenizer.json.
func TestTwoFilesPublished(t *testing.T) {
	list := readPublished(t)
	at := slices.IndexFunc(list, func(p publishedFile) bool { return p.family == "CodeGen, GPT-J" })
	if at < 0 {
		t.Fatal("published.tsv does not list CodeGen")
	}
	p := list[at]
	data, err := os.ReadFile(p.local())
	if err != nil {
		t.Skipf("%s (%s, %s) is absent", p.path, p.family, p.source)
	}
	tok, err := token.Open(filepath.Join(filepath.Dir(p.local()), "vocab.json"))
	if err != nil {
		t.Fatal(err)
	}
	compareWith(t, tok, variant{name: p.family, data: data, special: specials(t, data)})
}
