package token

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"editpipe/checkpoint"
	"editpipe/file"
	"editpipe/token/bytelevel"
)

// Names of files that describe a tokenizer.
const (
	tokenizerFile = "tokenizer.json"
	vocabFile     = "vocab.json"
	mergesFile    = "merges.txt"
)

// Find returns the file in a folder that [Open] reads a tokenizer from:
// tokenizer.json, or vocab.json where merges.txt lies beside it; "" if there is
// neither.
func Find(dir string) string {
	is := func(name string) bool { return file.IsRegular(filepath.Join(dir, name)) }
	switch {
	case is(tokenizerFile):
		return filepath.Join(dir, tokenizerFile)
	case is(vocabFile) && is(mergesFile):
		return filepath.Join(dir, vocabFile)
	}
	return ""
}

// Missing names the files, one of which a folder needs before [Find] finds a tokenizer.
func Missing(dir string) string {
	if _, err := os.Stat(filepath.Join(dir, vocabFile)); err == nil {
		return tokenizerFile + ", or the " + mergesFile + " of its " + vocabFile + ","
	}
	return tokenizerFile
}

// roleOrder is the order in which transformers gives ids to the tokens of roles
// that no file gives one.
var roleOrder = []string{"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"}

// pipeline is what the tokenizers of a class of transformers do before the model.
type pipeline struct{ normaliser, pattern string }

// pipelines are the classes of transformers whose vocab.json and merges.txt are
// byte-level BPE, without "Fast".
var pipelines = map[string]pipeline{
	"GPT2Tokenizer":    {},
	"CodeGenTokenizer": {},
	"Qwen2Tokenizer":   {"NFC", `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`},
}

// classes are the classes of the kinds of models (model_type in config.json) where no
// file names one; "" is a folder without a kind. GPT-2's is the oldest.
var classes = map[string]string{
	"": "GPT2Tokenizer", "gpt2": "GPT2Tokenizer", "gptj": "GPT2Tokenizer", "gpt_neo": "GPT2Tokenizer", "gpt_bigcode": "GPT2Tokenizer", "opt": "GPT2Tokenizer",
	"codegen": "CodeGenTokenizer", "qwen2": "Qwen2Tokenizer", "qwen2_moe": "Qwen2Tokenizer", "qwen3": "Qwen2Tokenizer", "qwen3_moe": "Qwen2Tokenizer",
}

// side is what the files beside vocab.json and merges.txt say.
type side struct {
	Class          string                    `json:"tokenizer_class"`
	AddPrefixSpace bool                      `json:"add_prefix_space"`
	AddBOS         bool                      `json:"add_bos_token"`
	AddEOS         bool                      `json:"add_eos_token"`
	Decoder        map[string]map[string]any `json:"added_tokens_decoder"`
	roles          map[string]map[string]any // "eos_token" -> AddedToken
	more           []map[string]any          // additional_special_tokens
	added          map[string]int64          // added_tokens.json
}

