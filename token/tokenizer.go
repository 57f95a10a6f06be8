// Package token turns text into the ids of a language model and back, with the
// exact bytes of the original text that each id stands for.
//
// It reads tokenizer.json files of the Hugging Face format: byte-level BPE
// (GPT-2, GPT-J, RoBERTa, Llama 3, Qwen), SentencePiece BPE with byte fallback
// (LLaMA), Unigram with a compiled character map (T5) and WordPiece (BERT). Ids,
// spans and decoded text are compared with the official implementation
// (huggingface/tokenizers) by internal/tokencheck. A file with a component this
// package does not know is refused with the name of the component.
//
// A text is a [piece.Piece] that is cut at the added tokens, normalised and cut
// into words (package component), whose parts become ids (package subword); a
// decoder (package component) converts ids back to text. This package reads the
// file, finds added tokens and adds the template's tokens around the text.
//
// Of github.com/sugarme/tokenizer v0.3.0 this package uses the types of added
// tokens, and package component the double-array trie of SentencePiece character
// maps. The rest is this project's own: sugarme's components give other ids than
// the official implementation (byte_fallback, ignore_merges and equal-rank
// merges, lookahead patterns, added tokens inside text), lose the alignment when
// a normaliser changes the text, and end the process on bad files.
//
// Truncation and padding settings of a file are not applied: a text is never
// cut short, and none is filled up. The official implementation applies them when a
// file has them.
package token

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"editpipe/checkpoint"
	"editpipe/token/bytelevel"
	"editpipe/token/component"
	"editpipe/token/piece"
	"editpipe/token/subword"
)

// ErrUnsupported is returned, wrapped, for a tokenizer.json with a component or
// a setting that this package does not implement.
var ErrUnsupported = component.ErrUnsupported

// model turns the text of a piece into units and appends them to out.
type model interface {
	Tokenize(out []subword.Unit, text string) ([]subword.Unit, error)
}

// Tokenizer encodes and decodes text. It does not change after Open and may be
// used by several goroutines at once.
type Tokenizer struct {
	hash       string
	model      model
	normaliser component.Normaliser
	splitter   component.Splitter
	literal    *finder // added tokens looked for in the original text
	normal     *finder // added tokens looked for in the normalised text
	post       post
	decoder    component.Decoder
	ids        map[string]int64
	tokens     map[int64]string
	normalised map[int64]string // added tokens that normalisation spells otherwise
	special    map[int64]bool
	extra      map[int64]bool    // added tokens that the model does not have
	roles      map[string]string // "eos_token" -> its text, from the files beside
}

// configFile holds the settings of a tokenizer of transformers.
const configFile = "tokenizer_config.json"

// roleFiles give roles to tokens, the last one that does so holds.
var roleFiles = [...]string{configFile, "special_tokens_map.json"}

// Open reads a tokenizer.json, or byte-level BPE from a vocab.json with the
// merges.txt beside it (see [Find]). If special_tokens_map.json or
// tokenizer_config.json lie beside a tokenizer.json, the roles they give to tokens
// are known to [Tokenizer.SpecialID]; nothing else is read from them then.
func Open(path string) (*Tokenizer, error) {
	var data []byte
	var err error
	if filepath.Base(path) == vocabFile {
		data, err = assemble(filepath.Dir(path))
	} else {
		data, err = checkpoint.Read(path)
	}
	if err != nil {
		return nil, fmt.Errorf("token: %w", err)
	}
	t, err := parse(data)
	if err != nil {
		return nil, fmt.Errorf("token: %s: %w", path, err)
	}
	for _, name := range roleFiles {
		if err := t.readRoles(filepath.Join(filepath.Dir(path), name)); err != nil {
			return nil, fmt.Errorf("token: %w", err)
		}
	}
	return t, nil
}

// Parse reads a tokenizer from the contents of a tokenizer.json.
func Parse(data []byte) (*Tokenizer, error) {
	t, err := parse(data)
	if err != nil {
		return nil, fmt.Errorf("token: %w", err)
	}
	return t, nil
}

