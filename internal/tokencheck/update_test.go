//go:build tokencheck

package tokencheck

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"editpipe/token"
)

var update = flag.Bool("update", false, "write the tokenizers and golden files of testdata/tokenizers")

// maxFile is the size that no file of testdata/tokenizers may pass.
const maxFile = 60_000

// small are the tokenizers of testdata/tokenizers, trained on texts of our own.
func small() []variant {
	var out []variant
	add := func(name string, o object, special ...string) {
		data, err := json.Marshal(o)
		if err != nil {
			panic(err) // the objects below are plain data
		}
		out = append(out, variant{name: name, data: data, special: special})
	}
	corpus := strings.Fields(strings.Join(Texts(11, 400, nil), " "))

	var alphabet []string
	for b := range 256 {
		alphabet = append(alphabet, spell(string([]byte{byte(b)})))
	}
	var byteWords []string
	for _, w := range corpus {
		byteWords = append(byteWords, spell(" "+w))
	}
	vocab, merges := train(alphabet, byteWords, 400)
	n := len(vocab)
	vocab["<|endoftext|>"] = n
	byteLevel := object{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true}
	model := object{"type": "BPE", "dropout": nil, "unk_token": nil, "continuing_subword_prefix": "", "end_of_word_suffix": "",
		"fuse_unk": false, "byte_fallback": false, "vocab": vocab, "merges": merges}
	add("bytelevel", object{"version": "1.0", "added_tokens": []any{added(n, "<|endoftext|>", "special"), added(n+1, "  ", "normalized")},
		"normalizer": nil, "pre_tokenizer": byteLevel, "post_processor": byteLevel, "decoder": byteLevel, "model": model}, "<|endoftext|>", "   ")

	split := maps.Clone(model)
	split["ignore_merges"] = true
	add("splitlevel", object{"version": "1.0", "added_tokens": []any{added(n, "<|endoftext|>", "special"), added(n+1, "<|begin|>", "special"), added(n+2, "<mask>", "lstrip", "special")},
		"normalizer":    object{"type": "NFC"},
		"pre_tokenizer": seq("Sequence", "pretokenizers", regexSplit(llama3Split, "Isolated"), bytesOnly()),
		"post_processor": seq("Sequence", "processors", byteLevel, object{"type": "TemplateProcessing",
			"single":         []any{object{"SpecialToken": object{"id": "<|begin|>", "type_id": 0}}, object{"Sequence": object{"id": "A", "type_id": 0}}},
			"pair":           []any{object{"Sequence": object{"id": "A", "type_id": 0}}, object{"Sequence": object{"id": "B", "type_id": 0}}},
			"special_tokens": object{"<|begin|>": object{"id": "<|begin|>", "ids": []any{n + 1}, "tokens": []any{"<|begin|>"}}}}),
		"decoder": byteLevel, "model": split}, "<|begin|>", "  <mask> ")

	start := []string{"<unk>", "<s>", "</s>"}
	for b := range 256 {
		start = append(start, fmt.Sprintf("<0x%02X>", b))
	}
	var metaWords []string
	chars := make(map[string]int)
	for _, w := range corpus {
		metaWords = append(metaWords, "▁"+w)
		for _, r := range "▁" + w {
			chars[string(r)]++
		}
	}
	for _, c := range slices.Sorted(maps.Keys(chars)) {
		if chars[c] > 20 {
			start = append(start, c)
		}
	}
	vocab, merges = train(start, metaWords, 400)
	add("sentencepiece", object{"version": "1.0", "pre_tokenizer": nil,
		"added_tokens": []any{added(0, "<unk>", "special"), added(1, "<s>", "special"), added(2, "</s>", "special")},
		"normalizer":   seq("Sequence", "normalizers", object{"type": "Prepend", "prepend": "▁"}, object{"type": "Replace", "pattern": object{"String": " "}, "content": "▁"}),
		"post_processor": object{"type": "TemplateProcessing",
			"single":         []any{object{"SpecialToken": object{"id": "<s>", "type_id": 0}}, object{"Sequence": object{"id": "A", "type_id": 0}}},
			"pair":           []any{object{"Sequence": object{"id": "A", "type_id": 0}}, object{"Sequence": object{"id": "B", "type_id": 0}}},
			"special_tokens": object{"<s>": object{"id": "<s>", "ids": []any{1}, "tokens": []any{"<s>"}}}},
		"decoder": seq("Sequence", "decoders", object{"type": "Replace", "pattern": object{"String": "▁"}, "content": " "},
			object{"type": "ByteFallback"}, object{"type": "Fuse"}, object{"type": "Strip", "content": " ", "start": 1, "stop": 0}),
		"model": object{"type": "BPE", "dropout": nil, "unk_token": "<unk>", "fuse_unk": true, "byte_fallback": true, "vocab": vocab, "merges": merges}}, "<s>", "</s>")

	meta := object{"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true}
	add("unigram", object{"version": "1.0",
		"added_tokens":  []any{added(0, "<pad>", "special"), added(1, "</s>", "special"), added(2, "<unk>", "special")},
		"normalizer":    object{"type": "Precompiled", "precompiled_charsmap": base64.StdEncoding.EncodeToString(charsmap(mappings))},
		"pre_tokenizer": seq("Sequence", "pretokenizers", object{"type": "WhitespaceSplit"}, meta),
		"post_processor": object{"type": "TemplateProcessing",
			"single":         []any{object{"Sequence": object{"id": "A", "type_id": 0}}, object{"SpecialToken": object{"id": "</s>", "type_id": 0}}},
			"pair":           []any{object{"Sequence": object{"id": "A", "type_id": 0}}, object{"Sequence": object{"id": "B", "type_id": 0}}},
			"special_tokens": object{"</s>": object{"id": "</s>", "ids": []any{1}, "tokens": []any{"</s>"}}}},
		"decoder": meta,
		"model":   object{"type": "Unigram", "unk_id": 2, "byte_fallback": false, "vocab": pieces(metaWords, 500)}}, "</s>", "<pad>")

	add("wordpiece", object{"version": "1.0",
		"added_tokens":   []any{added(0, "[PAD]", "special"), added(1, "[UNK]", "special"), added(2, "[CLS]", "special"), added(3, "[SEP]", "special"), added(4, "[MASK]", "special", "lstrip")},
		"normalizer":     object{"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": nil, "lowercase": true},
		"pre_tokenizer":  object{"type": "BertPreTokenizer"},
		"post_processor": object{"type": "BertProcessing", "sep": []any{"[SEP]", 3}, "cls": []any{"[CLS]", 2}},
		"decoder":        object{"type": "WordPiece", "prefix": "##", "cleanup": true},
		"model": object{"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 24,
			"vocab": wordPieces(corpus, 400)}}, "[SEP]", " [MASK] ")
	return out
}

// wordPieces makes a WordPiece vocabulary of characters and of the n most frequent
// words, beginnings and endings, in small letters.
func wordPieces(corpus []string, n int) object {
	vocab := object{}
	put := func(s string) {
		if _, ok := vocab[s]; !ok {
			vocab[s] = len(vocab)
		}
	}
	for _, s := range []string{"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"} {
		put(s)
	}
	count := make(map[string]int)
	for _, w := range corpus {
		r := []rune(strings.ToLower(w))
		for i := range r {
			count[string(r[:i+1])]++
			count["##"+string(r[i:])]++
			if i > 0 {
				count["##"+string(r[i:i+1])]++
			}
		}
	}
	keys := slices.Sorted(maps.Keys(count))
	slices.SortStableFunc(keys, func(a, b string) int { return count[b] - count[a] })
	for _, k := range keys[:n] {
		put(k)
	}
	return vocab
}

// pipelineGolden is one way to normalise and cut, with what the official
// implementation makes of texts behind it, on the model of splitlevel.json.
type pipelineGolden struct {
	Normalizer   any       `json:"normalizer"`
	PreTokenizer any       `json:"pre_tokenizer"`
	Texts        []textIDs `json:"texts"`
}

type textIDs struct {
	Text string  `json:"text"`
	IDs  []int64 `json:"ids"`
}

// smallPipelines are the pipelines of testdata/tokenizers/pipelines.golden.json: the
// patterns of published tokenizers and each kind of construct.
func smallPipelines() []pipelineGolden {
	var out []pipelineGolden
	for _, p := range []string{llama3Split, o200kSplit, kimiSplit, bloomSplit, v3Split, published[4],
		`[[:punct:]]+`, `[[:alpha:]]+`, `[[:space:]]+`, `\w+`, `(?m)^.+$`, `^.+$`, `\h+|\R`, `[^[\p{L}&&[^\p{Latin}]]]+`, `\p{Alphabetic}++`, `(?i:[a-c]|'s|the)\b`, `\d{2}+`} {
		out = append(out, pipelineGolden{PreTokenizer: seq("Sequence", "pretokenizers", regexSplit(p, "Isolated"), bytesOnly())})
	}
	first := seq("Sequence", "pretokenizers", object{"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": true}, bytesOnly())
	for _, n := range []object{{"type": "Strip", "strip_left": true, "strip_right": false}, {"type": "StripAccents"},
		{"type": "Replace", "pattern": object{"Regex": `^[[:space:]T-]+`}, "content": ""}} {
		out = append(out, pipelineGolden{Normalizer: n, PreTokenizer: first})
	}
	return append(out, pipelineGolden{PreTokenizer: seq("Sequence", "pretokenizers", object{"type": "FixedLength", "length": 3}, bytesOnly())})
}

// pipelineTexts are short and full of what patterns tell apart.
var pipelineTexts = []string{" x", "a.b", "का", "a\u200db", "x² Ⅷ ٣", "one\ntwo\r\n three", "\u0301a The IT'S the'ſ", "日本ab カナ", "IsCamelCase 12345 ab", "  a\u0f0b_-b\u00a0!?…"}

// TestSmallPipelines compares them; with -update it writes the golden file.
func TestSmallPipelines(t *testing.T) {
	var base object
	for _, v := range small() {
		if v.name == "splitlevel" {
			if err := json.Unmarshal(v.data, &base); err != nil {
				t.Fatal(err)
			}
		}
	}
	list := smallPipelines()
	for k := range list {
		base["normalizer"], base["pre_tokenizer"] = list[k].Normalizer, list[k].PreTokenizer
		data, err := json.Marshal(base)
		if err != nil {
			t.Fatal(err)
		}
		for i, w := range runOfficial(t, data, pipelineTexts) {
			list[k].Texts = append(list[k].Texts, textIDs{pipelineTexts[i], w.IDs})
		}
		tok, err := token.Parse(data)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range list[k].Texts {
			if e, err := tok.Encode(x.Text); err != nil || !slices.Equal(e.IDs, x.IDs) {
				t.Errorf("%v: %q: %v, %v, want %v", list[k].PreTokenizer, x.Text, e.IDs, err, x.IDs)
			}
		}
	}
	if *update {
		var out bytes.Buffer
		out.WriteString("[\n")
		for k, p := range list {
			line, err := json.Marshal(p)
			if err != nil {
				t.Fatal(err)
			}
			if k > 0 {
				out.WriteString(",\n")
			}
			out.Write(line)
		}
		out.WriteString("\n]\n")
		write(t, filepath.Join("..", "..", "testdata", "tokenizers", "pipelines.golden.json"), out.Bytes())
	}
}

// spell writes bytes as GPT-2's byte characters.
func spell(s string) string {
	var out strings.Builder
	n := rune(0)
	var table [256]rune
	for b := range rune(256) {
		if b >= '!' && b <= '~' || b >= 0xA1 && b != 0xAD {
			table[b] = b
		} else {
			table[b] = 256 + n
			n++
		}
	}
	for i := range len(s) {
		out.WriteRune(table[s[i]])
	}
	return out.String()
}

// train makes a BPE vocabulary of start and n merges: the most frequent pair
// first, the alphabetically first of equals.
func train(start, words []string, n int) (object, []any) {
	vocab := object{}
	for _, s := range start {
		vocab[s] = len(vocab)
	}
	count := make(map[string]int)
	for _, w := range words {
		count[w]++
	}
	type word struct {
		parts []string
		n     int
	}
	var list []word
	for _, w := range slices.Sorted(maps.Keys(count)) {
		list = append(list, word{strings.Split(w, ""), count[w]})
	}
	var merges []any
	for range n {
		pairs := make(map[[2]string]int)
		for _, w := range list {
			for i := 1; i < len(w.parts); i++ {
				p := [2]string{w.parts[i-1], w.parts[i]}
				_, ok := vocab[p[0]]
				if _, ok2 := vocab[p[1]]; ok && ok2 {
					pairs[p] += w.n
				}
			}
		}
		var best [2]string
		for p, c := range pairs {
			if d := cmp.Compare(c, pairs[best]); d > 0 || d == 0 && slices.Compare(p[:], best[:]) < 0 {
				best = p
			}
		}
		if pairs[best] < 2 {
			break
		}
		joined := best[0] + best[1]
		merges = append(merges, []any{best[0], best[1]})
		if _, ok := vocab[joined]; !ok {
			vocab[joined] = len(vocab)
		}
		for k, w := range list {
			var parts []string
			for i := 0; i < len(w.parts); i++ {
				if i+1 < len(w.parts) && w.parts[i] == best[0] && w.parts[i+1] == best[1] {
					parts = append(parts, joined)
					i++
				} else {
					parts = append(parts, w.parts[i])
				}
			}
			list[k].parts = parts
		}
	}
	return vocab, merges
}

// pieces makes a unigram vocabulary of characters and of the n substrings that
// cover most of the corpus, scored by their logarithmic frequency.
func pieces(words []string, n int) []any {
	count := make(map[string]int)
	total := 0
	for _, w := range words {
		r := []rune(w)
		for i := range r {
			for j := i + 1; j <= min(len(r), i+8); j++ {
				count[string(r[i:j])]++
				total++
			}
		}
	}
	gain := func(s string) int { return count[s] * (utf8.RuneCountInString(s) - 1) }
	keys := slices.Sorted(maps.Keys(count))
	slices.SortStableFunc(keys, func(a, b string) int { return gain(b) - gain(a) })
	out := []any{[]any{"<pad>", 0.0}, []any{"</s>", 0.0}, []any{"<unk>", 0.0}}
	for i, k := range keys {
		if i < n || utf8.RuneCountInString(k) == 1 && count[k] > 20 {
			score := math.Log(float64(count[k]) / float64(total))
			out = append(out, []any{k, math.Round(score*1e4) / 1e4})
		}
	}
	return out
}

// mappings are what the small character map rewrites.
var mappings = map[string]string{
	"\t": " ", "\n": " ", "\r": " ", "\u00a0": " ", "\u3000": " ", "\u2009": " ", "\u200b": "", "\u0085": " ",
	"ﬁ": "fi", "ﬂ": "fl", "①": "1", "½": "1⁄2", "…": "...", "™": "TM", "Å": "Å", "e\u0301": "é", "a\u0300": "à",
	"Ａ": "A", "ｆ": "f", "ｕ": "u", "ｌ": "l", "İ": "İ", "ß": "ss", "❤": "<3",
}

// charsmap compiles a character map of SentencePiece: the size of a double-array
// trie, the trie in darts-clone's format, and the replacements.
func charsmap(m map[string]string) []byte {
	var texts []byte
	keys := slices.Sorted(maps.Keys(m))
	values := make(map[string]uint32)
	for _, k := range keys {
		values[k] = uint32(len(texts))
		texts = append(append(texts, m[k]...), 0)
	}
	units, used := make([]uint32, 256), make([]bool, 256)
	used[0] = true
	var place func(at int, prefix string, keys []string)
	place = func(at int, prefix string, keys []string) {
		var labels []byte
		for _, k := range keys {
			b := byte(0) // the end of a key
			if len(k) > len(prefix) {
				b = k[len(prefix)]
			}
			if len(labels) == 0 || labels[len(labels)-1] != b {
				labels = append(labels, b)
			}
		}
		base := 1
		for slices.ContainsFunc(labels, func(b byte) bool { return base^int(b) < len(used) && used[base^int(b)] }) {
			base++
		}
		for base|255 >= len(units) {
			units, used = append(units, make([]uint32, 256)...), append(used, make([]bool, 256)...)
		}
		units[at] |= uint32(base^at) << 10
		for _, b := range labels {
			used[base^int(b)] = true
		}
		for _, b := range labels {
			if b == 0 {
				units[at] |= 1 << 8
				units[base] = values[prefix] | 1<<31
				continue
			}
			next := prefix + string([]byte{b})
			units[base^int(b)] |= uint32(b)
			place(base^int(b), next, slices.DeleteFunc(slices.Clone(keys), func(k string) bool { return !strings.HasPrefix(k, next) }))
		}
	}
	place(0, "", keys)
	out := binary.LittleEndian.AppendUint32(nil, uint32(4*len(units)))
	for _, u := range units {
		out = binary.LittleEndian.AppendUint32(out, u)
	}
	return append(out, texts...)
}

// golden is one text with the official result. Offsets count characters.
type golden struct {
	Text    string   `json:"text"`
	IDs     []int64  `json:"ids"`
	Offsets [][2]int `json:"offsets"`
	Full    []int64  `json:"full"` // ids with template tokens
	Decoded string   `json:"decoded"`
}

// goldenTexts and goldenBytes bound the size of the golden files.
const (
	goldenTexts = 150
	goldenBytes = 120
)

// TestSmall compares the small tokenizers; with -update it first writes them
// and their golden files.
func TestSmall(t *testing.T) {
	dir := filepath.Join("..", "..", "testdata", "tokenizers")
	for _, v := range small() {
		t.Run(v.name, func(t *testing.T) {
			path := filepath.Join(dir, v.name+".json")
			if *update {
				write(t, path, v.data)
			}
			have, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(have, v.data) {
				t.Errorf("%s is not what the test trains: run with -update", path)
			}
			compare(t, v)
			if *update {
				writeGolden(t, filepath.Join(dir, v.name+".golden.json"), v)
			}
		})
	}
}

func writeGolden(t *testing.T, path string, v variant) {
	var texts []string
	for _, s := range Texts(7, 2*goldenTexts, v.special) {
		if len(s) <= goldenBytes && len(texts) < goldenTexts {
			texts = append(texts, s)
		}
	}
	var out bytes.Buffer
	out.WriteString("[\n")
	for i, w := range runOfficial(t, v.data, texts) {
		line, err := json.Marshal(golden{texts[i], w.IDs, w.Offsets, w.FullIDs, *w.Decoded})
		if err != nil {
			t.Fatal(err)
		}
		if i > 0 {
			out.WriteString(",\n")
		}
		out.Write(line)
	}
	out.WriteString("\n]\n")
	write(t, path, out.Bytes())
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if len(data) > maxFile {
		t.Fatalf("%s would have %d bytes, more than %d", path, len(data), maxFile)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}