// assemble makes a tokenizer.json of the vocab.json and merges.txt in a folder, as
// transformers converts its Python tokenizers (convert_slow_tokenizer.py): byte-level
// BPE with GPT-2's pipeline or that of the class that tokenizer_config.json names,
// and the tokens of added_tokens.json, tokenizer_config.json and
// special_tokens_map.json.
func assemble(dir string) ([]byte, error) {
	var vocab map[string]int64
	if err := readIDs(filepath.Join(dir, vocabFile), &vocab); err != nil {
		return nil, err
	}
	for b := range 256 {
		if _, ok := vocab[string(bytelevel.Rune(byte(b)))]; !ok {
			return nil, fmt.Errorf("%s has no token for the byte 0x%02X: a vocabulary that is not byte-level is %w without tokenizer.json", vocabFile, b, ErrUnsupported)
		}
	}
	merges, err := readMerges(filepath.Join(dir, mergesFile))
	if err != nil {
		return nil, err
	}
	s, err := readSide(dir)
	if err != nil {
		return nil, err
	}
	if s.Class == "" {
		if s.Class, err = classOfModel(dir); err != nil {
			return nil, err
		}
	}
	p, ok := pipelines[strings.TrimSuffix(s.Class, "Fast")]
	if !ok {
		return nil, fmt.Errorf("tokenizer_class %s with %s and %s is %w; save it as tokenizer.json", s.Class, vocabFile, mergesFile, ErrUnsupported)
	}
	added, err := s.tokens(vocab)
	if err != nil {
		return nil, err
	}
	if err := covered(vocab, merges, added); err != nil {
		return nil, fmt.Errorf("%s %w", filepath.Join(dir, mergesFile), err)
	}
	type object = map[string]any
	byteLevel := object{"type": "ByteLevel", "add_prefix_space": s.AddPrefixSpace, "trim_offsets": true, "use_regex": p.pattern == ""}
	made := object{
		"added_tokens":  added,
		"pre_tokenizer": byteLevel,
		"decoder":       byteLevel,
		"model":         object{"type": "BPE", "vocab": vocab, "merges": merges},
	}
	if p.normaliser != "" {
		made["normalizer"] = object{"type": p.normaliser}
	}
	if p.pattern != "" {
		made["pre_tokenizer"] = object{"type": "Sequence", "pretokenizers": []any{
			object{"type": "Split", "pattern": object{"Regex": p.pattern}, "behavior": "Isolated", "invert": false}, byteLevel}}
	}
	var single []any
	special := object{}
	template := func(wanted bool, role string) error {
		if !wanted {
			return nil
		}
		content, _ := s.roles[role]["content"].(string)
		i := slices.IndexFunc(added, func(t map[string]any) bool { return t["content"] == content })
		if i < 0 {
			return fmt.Errorf("add_%s is set, and no file names the token", role)
		}
		special[content] = object{"id": content, "ids": []any{added[i]["id"]}, "tokens": []any{content}}
		single = append(single, object{"SpecialToken": object{"id": content, "type_id": 0}})
		return nil
	}
	if err := template(s.AddBOS, "bos_token"); err != nil {
		return nil, err
	}
	single = append(single, object{"Sequence": object{"id": "A", "type_id": 0}})
	if err := template(s.AddEOS, "eos_token"); err != nil {
		return nil, err
	}
	if len(single) > 1 {
		made["post_processor"] = object{"type": "TemplateProcessing", "single": single, "special_tokens": special}
	}
	return json.Marshal(made)
}

// classOfModel gives the class that config.json names or that its kind of model has.
func classOfModel(dir string) (string, error) {
	var c struct {
		Class string `json:"tokenizer_class"`
		Type  string `json:"model_type"`
	}
	if err := optional(checkpoint.ReadJSON(filepath.Join(dir, "config.json"), &c)); err != nil {
		return "", err
	}
	if c.Class != "" {
		return c.Class, nil
	}
	class, ok := classes[c.Type]
	if !ok {
		return "", fmt.Errorf("no file names the tokenizer_class, and that of a model of type %s is not known: %s with %s is %w then; save it as tokenizer.json", c.Type, vocabFile, mergesFile, ErrUnsupported)
	}
	return class, nil
}

// readMerges reads the lines of a merges.txt; the first may say a version.
func readMerges(path string) ([]string, error) {
	data, err := checkpoint.Read(path)
	if err != nil {
		return nil, err
	}
	var out []string
	for i, line := range strings.Split(string(data), "\n") {
		line = strings.TrimSuffix(line, "\r")
		if line == "" || i == 0 && strings.HasPrefix(line, "#version") {
			continue
		}
		if strings.Count(line, " ") != 1 {
			return nil, fmt.Errorf("%s: line %d does not hold two tokens", path, i+1)
		}
		out = append(out, line)
	}
	return out, nil
}

// unmerged is the share of the tokens longer than a byte that may have no merge. Of
// 15 published byte-level vocabularies, RoBERTa's has 3 of 50,000 (madeupword0000 ...)
// and the others none; what is cut short by less than the share passes.
const unmerged = 1e-3

// control matches tokens that stand for no text, which no merge makes although no
// file may say so: <|endoftext|>, <pad>, [MASK].
var control = regexp.MustCompile(`^(<.+>|\[.+\])$`)

