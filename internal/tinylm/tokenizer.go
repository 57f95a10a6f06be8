package tinylm

import (
	"fmt"
	"strings"
)

// merges are the pairs joined by the tokenizer, most frequent first. Ġ stands
// for a space, as in every byte-level vocabulary.
var merges = []string{
	"Ġ t", "h e", "Ġt he", "Ġ a", "i n", "e r", "o n", "Ġ o", "Ġo f", "Ġ s", "a n", "Ġ i", "Ġi s", "e n", "o r",
	"Ġ w", "Ġ c", "a t", "i s", "Ġ b", "Ġ p", "Ġ in", "an d", "Ġ m", "r e", "T he", "Ġ The",
}

// vocabulary is a byte-level BPE vocabulary: 256 bytes, the merges, and the
// family's special tokens at the end.
type vocabulary struct {
	tokens          []string
	ids             map[string]int
	merges          []string
	special         []string
	start, end, pad string // "" where the family has none
}

func newVocabulary(f Family) vocabulary {
	v := vocabulary{ids: map[string]int{}}
	add := func(token string) {
		if _, have := v.ids[token]; !have {
			v.ids[token] = len(v.tokens)
			v.tokens = append(v.tokens, token)
		}
	}
	for _, r := range byteRunes() {
		add(string(r))
	}
	for _, m := range merges {
		left, right, _ := strings.Cut(m, " ")
		_, haveLeft := v.ids[left]
		_, haveRight := v.ids[right]
		if haveLeft && haveRight { // a merge must join tokens that exist
			v.merges = append(v.merges, m)
			add(left + right)
		}
	}
	switch f {
	case LLaMA, Mistral, Gemma2, Gemma3:
		v.start, v.end = "<|begin_of_text|>", "<|end_of_text|>"
		v.special = []string{v.start, v.end}
	case T5:
		v.end, v.pad = "</s>", "<pad>"
		v.special = []string{v.pad, v.end}
	default:
		v.end = "<|endoftext|>"
		v.special = []string{v.end}
	}
	for _, s := range v.special {
		add(s)
	}
	return v
}

func (v vocabulary) size() int { return len(v.tokens) }

// byteRunes maps every byte to the printable character that stands for it in
// byte-level vocabularies: itself where printable, else 256 onwards.
func byteRunes() []rune {
	runes := make([]rune, 256)
	next := rune(256)
	for b := range 256 {
		switch {
		case b >= '!' && b <= '~', b >= 0xa1 && b <= 0xac, b >= 0xae:
			runes[b] = rune(b)
		default:
			runes[b] = next
			next++
		}
	}
	return runes
}

// tokenizer is the content of tokenizer.json.
func (v vocabulary) tokenizer() map[string]any {
	vocab := map[string]int{}
	var added []map[string]any
	for id, t := range v.tokens {
		vocab[t] = id
	}
	for _, s := range v.special {
		token := specialToken(s)
		token["id"] = v.ids[s]
		added = append(added, token)
	}
	byteLevel := map[string]any{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true}
	return map[string]any{
		"version": "1.0", "truncation": nil, "padding": nil,
		"added_tokens": added, "normalizer": nil,
		"pre_tokenizer": byteLevel, "decoder": byteLevel, "post_processor": v.postProcessor(byteLevel),
		"model": map[string]any{
			"type": "BPE", "dropout": nil, "unk_token": nil, "continuing_subword_prefix": "", "end_of_word_suffix": "",
			"fuse_unk": false, "vocab": vocab, "merges": v.merges,
		},
	}
}

func specialToken(s string) map[string]any {
	return map[string]any{
		"content": s, "special": true, "single_word": false, "lstrip": false, "rstrip": false,
		"normalized": false,
	}
}

// postProcessor adds what the family's models were trained with: a start token
// for LLaMA, an end token for T5.
func (v vocabulary) postProcessor(byteLevel map[string]any) map[string]any {
	token := func(s string) map[string]any {
		return map[string]any{"SpecialToken": map[string]any{"id": s, "type_id": 0}}
	}
	text := func(id string) map[string]any {
		return map[string]any{"Sequence": map[string]any{"id": id, "type_id": 0}}
	}
	var single, pair []any
	var added string
	switch {
	case v.start != "":
		added = v.start
		single, pair = []any{token(added), text("A")}, []any{token(added), text("A"), text("B")}
	case v.pad != "":
		added = v.end
		single, pair = []any{text("A"), token(added)}, []any{text("A"), token(added), text("B"), token(added)}
	default:
		return byteLevel
	}
	return map[string]any{
		"type": "TemplateProcessing", "single": single, "pair": pair,
		"special_tokens": map[string]any{
			added: map[string]any{"id": added, "ids": []int{v.ids[added]}, "tokens": []string{added}},
		},
	}
}

// specialTokens is the content of special_tokens_map.json.
func (v vocabulary) specialTokens() map[string]string {
	m := map[string]string{"eos_token": v.end}
	switch {
	case v.start != "":
		m["bos_token"] = v.start
	case v.pad != "":
		m["pad_token"] = v.pad
	default:
		m["bos_token"], m["unk_token"] = v.end, v.end
	}
	return m
}

// tokenizerConfig is the content of tokenizer_config.json.
func (v vocabulary) tokenizerConfig(c Config) map[string]any {
	m := map[string]any{
		"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": c.Context,
		"add_prefix_space": false, "clean_up_tokenization_spaces": false,
	}
	for k, s := range v.specialTokens() {
		m[k] = s
	}
	decoder := map[string]any{}
	for _, s := range v.special {
		decoder[fmt.Sprint(v.ids[s])] = specialToken(s)
	}
	m["added_tokens_decoder"] = decoder
	return m
}