func parse(data []byte) (t *Tokenizer, err error) {
	// sugarme's trie and the compiler of regular expressions index what a file gives them; a
	// malformed file must end as an error.
	defer recovered(&err)
	var c struct {
		Version       *string
		AddedTokens   []addedToken `json:"added_tokens"`
		Normalizer    json.RawMessage
		PreTokenizer  json.RawMessage `json:"pre_tokenizer"`
		PostProcessor json.RawMessage `json:"post_processor"`
		Decoder       json.RawMessage
		Model         json.RawMessage
	}
	if err := json.Unmarshal(data, &c); err != nil {
		return nil, fmt.Errorf("not a tokenizer.json: %w", err)
	}
	if component.Absent(c.Model) {
		return nil, errors.New("not a tokenizer.json: it has no model")
	}
	if c.Version != nil && *c.Version != "1.0" {
		return nil, fmt.Errorf("version %q %w", *c.Version, ErrUnsupported)
	}
	sum := sha256.Sum256(data)
	t = &Tokenizer{hash: hex.EncodeToString(sum[:]), special: make(map[int64]bool), roles: make(map[string]string)}
	if t.normaliser, err = component.ParseNormaliser(c.Normalizer); err != nil {
		return nil, fmt.Errorf("normalizer %w", err)
	}
	if t.splitter, err = component.ParseSplitter(c.PreTokenizer); err != nil {
		return nil, fmt.Errorf("pre_tokenizer %w", err)
	}
	if t.post, err = parsePost(c.PostProcessor); err != nil {
		return nil, fmt.Errorf("post_processor %w", err)
	}
	if t.decoder, err = component.ParseDecoder(c.Decoder); err != nil {
		return nil, fmt.Errorf("decoder %w", err)
	}
	if err := t.parseModel(c.Model); err != nil {
		return nil, fmt.Errorf("model %w", err)
	}
	added, err := resolveAdded(c.AddedTokens, t.ids, t.normaliser)
	if err != nil {
		return nil, err
	}
	t.index(added)
	for _, id := range append(t.post.before, t.post.after...) {
		if _, ok := t.tokens[id]; !ok {
			return nil, fmt.Errorf("post_processor: template token %d is not in the vocabulary", id)
		}
	}
	return t, nil
}

// parseModel sets model and ids.
func (t *Tokenizer) parseModel(data json.RawMessage) error {
	var c struct {
		Type   string
		Vocab  json.RawMessage
		Merges json.RawMessage
		// What only WordPiece has.
		MaxChars *int `json:"max_input_chars_per_word"`
	}
	if err := json.Unmarshal(data, &c); err != nil {
		return err
	}
	if c.Type == "" { // files before version 0.14 of the official library
		switch {
		case bytes.HasPrefix(c.Vocab, []byte("[")):
			c.Type = "Unigram"
		case c.MaxChars != nil:
			c.Type = "WordPiece"
		case !component.Absent(c.Merges):
			c.Type = "BPE"
		default:
			return errors.New("has no type")
		}
	}
	switch c.Type {
	case "BPE":
		m, vocab, err := subword.NewBPE(data)
		if err != nil {
			return fmt.Errorf("type BPE: %w", err)
		}
		t.model, t.ids = m, vocab
		// The last pre-tokenizer may hand its bytes over as they are.
		if t.splitter.EndsInBytes() && m.ReadBytes() {
			t.splitter.KeepBytes()
		}
	case "Unigram":
		m, vocab, err := subword.NewUnigram(data)
		if err != nil {
			return fmt.Errorf("type Unigram: %w", err)
		}
		t.model, t.ids = m, vocab
	case "WordPiece":
		m, vocab, err := subword.NewWordPiece(data)
		if err != nil {
			return fmt.Errorf("type WordPiece: %w", err)
		}
		t.model, t.ids = m, vocab
	default:
		return component.Unsupported(c.Type)
	}
	return nil
}