// covered returns an error where merges do not make the tokens of a vocabulary: the
// ids would be those of a shorter file, and nobody would notice.
func covered(vocab map[string]int64, merges []string, added []map[string]any) error {
	made := make(map[string]bool, len(merges)+len(added))
	for _, m := range merges {
		made[strings.Replace(m, " ", "", 1)] = true
	}
	for _, t := range added {
		made[t["content"].(string)] = true
	}
	long, missing := 0, 0
	for t := range vocab {
		if b, ok := bytelevel.Bytes(t); !ok || len(b) < 2 || control.MatchString(t) {
			continue
		}
		long++
		if !made[t] {
			missing++
		}
	}
	if float64(missing) > unmerged*float64(long) {
		return fmt.Errorf("is cut short: no merge makes %d of the %d tokens of %s that are longer than a byte; copy it again", missing, long, vocabFile)
	}
	return nil
}

func readSide(dir string) (*side, error) {
	s := &side{roles: make(map[string]map[string]any)}
	if err := optional(readIDs(filepath.Join(dir, "added_tokens.json"), &s.added)); err != nil {
		return nil, err
	}
	if err := optional(checkpoint.ReadJSON(filepath.Join(dir, configFile), s)); err != nil {
		return nil, err
	}
	for _, name := range roleFiles {
		var c map[string]json.RawMessage
		if err := optional(checkpoint.ReadJSON(filepath.Join(dir, name), &c)); err != nil {
			return nil, err
		}
		for _, role := range roleOrder {
			if t, ok := tokenOf(c[role]); ok {
				s.roles[role] = t
			}
		}
		var list []json.RawMessage
		if json.Unmarshal(c["additional_special_tokens"], &list) == nil {
			for _, data := range list {
				if t, ok := tokenOf(data); ok {
					s.more = append(s.more, t)
				}
			}
		}
	}
	return s, nil
}

// tokenOf reads "</s>" or {"content": "</s>", ...}.
func tokenOf(data json.RawMessage) (map[string]any, bool) {
	var content string
	if json.Unmarshal(data, &content) == nil {
		return map[string]any{"content": content, "normalized": false}, content != ""
	}
	var t map[string]any
	if json.Unmarshal(data, &t) != nil {
		return nil, false
	}
	content, _ = t["content"].(string)
	return t, content != ""
}

// tokens are the added tokens in the order of their ids.
func (s *side) tokens(vocab map[string]int64) ([]map[string]any, error) {
	all := make(map[string]map[string]any)
	put := func(t map[string]any, id int64, special bool) {
		t = maps.Clone(t)
		delete(t, "__type")
		t["id"] = id
		if special {
			t["special"] = true
		}
		all[t["content"].(string)] = t
	}
	for _, content := range slices.Sorted(maps.Keys(s.added)) {
		put(map[string]any{"content": content, "normalized": true}, s.added[content], false)
	}
	for id, t := range s.Decoder {
		n, err := strconv.ParseInt(id, 10, 64)
		if content, _ := t["content"].(string); err != nil || content == "" {
			return nil, fmt.Errorf("%s: added_tokens_decoder: %q is not an id with a token", configFile, id)
		}
		put(t, n, false)
	}
	special := make([]map[string]any, 0, len(s.roles)+len(s.more))
	for _, role := range roleOrder {
		if t, ok := s.roles[role]; ok {
			special = append(special, t)
		}
	}
	total := len(vocab)
	for content := range all {
		if _, own := vocab[content]; !own {
			total++
		}
	}
	for _, t := range append(special, s.more...) {
		content := t["content"].(string)
		if old, ok := all[content]; ok {
			old["special"] = true
			continue
		}
		id, ok := vocab[content]
		if !ok { // as transformers: behind all others
			id = int64(total)
			total++
		}
		put(t, id, true)
	}
	return slices.SortedFunc(maps.Values(all), func(a, b map[string]any) int { return int(a["id"].(int64) - b["id"].(int64)) }), nil
}

// readIDs reads a file that gives tokens their ids. Unlike a setting, an id that is
// no number counts, so that JSON is all that is read.
func readIDs(path string, ids *map[string]int64) error {
	data, err := checkpoint.Read(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, ids); err != nil {
		return fmt.Errorf("reading %s: %w", path, err)
	}
	return nil
}

// optional passes the error of reading a file that may be absent.
func optional(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}
