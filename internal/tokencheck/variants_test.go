//go:build tokencheck

package tokencheck

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"unicode/utf8"
)

type object = map[string]any

// variant is one tokenizer.json to compare.
type variant struct {
	name    string
	data    []byte
	special []string // token texts that some test texts write out
	// noSkip leaves out decoding without special tokens: version 0.23.2 of the
	// official library forgets to skip special tokens that are normalised.
	noSkip bool
}

const (
	llama3Split = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	qwenSplit   = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	o200kSplit  = `[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	kimiSplit   = `[\p{Han}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	bloomSplit  = ` ?[^(\s|[.,!?…。，、।۔،])]+`
	v3Split     = `[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_` + "`" + `{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	tekkenSplit = `[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	clipSplit   = `<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+`
)

func load(t *testing.T, path string) object {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var o object
	if err := json.Unmarshal(data, &o); err != nil {
		t.Fatal(err)
	}
	return o
}

func seq(kind, key string, parts ...any) object { return object{"type": kind, key: parts} }

func added(id int, content string, set ...string) object {
	o := object{"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": false}
	for _, s := range set {
		o[s] = true
	}
	return o
}

func regexSplit(pattern, behavior string) object {
	return object{"type": "Split", "pattern": object{"Regex": pattern}, "behavior": behavior, "invert": false}
}

func stringSplit(pattern, behavior string, invert bool) object {
	return object{"type": "Split", "pattern": object{"String": pattern}, "behavior": behavior, "invert": invert}
}

func bytesOnly() object {
	return object{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}
}

// variants assembles tokenizers of the known families from two real
// vocabularies: GPT-2's and T5's.
func variants(t *testing.T, gpt2, t5 object) []variant {
	var out []variant
	add := func(name string, base object, set object, special ...string) {
		o := object{}
		for k, v := range base {
			o[k] = v
		}
		model := object{}
		for k, v := range base["model"].(object) {
			model[k] = v
		}
		o["model"] = model
		for k, v := range set {
			if m, ok := strings.CutPrefix(k, "model."); ok {
				model[m] = v
			} else {
				o[k] = v
			}
		}
		data, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, variant{name: name, data: data, special: special})
	}
	n := len(gpt2["model"].(object)["vocab"].(object))
	eot := added(n-1, "<|endoftext|>", "special")
	byteNorm := func(norm any) object { return object{"normalizer": norm} }

	add("gpt2", gpt2, nil, "<|endoftext|>")
	add("t5-small", t5, nil, "</s>", "<pad>", "<extra_id_0>", "<unk>")

	extra := []any{eot}
	for i := range 20 {
		extra = append(extra, added(n+i, fmt.Sprintf("<|extratoken_%d|>", i+1), "normalized"))
	}
	add("gptj-like", gpt2, object{"added_tokens": extra}, "<|endoftext|>", "<|extratoken_1|>", "<|extratoken_10|>", "<|extratoken_2")

	phi := []any{eot}
	for i := 2; i < 32; i++ {
		phi = append(phi, added(n+len(phi)-1, strings.Repeat(" ", i), "normalized"))
	}
	for i := 2; i < 10; i++ {
		phi = append(phi, added(n+len(phi)-1, strings.Repeat("\t", i), "normalized"))
	}
	add("phi2-like", gpt2, object{"added_tokens": phi}, "<|endoftext|>", "      ", "\t\t\t")

	add("roberta-like", gpt2, object{
		"added_tokens":   []any{eot, added(n, "<s>", "special"), added(n+1, "</s>", "special"), added(n+2, "<mask>", "special", "lstrip")},
		"pre_tokenizer":  object{"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true},
		"post_processor": object{"type": "RobertaProcessing", "sep": []any{"</s>", n + 1}, "cls": []any{"<s>", n}, "trim_offsets": true, "add_prefix_space": true},
	}, "<s>", "</s>", "<mask>", " <mask>", "  <mask> ")
	add("roberta-trim", gpt2, object{
		"post_processor": object{"type": "ByteLevel", "trim_offsets": true, "add_prefix_space": false},
	}, "<|endoftext|>")

	template := object{
		"type":           "TemplateProcessing",
		"single":         []any{object{"SpecialToken": object{"id": "<|begin|>", "type_id": 0}}, object{"Sequence": object{"id": "A", "type_id": 0}}},
		"pair":           []any{object{"Sequence": object{"id": "A", "type_id": 0}}, object{"Sequence": object{"id": "B", "type_id": 1}}},
		"special_tokens": object{"<|begin|>": object{"id": "<|begin|>", "ids": []any{n}, "tokens": []any{"<|begin|>"}}},
	}
	add("llama3-like", gpt2, object{
		"added_tokens":        []any{eot, added(n, "<|begin|>", "special")},
		"pre_tokenizer":       seq("Sequence", "pretokenizers", regexSplit(llama3Split, "Isolated"), bytesOnly()),
		"post_processor":      seq("Sequence", "processors", object{"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false, "use_regex": true}, template),
		"model.ignore_merges": true,
	}, "<|begin|>", "<|endoftext|>")
	add("qwen-like", gpt2, object{
		"added_tokens":  []any{eot, added(n, "<|im_start|>", "special"), added(n+1, "<tool_call>")},
		"normalizer":    object{"type": "NFC"},
		"pre_tokenizer": seq("Sequence", "pretokenizers", regexSplit(qwenSplit, "Isolated"), bytesOnly()),
	}, "<|im_start|>", "<tool_call>", "<|endoftext|>")
	add("falcon-like", gpt2, object{
		"pre_tokenizer": seq("Sequence", "pretokenizers",
			object{"type": "Punctuation", "behavior": "Contiguous"},
			object{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
			object{"type": "Digits", "individual_digits": false}, regexSplit("[0-9][0-9][0-9]", "Isolated")),
	}, "<|endoftext|>")
	add("starcoder-like", gpt2, object{
		"pre_tokenizer": seq("Sequence", "pretokenizers", object{"type": "Digits", "individual_digits": true},
			object{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true}),
	}, "<|endoftext|>")
	add("deepseek-like", gpt2, object{
		"pre_tokenizer": seq("Sequence", "pretokenizers", regexSplit(`[\r\n]`, "Isolated"), regexSplit(`\s?\p{L}+`, "Isolated"),
			regexSplit(`\s?\p{P}+`, "Isolated"), regexSplit(`[一-龥ࠀ-一가-퟿]+`, "Isolated"), object{"type": "Digits", "individual_digits": true}, bytesOnly()),
	}, "<|endoftext|>")
	// The pipelines of families whose files are not in published.tsv.
	split := func(normalizer any, patterns ...string) object {
		var parts []any
		for _, p := range patterns {
			parts = append(parts, regexSplit(p, "Isolated"))
		}
		return object{"normalizer": normalizer, "pre_tokenizer": seq("Sequence", "pretokenizers", append(parts, bytesOnly())...)}
	}
	add("bloom-like", gpt2, split(nil, bloomSplit), "<|endoftext|>")
	add("kimi-k2-like", gpt2, split(nil, kimiSplit), "<|endoftext|>")
	add("mistral-nemo-like", gpt2, split(nil, tekkenSplit), "<|endoftext|>")
	add("qwen2-like", gpt2, split(object{"type": "NFC"}, qwenSplit), "<|endoftext|>")
	add("glm4-like", gpt2, split(nil, llama3Split), "<|endoftext|>")
	add("deepseek-coder-like", gpt2, split(nil, `[\r\n]`, `\s?\p{L}+`, `\s?\p{P}+`, `[一-龥ࠀ-一가-퟿]+`, `\p{N}`), "<|endoftext|>")
	add("cl100k-newer", gpt2, split(nil, published[4]), "<|endoftext|>")
	add("olmo-like", gpt2, object{"normalizer": object{"type": "NFC"}}, "<|endoftext|>")
	// Constructs of Oniguruma.
	for _, p := range []string{`[[:punct:]]+`, `[[:alpha:]]+`, `[[:space:]]+`, `\w+`, `(?m)^.+$`, `\h+|\R`, `[^[\p{L}&&[^\p{Latin}]]]+`, `\p{Alphabetic}++`, `(?i:[a-c]|the)\b`, `\d{2}+`} {
		add("split-"+p, gpt2, split(nil, p), "<|endoftext|>")
	}
	add("replace-onig", gpt2, byteNorm(seq("Sequence", "normalizers", object{"type": "Replace", "pattern": object{"Regex": `[[:cntrl:]]|\p{Cn}`}, "content": ""},
		object{"type": "Nmt"}, object{"type": "Replace", "pattern": object{"Regex": `(?<=\w)'(?=\w)`}, "content": "’"})), "<|endoftext|>")
	add("fixed-length", gpt2, object{"pre_tokenizer": seq("Sequence", "pretokenizers", object{"type": "FixedLength", "length": 3}, bytesOnly())}, "<|endoftext|>")
	for _, b := range []string{"Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous"} {
		add("split-"+b, gpt2, object{
			"pre_tokenizer": seq("Sequence", "pretokenizers", stringSplit(" ", b, false), stringSplit("a", b, true), bytesOnly()),
		})
	}
	add("whitespace", gpt2, object{
		"pre_tokenizer": seq("Sequence", "pretokenizers", object{"type": "Whitespace"}, bytesOnly()),
	})
	add("bert-norm", gpt2, object{
		"normalizer":    object{"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": nil, "lowercase": true},
		"pre_tokenizer": seq("Sequence", "pretokenizers", object{"type": "BertPreTokenizer"}, bytesOnly()),
	})
	for _, f := range []string{"NFC", "NFD", "NFKC", "NFKD", "Lowercase"} {
		add("norm-"+f, gpt2, byteNorm(object{"type": f}), "<|endoftext|>")
	}
	add("norm-mixed", gpt2, byteNorm(seq("Sequence", "normalizers", object{"type": "NFD"}, object{"type": "StripAccents"},
		object{"type": "Strip", "strip_left": true, "strip_right": true},
		object{"type": "Replace", "pattern": object{"Regex": " {2,}"}, "content": " "},
		object{"type": "Replace", "pattern": object{"String": "a"}, "content": "äö"}, object{"type": "Prepend", "prepend": "xy"})), "<|endoftext|>")
	add("norm-strip", gpt2, byteNorm(object{"type": "Strip", "strip_left": false, "strip_right": true}), "<|endoftext|>")
	add("norm-bytelevel", gpt2, object{
		"normalizer": object{"type": "ByteLevel"}, "pre_tokenizer": regexSplit("Ġ", "MergedWithNext"),
	}, "<|endoftext|>")
	add("added-kinds", gpt2, object{
		"added_tokens": []any{eot, added(n, "Parisx", "single_word"), added(n+1, "[L]", "lstrip"), added(n+2, "[R]", "rstrip"),
			added(n+3, "[LR]", "lstrip", "rstrip", "special"), added(n+4, "FRENCH", "normalized"), added(n+5, "the language", "normalized", "single_word"), added(n+6, "the lang"), added(n+7, "[LRX]")},
		"normalizer": object{"type": "Lowercase"},
	}, "Parisx", "Parisxy", " Parisx,", "[L]", " [L] ", "[R] ", "  [LR]  ", "[LRX]", "FRENCH", "french", "the language", "the languages", "the lang")

	clipVocab, clipMerges := clip(gpt2)
	add("clip-like", gpt2, object{
		"normalizer": seq("Sequence", "normalizers", object{"type": "NFC"}, object{"type": "Replace", "pattern": object{"Regex": `\s+`}, "content": " "}, object{"type": "Lowercase"}),
		"pre_tokenizer": seq("Sequence", "pretokenizers", object{"type": "Split", "pattern": object{"Regex": clipSplit}, "behavior": "Removed", "invert": true},
			object{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true}),
		"model.vocab": clipVocab, "model.merges": clipMerges, "model.end_of_word_suffix": "</w>", "model.unk_token": "<|endoftext|>",
	}, "<|endoftext|>")

	vocab, merges := sentencePiece(gpt2)
	base := len(vocab)
	llama := object{
		"version": "1.0", "truncation": nil, "padding": nil, "pre_tokenizer": nil, "post_processor": nil,
		"model": object{"type": "BPE", "dropout": nil, "unk_token": "<unk>", "continuing_subword_prefix": nil, "end_of_word_suffix": nil,
			"fuse_unk": true, "byte_fallback": true, "vocab": vocab, "merges": merges},
		"added_tokens": []any{added(0, "<unk>", "special"), added(1, "<s>", "special"), added(2, "</s>", "special"), added(base, "<extra>", "normalized"), added(base+1, "<|end|>", "rstrip", "special")},
		"normalizer": seq("Sequence", "normalizers", object{"type": "Prepend", "prepend": "▁"},
			object{"type": "Replace", "pattern": object{"String": " "}, "content": "▁"}),
		"decoder": seq("Sequence", "decoders", object{"type": "Replace", "pattern": object{"String": "▁"}, "content": " "},
			object{"type": "ByteFallback"}, object{"type": "Fuse"}, object{"type": "Strip", "content": " ", "start": 1, "stop": 0}),
	}
	special := []string{"<s>", "</s>", "<unk>", "<extra>", "<|end|>  "}
	add("llama-like", llama, nil, special...)
	add("llama-unk", llama, object{"model.byte_fallback": false, "added_tokens": []any{added(0, "<unk>", "special", "normalized"), added(1, "<s>", "special", "normalized")}}, special...)
	out[len(out)-1].noSkip = true
	add("llama-nofuse", llama, object{"model.byte_fallback": false, "model.fuse_unk": false}, special...)
	for _, scheme := range []string{"first", "always", "never"} {
		for _, cut := range []bool{false, true} {
			m := object{"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": cut}
			add(fmt.Sprintf("llama-metaspace-%s-%v", scheme, cut), llama, object{"normalizer": nil, "pre_tokenizer": m, "decoder": m}, special...)
		}
	}

	// A normaliser that removes the beginning of a text, before Metaspace that prepends
	// to the first piece alone; with and without added tokens.
	first := object{"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": true}
	for name, n := range map[string]object{
		"strip":   {"type": "Strip", "strip_left": true, "strip_right": false},
		"accents": {"type": "StripAccents"},
		"bert":    {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": nil, "lowercase": true},
		"replace": {"type": "Replace", "pattern": object{"Regex": `^[ a-d]`}, "content": ""},
		"nmt":     {"type": "Nmt"},
	} {
		add("metaspace-first-"+name, llama, object{"normalizer": n, "pre_tokenizer": first, "decoder": first}, special...)
		add("metaspace-first-bare-"+name, llama, object{"normalizer": n, "pre_tokenizer": first, "decoder": first, "added_tokens": []any{}})
	}

	pieceVocab := object{"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "[PAD]": 3}
	for _, s := range byID(vocab) {
		if s = strings.ReplaceAll(strings.ToLower(s), "▁", ""); s == "" {
			continue
		}
		for _, s := range []string{s, "##" + s} {
			if _, ok := pieceVocab[s]; !ok {
				pieceVocab[s] = len(pieceVocab)
			}
		}
	}
	bert := object{"version": "1.0", "truncation": nil, "padding": nil,
		"added_tokens":  []any{added(0, "[UNK]", "special"), added(1, "[CLS]", "special"), added(2, "[SEP]", "special")},
		"normalizer":    object{"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": nil, "lowercase": true},
		"pre_tokenizer": object{"type": "BertPreTokenizer"}, "post_processor": object{"type": "BertProcessing", "sep": []any{"[SEP]", 2}, "cls": []any{"[CLS]", 1}},
		"decoder": object{"type": "WordPiece", "prefix": "##", "cleanup": true},
		"model":   object{"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 20, "vocab": pieceVocab}}
	add("bert-like", bert, nil, "[SEP]", "[UNK]")
	add("bert-cased-like", bert, object{"normalizer": object{"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": false, "lowercase": false},
		"decoder": object{"type": "WordPiece", "prefix": "##", "cleanup": false}}, "[SEP]", "[UNK]")
	add("ctc", bert, object{"decoder": object{"type": "CTC", "pad_token": "[PAD]", "word_delimiter_token": "|", "cleanup": true}}, "[SEP]")

	meta := object{"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true}
	add("t5-new-format", t5, object{"model.type": "Unigram", "pre_tokenizer": meta, "decoder": meta}, "</s>", "<extra_id_1>")
	add("unigram-xlmr-like", t5, object{"model.type": "Unigram",
		"normalizer":    seq("Sequence", "normalizers", t5["normalizer"], object{"type": "Replace", "pattern": object{"Regex": " {2,}"}, "content": " "}),
		"pre_tokenizer": meta, "decoder": meta}, "</s>")
	add("unigram-nfkc", t5, object{"model.type": "Unigram",
		"normalizer":    seq("Sequence", "normalizers", object{"type": "NFKC"}, object{"type": "Lowercase"}),
		"pre_tokenizer": object{"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": false}}, "</s>")
	var scored []any
	for i := range 256 {
		scored = append(scored, []any{fmt.Sprintf("<0x%02X>", i), -20.0})
	}
	t5vocab := t5["model"].(object)["vocab"].([]any)
	add("unigram-bytes", t5, object{"model.type": "Unigram", "model.byte_fallback": true, "model.vocab": append(append([]any{}, t5vocab...), scored...),
		"decoder": seq("Sequence", "decoders", object{"type": "ByteFallback"}, meta)}, "</s>")
	return out
}

// sentencePiece rewrites a byte-level vocabulary as LLaMA's would be: U+2581
// for the space, byte tokens, and only tokens that are valid text.
func sentencePiece(gpt2 object) (vocab object, merges []any) {
	model := gpt2["model"].(object)
	vocab = object{"<unk>": 0, "<s>": 1, "</s>": 2}
	for i := range 256 {
		vocab[fmt.Sprintf("<0x%02X>", i)] = 3 + i
	}
	text := make(map[string]string)
	for id, t := range byID(model["vocab"].(object)) {
		s, ok := plain(t)
		if !ok || t == "<|endoftext|>" {
			continue
		}
		text[t] = s
		if _, ok := vocab[s]; !ok {
			vocab[s] = 259 + id
		}
	}
	// Ids must be dense: the official library counts the vocabulary.
	id := 0
	for _, s := range byID(vocab) {
		if s != "" {
			vocab[s] = id
			id++
		}
	}
	for _, m := range model["merges"].([]any) {
		a, b, _ := strings.Cut(m.(string), " ")
		x, ok := text[a]
		y, ok2 := text[b]
		if _, ok3 := text[a+b]; ok && ok2 && ok3 {
			merges = append(merges, []any{x, y})
		}
	}
	return vocab, merges
}

// plain spells a byte-level token as text with U+2581 for the space.
func plain(t string) (string, bool) {
	var b []byte
	for _, r := range t {
		switch {
		case r == 'Ġ':
			b = append(b, ' ')
		case r < 0x100:
			b = append(b, byte(r))
		case r >= 256+33 && r < 256+67: // 0x7F to 0xA0
			b = append(b, byte(r-256-33+0x7F))
		default:
			return "", false
		}
	}
	return strings.ReplaceAll(string(b), " ", "▁"), utf8.Valid(b)
}

// byID lists the tokens of a vocabulary by id, with gaps as "".
func byID(vocab object) []string {
	list := make([]string, 0, len(vocab))
	for t, v := range vocab {
		id := 0
		switch v := v.(type) {
		case float64:
			id = int(v)
		case int:
			id = v
		}
		for len(list) <= id {
			list = append(list, "")
		}
		list[id] = t
	}
	return list
}

// clip turns word-initial tokens ("Ġthe") into CLIP's word-final form
// ("the</w>"), with merges that may not make sense but must be applied alike.
func clip(gpt2 object) (vocab object, merges []any) {
	model := gpt2["model"].(object)
	vocab = object{}
	n := 0
	put := func(s string) {
		if _, ok := vocab[s]; !ok {
			vocab[s] = n
			n++
		}
	}
	tokens := byID(model["vocab"].(object))
	for _, t := range tokens[:256] {
		put(t)
		put(t + "</w>")
	}
	for _, m := range model["merges"].([]any)[:5000] {
		a, b, _ := strings.Cut(m.(string), " ")
		_, ok := vocab[a]
		if _, ok2 := vocab[b]; !ok || !ok2 {
			continue
		}
		put(a + b)
		merges = append(merges, a+" "+b)
		if _, ok := vocab[b+"</w>"]; ok {
			put(a + b + "</w>")
			merges = append(merges, a+" "+b+"</w>")
		}
	}
	put("<|endoftext|>")
	return vocab, merges
}