// index fills the tables by id and by text.
func (t *Tokenizer) index(added []addedToken) {
	t.tokens = make(map[int64]string, len(t.ids)+len(added))
	for s, id := range t.ids {
		// Files that give one id to several tokens must still decode the same way
		// every time.
		if old, again := t.tokens[id]; !again || s < old {
			t.tokens[id] = s
		}
	}
	t.ids = maps.Clone(t.ids) // the model must not see added tokens
	t.normalised = make(map[int64]string)
	var literal, normal []addedToken
	t.extra = make(map[int64]bool)
	for _, a := range added {
		if _, own := t.ids[a.Content]; !own {
			t.extra[a.Id] = true
		}
		t.tokens[a.Id] = a.Content
		t.ids[a.Content] = a.Id
		if a.Special {
			t.special[a.Id] = true
		}
		if a.Normalized {
			normal = append(normal, a)
			if a.pattern != a.Content {
				t.normalised[a.Id] = a.pattern
			}
		} else {
			literal = append(literal, a)
		}
	}
	t.literal, t.normal = newFinder(literal), newFinder(normal)
}

// Encode gives the ids of text without the template tokens (BOS, EOS) that the
// post-processor would put around it. text must be valid UTF-8.
func (t *Tokenizer) Encode(text string) (Encoding, error) { return t.encode(text, false) }

// EncodeWithSpecial is [Tokenizer.Encode] with the template tokens, as the
// official implementation does it with add_special_tokens.
func (t *Tokenizer) EncodeWithSpecial(text string) (Encoding, error) { return t.encode(text, true) }

// Template is the ids that EncodeWithSpecial puts before (BOS) and after (EOS) every
// text. They are the tokenizer's own and stay as they are.
func (t *Tokenizer) Template() (before, after []int64) { return t.post.before, t.post.after }

func (t *Tokenizer) encode(text string, template bool) (Encoding, error) {
	if !utf8.ValidString(text) {
		return Encoding{}, errors.New("token: encoding: the text is not valid UTF-8")
	}
	e, err := t.run(text, template)
	if err != nil {
		return Encoding{}, fmt.Errorf("token: encoding: %w", err)
	}
	return e, nil
}

func (t *Tokenizer) run(text string, template bool) (e Encoding, err error) {
	defer recovered(&err)
	pieces, err := t.pieces(text)
	if err != nil {
		return e, err
	}
	n := len(text)/4 + len(t.post.before) + len(t.post.after) + 1
	e = Encoding{make([]int64, 0, n), make([]Span, 0, n), make([]bool, 0, n)}
	if template {
		for _, id := range t.post.before {
			e.add(id, Span{}, true)
		}
	}
	var units []subword.Unit
	for i := range pieces {
		p := &pieces[i]
		if p.Token != nil {
			units = append(units[:0], subword.Unit{ID: *p.Token, Start: 0, End: len(p.Text)})
		} else if units, err = t.model.Tokenize(units[:0], p.Text); err != nil {
			return e, err
		}
		for _, u := range units {
			s := Span(p.Span(u.Start, u.End, text))
			for _, trim := range t.post.trims {
				word := t.tokens[u.ID]
				if p.Token != nil {
					word = p.Text
				}
				s = trim.trim(word, s, i == 0 && u.Start == 0, text)
			}
			e.add(u.ID, s, t.special[u.ID])
		}
	}
	if template {
		for _, id := range t.post.after {
			e.add(id, Span{}, true)
		}
	}
	return e, nil
}

// pieces runs everything before the model: added tokens, normalisers and
// pre-tokenizers.
func (t *Tokenizer) pieces(text string) ([]piece.Piece, error) {
	var pieces []piece.Piece
	for _, p := range t.literal.cut(nil, &piece.Piece{Text: text}) {
		if p.Token != nil {
			pieces = append(pieces, p)
			continue
		}
		if err := t.normaliser.Normalise(&p); err != nil {
			return nil, fmt.Errorf("normalizer: %w", err)
		}
		pieces = t.normal.cut(pieces, &p)
	}
	pieces, err := t.splitter.Split(pieces)
	if err != nil {
		return nil, fmt.Errorf("pre_tokenizer: %w", err)
	}
	return pieces, nil
}

