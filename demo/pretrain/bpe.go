package pretrain

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"editpipe/token/bytelevel"
)

// End is the token that ends a document.
const End = "<|endoftext|>"

// Vocabulary is a byte-level BPE vocabulary as it is learned: 256 bytes, the
// merges in the order in which they were found, then End.
type Vocabulary struct {
	Merges [][2]string // in the byte-level alphabet
}

// LearnBPE learns a byte-level BPE vocabulary of the given size from texts
// (Sennrich et al. 2016; bytes and word pattern of GPT-2, Radford et al. 2019):
// the most frequent pair of neighbours is joined, over and over; of equally
// frequent pairs the one that sorts first. The result depends on the words and
// their counts alone. It is smaller where no pair occurs twice any more.
func LearnBPE(texts []string, size int) (Vocabulary, error) {
	counts := map[string]int{}
	for _, t := range texts {
		matches, err := bytelevel.Pattern{}.Matches(t)
		if err != nil {
			return Vocabulary{}, fmt.Errorf("pretrain: splitting text into words: %w", err)
		}
		for _, m := range matches {
			counts[t[m.Start:m.End]]++
		}
	}
	type word struct {
		parts []string
		count int
	}
	var words []word
	for _, w := range slices.Sorted(maps.Keys(counts)) {
		var parts []string
		for i := range len(w) {
			parts = append(parts, string(bytelevel.Rune(w[i])))
		}
		words = append(words, word{parts, counts[w]})
	}
	pairs := map[[2]string]int{}
	where := map[[2]string]map[int]bool{}
	add := func(i, sign int) {
		p := words[i].parts
		for k := range len(p) - 1 {
			pair := [2]string{p[k], p[k+1]}
			pairs[pair] += sign * words[i].count
			if sign > 0 {
				if where[pair] == nil {
					where[pair] = map[int]bool{}
				}
				where[pair][i] = true
			}
		}
	}
	for i := range words {
		add(i, 1)
	}
	var v Vocabulary
	for 256+len(v.Merges)+1 < size {
		var best [2]string
		most := 1
		for pair, n := range pairs {
			if n > most || n == most && n > 1 && cmp.Or(cmp.Compare(pair[0], best[0]), cmp.Compare(pair[1], best[1])) < 0 {
				best, most = pair, n
			}
		}
		if most < 2 {
			break
		}
		v.Merges = append(v.Merges, best)
		for i := range where[best] {
			add(i, -1)
			words[i].parts = join(words[i].parts, best)
			add(i, 1)
		}
		delete(pairs, best)
		delete(where, best)
	}
	return v, nil
}

// join replaces every occurrence of the pair, from the left, by one part.
func join(parts []string, pair [2]string) []string {
	var out []string
	for i := 0; i < len(parts); i++ {
		if i+1 < len(parts) && parts[i] == pair[0] && parts[i+1] == pair[1] {
			out = append(out, pair[0]+pair[1])
			i++
			continue
		}
		out = append(out, parts[i])
	}
	return out
}

// Tokens are the tokens by id.
func (v Vocabulary) Tokens() []string {
	var out []string
	for b := range 256 {
		out = append(out, string(bytelevel.Rune(byte(b))))
	}
	for _, m := range v.Merges {
		out = append(out, m[0]+m[1])
	}
	return append(out, End)
}

// Files are the files of a tokenizer by name: tokenizer.json as the tokenizers
// library writes it, and its side files.
func (v Vocabulary) Files(context int) (map[string][]byte, error) {
	tokens := v.Tokens()
	ids := map[string]int{}
	for id, t := range tokens {
		ids[t] = id
	}
	if len(ids) != len(tokens) {
		return nil, fmt.Errorf("pretrain: a token of the vocabulary occurs twice")
	}
	merges := make([]string, len(v.Merges))
	for i, m := range v.Merges {
		merges[i] = strings.Join(m[:], " ")
	}
	byteLevel := map[string]any{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true}
	files := map[string]any{
		"tokenizer.json": map[string]any{
			"version": "1.0", "truncation": nil, "padding": nil, "normalizer": nil,
			"added_tokens": []any{map[string]any{"id": ids[End], "content": End, "single_word": false, "lstrip": false, "rstrip": false,
				"normalized": false, "special": true}},
			"pre_tokenizer": byteLevel, "post_processor": byteLevel, "decoder": byteLevel,
			"model": map[string]any{"type": "BPE", "dropout": nil, "unk_token": nil, "continuing_subword_prefix": "",
				"end_of_word_suffix": "", "fuse_unk": false, "byte_fallback": false, "vocab": ids, "merges": merges},
		},
		"tokenizer_config.json": map[string]any{"tokenizer_class": "GPT2Tokenizer", "bos_token": End, "eos_token": End, "unk_token": End,
			"add_prefix_space": false, "model_max_length": context},
		"special_tokens_map.json": map[string]string{"bos_token": End, "eos_token": End, "unk_token": End},
	}
	out := map[string][]byte{}
	for name, content := range files {
		data, err := json.Marshal(content)
		if err != nil {
			return nil, fmt.Errorf("pretrain: writing %s: %w", name, err)
		}
		out[name] = append(data, '\n')
	}
	return out, nil
}