// Decode gives the text of ids; skipSpecial leaves out special tokens. An id
// that has no token is an error.
func (t *Tokenizer) Decode(ids []int64, skipSpecial bool) (text string, err error) {
	defer recovered(&err)
	words := make([]string, 0, len(ids))
	for i, id := range ids {
		w, ok := t.tokens[id]
		if !ok {
			return "", fmt.Errorf("token: decoding: id %d at position %d is not in the vocabulary", id, i)
		}
		if skipSpecial && t.special[id] {
			continue
		}
		// The decoder undoes the normaliser, so it must see the normalised form.
		if n, ok := t.normalised[id]; ok {
			w = n
		}
		words = append(words, w)
	}
	if len(words) == 0 {
		return "", nil
	}
	if text, err = t.decoder.Decode(words); err != nil {
		return "", fmt.Errorf("token: decoding: %w", err)
	}
	return text, nil
}

// VocabSize returns the number of tokens, added tokens included.
func (t *Tokenizer) VocabSize() int { return len(t.tokens) }

// Beyond lists the tokens whose ids a model with a vocabulary of size does not
// have, in the order of their ids: those of the tokenizer's own model, and those
// that were added to it, such as a token for padding.
func (t *Tokenizer) Beyond(size int) (own, added []string) {
	for _, id := range slices.Sorted(maps.Keys(t.tokens)) {
		switch {
		case id < int64(size):
		case t.extra[id]:
			added = append(added, t.tokens[id])
		default:
			own = append(own, t.tokens[id])
		}
	}
	return own, added
}

// Token returns the text of a token as the vocabulary spells it.
func (t *Tokenizer) Token(id int64) (string, bool) {
	s, ok := t.tokens[id]
	return s, ok
}

// ID returns the id of a token as the vocabulary spells it.
func (t *Tokenizer) ID(token string) (int64, bool) {
	id, ok := t.ids[token]
	return id, ok
}

// Hash returns the SHA-256 in hexadecimal of the tokenizer.json, or of the one that
// stands for vocab.json, merges.txt and the files beside them.
func (t *Tokenizer) Hash() string { return t.hash }

// AddsPrefixSpace reports whether the tokenizer itself puts a space (or its
// visible form, U+2581) before the first word of a text. A target is then
// encoded without a space of its own.
func (t *Tokenizer) AddsPrefixSpace() bool {
	pieces, err := t.pieces("a")
	if err != nil || len(pieces) == 0 {
		return false
	}
	r, _ := utf8.DecodeRuneInString(pieces[0].Text)
	return r == ' ' || r == '▁' || r == bytelevel.Rune(' ')
}

// SpecialID returns the id of the token that the files beside tokenizer.json
// give a role: "bos_token", "eos_token", "pad_token", "unk_token". ok is false
// when no file names one.
func (t *Tokenizer) SpecialID(role string) (id int64, ok bool) {
	token, ok := t.roles[role]
	if !ok {
		return 0, false
	}
	return t.ID(token)
}

// readRoles reads entries such as "eos_token": "</s>" or
// "eos_token": {"content": "</s>"} from a file that may be absent.
func (t *Tokenizer) readRoles(path string) error {
	var c map[string]json.RawMessage
	if err := optional(checkpoint.ReadJSON(path, &c)); err != nil {
		return err
	}
	for role, v := range c {
		if !strings.HasSuffix(role, "_token") {
			continue
		}
		var s string
		if json.Unmarshal(v, &s) != nil {
			var o struct{ Content string }
			if json.Unmarshal(v, &o) != nil {
				continue // a setting such as add_bos_token
			}
			s = o.Content
		}
		if s != "" {
			t.roles[role] = s
		}
	}
	return nil
}

// recovered turns a panic into an error.
func recovered(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("internal fault: %v", r)
	}
}
