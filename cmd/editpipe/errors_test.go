package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"editpipe/audit"
	"editpipe/dataset"
	"editpipe/demo"
	"editpipe/demo/world"
	"editpipe/generator/catalogue"
	"editpipe/internal/tinylm"
	"editpipe/onnx"
	"editpipe/ort"
	"editpipe/ort/orttest"
	"editpipe/row"
	"editpipe/store"
	"editpipe/tensor"
	"editpipe/tensor/safetensors"
)

// documented is a line of the tables in docs/errors.md.
type documented struct {
	message *regexp.Regexp
	code    int
}

// readErrorsPage reads the tables of docs/errors.md by their first column.
func readErrorsPage(t *testing.T) map[string]documented {
	t.Helper()
	lines := map[string]documented{}
	for line := range strings.Lines(string(readFile(t, filepath.Join("..", "..", "docs", "errors.md")))) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if len(cells) != 4 || strings.HasPrefix(cells[0], "-") {
			continue
		}
		what, message := strings.TrimSpace(cells[0]), strings.Trim(strings.TrimSpace(cells[1]), "`")
		if what == "what is wrong" {
			continue
		}
		code, err := strconv.Atoi(strings.TrimSpace(cells[2]))
		if err != nil {
			t.Fatalf("%q has no exit code: %v", what, err)
		}
		if _, ok := lines[what]; ok {
			t.Fatalf("%q stands twice", what)
		}
		if strings.TrimSpace(cells[3]) == "" {
			t.Errorf("%q does not say what to do", what)
		}
		pattern := strings.ReplaceAll(regexp.QuoteMeta(message), "…", ".*")
		lines[what] = documented{regexp.MustCompile("(?s)" + pattern), code}
	}
	return lines
}

// fault is a way to provoke one line of docs/errors.md. DIR in args and names
// stands for a folder of the fault's own.
type fault struct {
	line  string   // its first column
	args  []string // the command
	names []string // what the message has to name beside the line's own words

	runs  bool                                      // the runtime library is needed
	setup func(t *testing.T, dir string)            // makes what the command reads
	until string                                    // the command is interrupted once it prints this
	after func(t *testing.T, dir string, o outcome) // checks what is left
	grows bool                                      // what the command finished stays, although it failed
}

func TestErrors(t *testing.T) {
	page := readErrorsPage(t)
	var made string
	finished := func(t *testing.T) string { // a run that several faults copy
		if made == "" {
			made = filepath.Join(t.TempDir(), "run")
			callOK(t, "eval", "--limit", "1", "--out", made)
		}
		return made
	}
	if _, err := ort.Find(""); err == nil {
		finished(t) // now, as the whole test's folder outlives those of its parts
	}
	seen := map[string]bool{}
	for _, f := range faults(finished) {
		want, ok := page[f.line]
		if !ok || seen[f.line] {
			t.Errorf("docs/errors.md has no line %q, or two tests have it", f.line)
			continue
		}
		seen[f.line] = true
		t.Run(f.line, func(t *testing.T) { provoke(t, f, want) })
	}
	for line := range page {
		if !seen[line] {
			t.Errorf("no test provokes %q of docs/errors.md", line)
		}
	}
}

func provoke(t *testing.T, f fault, want documented) {
	if f.runs {
		orttest.Find(t)
	}
	dir := t.TempDir()
	put := func(words []string) []string {
		out := make([]string, len(words))
		for i, w := range words {
			out[i] = strings.ReplaceAll(w, "DIR", dir)
		}
		return out
	}
	if f.setup != nil {
		f.setup(t, dir)
	}
	before := contents(t, dir)

	var o outcome
	if f.until != "" {
		o = callUntil(t, f.until, put(f.args)...)
	} else {
		o = call(t, put(f.args)...)
	}
	if o.code != want.code {
		t.Errorf("code %d, want %d", o.code, want.code)
	}
	said := o.err
	if want.code == exitOK || want.code == exitFailedRows {
		said += o.out
	} else if o.out != "" {
		t.Errorf("standard output holds %q", o.out)
	}
	if !want.message.MatchString(said) {
		t.Errorf("message\n%s\nwant\n%s", said, want.message)
	}
	for _, name := range put(f.names) {
		if !strings.Contains(said, name) {
			t.Errorf("message does not name %s:\n%s", name, said)
		}
	}
	after := contents(t, dir)
	for name := range after {
		if strings.HasSuffix(name, ".draft") {
			t.Errorf("half-written %s is left", name)
		}
	}
	if want.code != exitOK && want.code != exitFailedRows && !f.grows && !maps.Equal(before, after) {
		t.Errorf("a failed command changed its folder: %v, before %v", sortedKeys(after), sortedKeys(before))
	}
	if f.after != nil {
		f.after(t, dir, o)
	}
}

// faults lists how to provoke each line; finished gives a finished run.
func faults(finished func(*testing.T) string) []fault {
	list := commandLineFaults()
	list = append(list, libraryFaults()...)
	list = append(list, modelFaults()...)
	list = append(list, dataFaults()...)
	return append(list, runFaults(finished)...)
}

func commandLineFaults() []fault {
	config := func(text string) func(*testing.T, string) {
		return func(t *testing.T, dir string) { writeFile(t, filepath.Join(dir, "run.yaml"), text) }
	}
	return []fault{
		{line: "unknown command", args: []string{"evaluate"}, names: []string{`"evaluate"`, "eval"}},
		{line: "unknown flag", args: []string{"eval", "--bogus", "--out", "DIR/run"}, names: []string{"-bogus", "editpipe eval --help"}},
		{line: "a flag's value is no number", args: []string{"eval", "--limit", "many", "--out", "DIR/run"}, names: []string{`"many"`, "-limit"}},
		{line: "a flag given twice", args: []string{"import", "--in", "DIR/one.json", "--in=DIR/two.json", "--out", "DIR/sets"}, names: []string{"--in "}},
		{line: "a number below zero", args: []string{"eval", "--limit", "-1", "--out", "DIR/run"}, names: []string{"--limit"}},
		{line: "more threads than any machine has", args: []string{"eval", "--threads", "5000", "--out", "DIR/run"}, names: []string{"--threads 5000"}},
		{line: "an argument where none belongs", args: []string{"eval", "--out", "DIR/run", "ike"}, names: []string{"eval", `"ike"`}},
		{line: "a needed flag is missing", args: []string{"generate", "--n", "5"}, names: []string{"generate needs --out"}},
		{line: "`--config` with an unknown key", args: []string{"eval", "--config", "DIR/run.yaml", "--out", "DIR/run"},
			setup: config("limit: 3\nlimits: 4\n"), names: []string{"DIR/run.yaml", "limits", "eval"}},
		{line: "`--config` with a YAML fault", args: []string{"eval", "--config", "DIR/run.yaml"},
			setup: config("limit: [3\nout: run\n"), names: []string{"DIR/run.yaml", "out: run"}},
		{line: "`--config` with a wrong value", args: []string{"eval", "--config", "DIR/run.yaml", "--out", "DIR/run"},
			setup: config("limit: many\n"), names: []string{"DIR/run.yaml"}},
		{line: "`--config` with a key without a value", args: []string{"eval", "--config", "DIR/run.yaml"},
			setup: config("limit: 3\nout: ~\n"), names: []string{"DIR/run.yaml"}},
		{line: "`--config` with a list for a flag that takes one value", args: []string{"eval", "--config", "DIR/run.yaml"},
			setup: config("limit: 3\nout: [q1, q2]\n"), names: []string{"DIR/run.yaml"}},
		{line: "`--config` with several documents", args: []string{"eval", "--config", "DIR/run.yaml", "--out", "DIR/run"},
			setup: config("limit: 3\n---\nlimit: 4\n"), names: []string{"DIR/run.yaml"}},
		{line: "`--config` names no file", args: []string{"eval", "--config", "DIR/none.yaml", "--out", "DIR/run"}, names: []string{"DIR/none.yaml"}},
		{line: "`export` of a patch that puts text before the prompt", args: []string{"export", "--patch", "DIR/p.safetensors", "--out", "DIR/baked"},
			runs: true, names: []string{"ike.context"}, setup: func(t *testing.T, dir string) {
				callOK(t, "edit", "--method", "ice", "--save", filepath.Join(dir, "p.safetensors"))
			}},
		{line: "`export` of another model's patch", args: []string{"export", "--patch", "DIR/p.safetensors", "--out", "DIR/baked"},
			runs: true, names: []string{"model hash"}, setup: func(t *testing.T, dir string) {
				callOK(t, "edit", "--method", "none", "--save", filepath.Join(dir, "p.safetensors"))
				side := filepath.Join(dir, "p.safetensors.json")
				text := regexp.MustCompile(`"model_hash": "[0-9a-f]{8}`).ReplaceAll(readFile(t, side), []byte(`"model_hash": "00000000`))
				if err := os.WriteFile(side, text, 0o644); err != nil {
					t.Fatal(err)
				}
			}},
		{line: "`prepare` of a method that needs none", args: []string{"prepare", "--method", "ike", "--out", "DIR/artifacts"}, names: []string{"ike"}},
		{line: "`--corpus` names no file", args: []string{"prepare", "--method", "rome", "--corpus", "DIR/none.txt", "--out", "DIR/artifacts"},
			names: []string{"--corpus", "DIR/none.txt"}},
		{line: "a corpus that is not UTF-8", args: []string{"prepare", "--method", "rome", "--corpus", "DIR/latin1.txt", "--out", "DIR/artifacts"}, names: []string{"--corpus", "DIR/latin1.txt: line 1"},
			setup: func(t *testing.T, dir string) { writeFile(t, filepath.Join(dir, "latin1.txt"), "f\xfcr dich\n") }},
		{line: "a Parquet column packed in a way that is not read", args: []string{"prepare", "--method", "rome", "--corpus", "DIR/wiki.parquet", "--out", "DIR/artifacts"},
			names: []string{"DIR/wiki.parquet", "column text", "LZ4_RAW"},
			setup: func(t *testing.T, dir string) {
				writeFile(t, filepath.Join(dir, "wiki.parquet"), string(readFile(t, "testdata/lz4.parquet")))
			}},
		{line: "a Parquet corpus without that column", args: []string{"prepare", "--method", "rome", "--corpus", "DIR/wiki.parquet", "--out", "DIR/artifacts"},
			runs: true, names: []string{"DIR/wiki.parquet", "body"}, setup: func(t *testing.T, dir string) {
				rows := []struct {
					Body string `parquet:"body"`
				}{{"Running text."}}
				if err := store.Write(filepath.Join(dir, "wiki.parquet"), rows, nil); err != nil {
					t.Fatal(err)
				}
			}},
		{line: "`prepare` of `kn` without `--data`", args: []string{"prepare", "--method", "kn", "--out", "DIR/artifacts"}, runs: true, names: []string{"kn", "--data"}},
		{line: "a method that was not prepared", args: []string{"eval", "--method", "none,rome", "--set", "rome.kl_factor=0.1", "--threads", "2", "--artifacts", "DIR/my artifacts", "--out", "DIR/run"}, runs: true,
			names: []string{"hint: editpipe prepare --method rome --threads 2 --set rome.kl_factor=0.1 --out 'DIR/my artifacts'", "then this command again"}},
		{line: "`--set` of a layer that the model does not have", args: []string{"eval", "--method", "rome", "--set", "rome.layer=17", "--out", "DIR/run"}, runs: true},
		{line: "unknown method", args: []string{"eval", "--method", "none,magic", "--out", "DIR/run"}, names: []string{`"magic"`, "ike"}},
		{line: "unknown `--set` key", args: []string{"eval", "--method", "ike", "--set", "ike.demos=3", "--out", "DIR/run"},
			runs: true, names: []string{"ike.demos", "--set", "scope"}},
		{line: "`--set` that is no METHOD.KEY=VALUE", args: []string{"eval", "--method", "ike", "--set", "k=3", "--out", "DIR/run"}, names: []string{`"k=3"`}},
		{line: "`--set` for a method that is not run", args: []string{"eval", "--method", "none", "--set", "ike.k=3", "--out", "DIR/run"}, names: []string{"ike.k=3"}},
		{line: "a key of `--set` given twice", args: []string{"eval", "--method", "ft-l", "--set", "ft-l.lr=1", "--set", "ft-l.lr=2", "--out", "DIR/run"}, names: []string{"ft-l.lr"}},
		{line: "bad `--setting`", args: []string{"eval", "--setting", "single,batch:0", "--out", "DIR/run"}, names: []string{`"batch:0"`}},
		{line: "bad `--shard`", args: []string{"eval", "--shard", "3/2", "--out", "DIR/run"}, names: []string{`"3/2"`}},
		{line: "bad `--eval-at`", args: []string{"eval", "--eval-at", "never", "--out", "DIR/run"}, names: []string{`"never"`}},
		{line: "unknown axis in `--sets`", args: []string{"generate", "--sets", "reliability,humour", "--out", "DIR/sets"}, names: []string{`"humour"`}},
		{line: "unknown `--mode`", args: []string{"generate", "--mode", "erase", "--out", "DIR/sets"}, names: []string{`"erase"`}},
		{line: "unknown report format", args: []string{"report", "--format", "html", "DIR"}, names: []string{`"html"`}},
		{line: "`report` without a run", args: []string{"report"}},
		{line: "unknown metric", args: []string{"explain", "beauty"}, names: []string{"tf_token_acc"}},
		{line: "unknown list", args: []string{"list", "flags"}, names: []string{"methods"}},
		{line: "the subject is not in the prompt", args: []string{"edit", "--prompt", "The capital of France is", "--subject", "Spain", "--target", "Lyon"},
			names: []string{`"Spain"`, `"The capital of France is"`}},
		{line: "a folder where a file is to be written", args: []string{"edit", "--save", "DIR"}, names: []string{"DIR"}},
		{line: "a file whose folder is not there", args: []string{"edit", "--save", "DIR/none/p.safetensors"}, names: []string{"DIR/none/p.safetensors"}},
		{line: "a file to write that is part of a folder of ours", args: []string{"convert", "--data", "DIR/data", "--to", "zsre", "--out", "DIR/data/edits.parquet"},
			names: []string{"DIR/data/edits.parquet"}, setup: imported},
		// A folder below a regular file: nobody can write there, not even root.
		{line: "the output cannot be written", args: []string{"eval", "--out", "DIR/file/run"},
			setup: func(t *testing.T, dir string) {
				file := writeFile(t, filepath.Join(dir, "file"), "x")
				for _, args := range [][]string{
					{"generate", "--out", filepath.Join(file, "sets")},
					{"import", "--in", "testdata/counterfact.json", "--out", filepath.Join(file, "data")},
				} {
					if o := call(t, args...); o.code != exitFailure || !strings.Contains(o.err, "--out") {
						t.Errorf("%s: code %d\n%s", args[0], o.code, o.err)
					}
				}
			}, names: []string{"DIR/file/run"}},
	}
}

func libraryFaults() []fault {
	return []fault{
		{line: "no runtime library", args: []string{"edit", "--ort-lib", "DIR/none.so"}, names: []string{"DIR/none.so", "task setup", "--ort-lib"}},
		{line: "the library is truncated", args: []string{"edit"}, runs: true, names: []string{"DIR/lib.so"},
			setup: func(t *testing.T, dir string) {
				whole := readFile(t, orttest.Find(t).Path)
				t.Setenv(ort.EnvLibrary, writeFile(t, filepath.Join(dir, "lib.so"), string(whole[:len(whole)/2])))
			}},
		{line: "the library is another file", args: []string{"edit"}, names: []string{"DIR/lib.so"},
			setup: func(t *testing.T, dir string) {
				t.Setenv(ort.EnvLibrary, writeFile(t, filepath.Join(dir, "lib.so"), "not a library\n"))
			}},
		{line: "a provider without its libraries", args: []string{"edit", "--provider", "cuda"}, runs: true, names: []string{"onnxruntime_providers", "docs/providers.md"},
			setup: func(t *testing.T, _ string) {
				beside, err := filepath.Glob(filepath.Join(filepath.Dir(orttest.Find(t).Path), "*onnxruntime_providers*"))
				if err != nil {
					t.Fatal(err)
				}
				if runtime.GOOS == "darwin" || len(beside) > 0 {
					t.Skipf("no library lacks its CUDA part here: %v", beside)
				}
			}},
		{line: "unknown provider", args: []string{"edit", "--provider", "abacus"}, runs: true, names: []string{"abacus", "doctor"}},
		{line: "a provider option without a value", args: []string{"edit", "--provider", "cuda:device_id"}, names: []string{"device_id"}},
	}
}

// badModel gives the setup that copies the embedded model and breaks the copy.
func badModel(spoil func(t *testing.T, model string)) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		spoil(t, copyDir(t, embedded(t), filepath.Join(dir, "model")))
	}
}

func without(names ...string) func(*testing.T, string) {
	return badModel(func(t *testing.T, model string) {
		for _, name := range names {
			if err := os.Remove(filepath.Join(model, name)); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// shorten cuts a file to half its length.
func shorten(t *testing.T, path string) {
	t.Helper()
	data := readFile(t, path)
	if err := os.WriteFile(path, data[:len(data)/2], 0o644); err != nil {
		t.Fatal(err)
	}
}

// amendTokenizer changes a tokenizer.json. The numbers of its own vocabulary are
// in model.vocab.
func amendTokenizer(t *testing.T, path string, amend func(doc map[string]any)) {
	t.Helper()
	var doc map[string]any
	dec := json.NewDecoder(bytes.NewReader(readFile(t, path)))
	dec.UseNumber()
	if err := dec.Decode(&doc); err != nil {
		t.Fatal(err)
	}
	amend(doc)
	data, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, path, string(data))
}

// oneTooMany is a token behind the last of the embedded model's vocabulary.
const oneTooMany = "<|one too many|>"

func vocabulary(doc map[string]any) map[string]any {
	return doc["model"].(map[string]any)["vocab"].(map[string]any)
}

// vocabularyAlone leaves the vocab.json of a model's tokenizer.json.
func vocabularyAlone(t *testing.T, model string) {
	t.Helper()
	file := filepath.Join(model, "tokenizer.json")
	amendTokenizer(t, file, func(doc map[string]any) {
		vocab, err := json.Marshal(vocabulary(doc))
		if err != nil {
			t.Fatal(err)
		}
		writeFile(t, filepath.Join(model, "vocab.json"), string(vocab))
	})
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
}

func modelFaults() []fault {
	ask := func(flags ...string) []string {
		return append([]string{"edit", "--prompt", demo.FactPrompt, "--subject", demo.FactSubject, "--target", demo.FactOther}, flags...)
	}
	long := strings.Repeat(demo.FactSubject+" ", 200) + "is"
	return []fault{
		{line: "no such model", args: []string{"inspect", "--model", "DIR/none"}, names: []string{"DIR/none"}},
		{line: "a model folder without config.json", args: []string{"inspect", "--model", "DIR/model"}, setup: without("config.json"), names: []string{"DIR/model"}},
		{line: "a model folder without a graph", args: []string{"inspect", "--model", "DIR/model"}, setup: without("model.onnx", "model_with_past.onnx"), names: []string{"DIR/model"}},
		{line: "a truncated model", args: []string{"inspect", "--model", "DIR/model"}, names: []string{"DIR/model"},
			setup: badModel(func(t *testing.T, model string) { shorten(t, filepath.Join(model, "model.onnx")) })},
		{line: "a model folder without a tokenizer", args: []string{"eval", "--model", "DIR/model", "--limit", "1", "--out", "DIR/run"}, runs: true, names: []string{"DIR/model"}, setup: without("tokenizer.json"),
			after: func(t *testing.T, dir string, _ outcome) {
				before := contents(t, dir)
				model := filepath.Join(dir, "model")
				for _, args := range [][]string{ask("--model", model), {"prepare", "--model", model, "--method", "rome", "--corpus", "testdata/counterfact.json", "--out", filepath.Join(dir, "artifacts")}} {
					if o := call(t, args...); o.code != exitFailure || !strings.Contains(o.err, "no tokenizer in "+model) || !maps.Equal(before, contents(t, dir)) {
						t.Errorf("%s: code %d: %s", args[0], o.code, o.err)
					}
				}
			}},
		{line: "the cache folder cannot be written", args: []string{"eval", "--out", "DIR/run"}, names: []string{"DIR/cache"},
			setup: func(t *testing.T, dir string) {
				t.Setenv(ort.EnvCache, writeFile(t, filepath.Join(dir, "cache"), "no folder"))
			}},
		{line: "a Git LFS pointer in place of a model, its data, a configuration or a tokenizer", args: []string{"inspect", "--model", "DIR/model"}, names: []string{"DIR/model"},
			setup: badModel(func(t *testing.T, model string) {
				writeFile(t, filepath.Join(model, "model.onnx"), "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 1\n")
			})},
		{line: "external data behind a link that leaves the folder", args: []string{"inspect", "--model", "DIR/model"}, names: []string{"DIR/model", "model.onnx.data"},
			setup: badModel(func(t *testing.T, model string) {
				name := filepath.Join(model, "model.onnx")
				m, err := onnx.Open(name)
				if err == nil {
					err = m.Save(name, onnx.SaveOptions{ExternalOver: 1024})
				}
				if err == nil {
					err = os.Rename(name+".data", filepath.Join(filepath.Dir(model), "elsewhere"))
				}
				if err == nil {
					err = os.Symlink(filepath.Join("..", "elsewhere"), name+".data")
				}
				if err != nil {
					t.Fatal(err)
				}
			})},
		{line: "a method on a model that cannot do what it needs", args: []string{"prepare", "--method", "rome", "--model", "DIR/model", "--corpus", "testdata/counterfact.json", "--out", "DIR/artifacts"}, runs: true,
			setup: func(t *testing.T, dir string) {
				if err := tinylm.Write(filepath.Join(dir, "model"), tinylm.Config{Family: tinylm.GPT2, Float16: true}); err != nil {
					t.Fatal(err)
				}
			}},
		{line: "a malformed tokenizer.json", args: ask("--model", "DIR/model"), runs: true, names: []string{"DIR/model"},
			setup: badModel(func(t *testing.T, model string) { shorten(t, filepath.Join(model, "tokenizer.json")) })},
		{line: "a tokenizer with more tokens than the model", args: ask("--model", "DIR/model"), runs: true, names: []string{"DIR/model", "3073", "3072"},
			setup: badModel(func(t *testing.T, model string) {
				amendTokenizer(t, filepath.Join(model, "tokenizer.json"), func(doc map[string]any) {
					vocabulary(doc)[oneTooMany] = len(vocabulary(doc))
				})
			})},
		{line: "a tokenizer with a construct that is not translated", args: ask("--model", "DIR/model"), runs: true, names: []string{"DIR/model"},
			setup: badModel(func(t *testing.T, model string) {
				amendTokenizer(t, filepath.Join(model, "tokenizer.json"), func(doc map[string]any) {
					doc["pre_tokenizer"] = map[string]any{"type": "Split", "pattern": map[string]any{"Regex": `\X`}, "behavior": "Isolated", "invert": false}
				})
			})},
		{line: "`vocab.json` and `merges.txt` of another class", args: ask("--model", "DIR/model"), runs: true, names: []string{"DIR/model"},
			setup: badModel(func(t *testing.T, model string) {
				vocabularyAlone(t, model)
				writeFile(t, filepath.Join(model, "merges.txt"), "#version: 0.2\n")
				writeFile(t, filepath.Join(model, "tokenizer_config.json"), `{"tokenizer_class": "BertTokenizer"}`)
			})},
		{line: "a `merges.txt` that was cut short", args: ask("--model", "DIR/model"), runs: true, names: []string{"DIR/model"},
			setup: badModel(func(t *testing.T, model string) {
				vocabularyAlone(t, model)
				writeFile(t, filepath.Join(model, "merges.txt"), "#version: 0.2\n")
			})},
		{line: "a model folder with `vocab.json` and no `merges.txt`", args: ask("--model", "DIR/model"), runs: true, names: []string{"DIR/model"}, setup: badModel(vocabularyAlone)},
		{line: "a prompt too long for `edit`", args: []string{"edit", "--prompt", long, "--subject", demo.FactSubject, "--target", demo.FactOther}, runs: true},
		{line: "a patch for another model", args: []string{"edit", "--method", "patch", "--set", "patch.path=DIR/p.safetensors"}, runs: true,
			names: []string{"DIR/p.safetensors", `"decoder.99.ffn_down.delta"`},
			setup: func(t *testing.T, dir string) {
				err := safetensors.Write(filepath.Join(dir, "p.safetensors"), map[string]*tensor.Tensor{"decoder.99.ffn_down.delta": tensor.New(tensor.F32, 2, 2)}, nil)
				if err != nil {
					t.Fatal(err)
				}
			}},
		{line: "no patch given", args: []string{"eval", "--method", "patch", "--limit", "1", "--out", "DIR/run"}, runs: true},
	}
}

// imported reads the hand-written file into DIR/data.
func imported(t *testing.T, dir string) {
	t.Helper()
	callOK(t, "import", "--format", "counterfact", "--in", "testdata/counterfact.json", "--out", filepath.Join(dir, "data"))
}

// choice is a file of one question with choices.
const choice = `{"goal": "boil water", "sol1": "use a kettle", "sol2": "use a hat", "label": 0}` + "\n"

func dataFaults() []fault {
	in := func(text string) func(*testing.T, string) {
		return func(t *testing.T, dir string) { writeFile(t, filepath.Join(dir, "in.json"), text) }
	}
	take := func(flags ...string) []string {
		return append([]string{"import", "--in", "DIR/in.json", "--out", "DIR/data"}, flags...)
	}
	const triple = "prompt=p,subject=s,target_new=t"
	csv := func(text string) func(*testing.T, string) {
		return func(t *testing.T, dir string) { writeFile(t, filepath.Join(dir, "in.csv"), text) }
	}
	table := func() []string {
		return []string{"import", "--format", "custom", "--map", triple, "--in", "DIR/in.csv", "--out", "DIR/data"}
	}
	whole := func(t *testing.T) string { return string(readFile(t, "testdata/counterfact.json")) }
	return []fault{
		{line: "`--data` names a JSON file", args: []string{"eval", "--data", "testdata/counterfact.json", "--out", "DIR/run"}, names: []string{"testdata/counterfact.json"}},
		{line: "`--data` names a folder without a data set", args: []string{"eval", "--data", "DIR", "--out", "DIR/run"}, names: []string{"DIR"}},
		{line: "a data set without edits", args: []string{"eval", "--data", "DIR/data", "--out", "DIR/run"}, names: []string{"DIR/data"},
			setup: func(t *testing.T, dir string) {
				if err := store.WriteDataset(filepath.Join(dir, "data"), nil, store.DatasetManifest{Name: "nothing"}); err != nil {
					t.Fatal(err)
				}
			}},
		{line: "a data set without questions", args: []string{"eval", "--data", "DIR/data", "--out", "DIR/run"}, runs: true,
			setup: func(t *testing.T, dir string) { asksOnly(t, dir, 0) }},
		{line: "a data set in which some edits have no question", args: []string{"eval", "--data", "DIR/data", "--out", "DIR/run"}, runs: true, names: []string{"warning: 1 of 2 edits"},
			setup: func(t *testing.T, dir string) { asksOnly(t, dir, 1) },
			after: func(t *testing.T, dir string, _ outcome) {
				if o := callOK(t, "audit", filepath.Join(dir, "data")); !strings.Contains(o.out, "no_probe") {
					t.Errorf("the audit does not name the edit:\n%s", o.out)
				}
			}},
		{line: "a damaged data set", args: []string{"eval", "--data", "DIR/data", "--out", "DIR/run"}, names: []string{"DIR/data"},
			setup: func(t *testing.T, dir string) {
				imported(t, dir)
				shorten(t, filepath.Join(dir, "data", "edits.parquet"))
			}},
		{line: "`--ids` names no file", args: []string{"eval", "--ids", "DIR/ids", "--out", "DIR/run"}, names: []string{"DIR/ids"}},
		{line: "`--ids` with an id the data set lacks", args: []string{"eval", "--ids", "DIR/ids", "--data", "DIR/data", "--out", "DIR/run"}, runs: true, names: []string{"no-such-edit"},
			setup: func(t *testing.T, dir string) {
				imported(t, dir)
				writeFile(t, filepath.Join(dir, "ids"), "no-such-edit\n")
			}},
		{line: "`import` of a broken record", args: take(), names: []string{"DIR/in.json", "requested_rewrite.target_new", "1 of 2 records"},
			setup: func(t *testing.T, dir string) {
				in(strings.Replace(whole(t), `{"str": "Vangeler", "id": "Q4"}`, `{"str": " "}`, 1))(t, dir)
			},
			after: func(t *testing.T, dir string, _ outcome) {
				records, _, err := store.ReadDataset(filepath.Join(dir, "data"))
				if err != nil || len(records) != 1 || records[0].Edit.Target != "Bozel Laibrelic" {
					t.Errorf("kept %+v, %v; want the first record", records, err)
				}
			}},
		{line: "`import` of groups of unknown kind", args: take(), names: []string{"DIR/in.json", "1 groups", "locality.colour", "not imported: unknown kind locality.colour (1)"},
			setup: in(`[{"prompt": "Orn is", "subject": "Orn", "target_new": "red", "locality": {"colour": {"prompt": "a", "ground_truth": "b"}}}]`),
			after: func(t *testing.T, dir string, _ outcome) {
				if records, _, err := store.ReadDataset(filepath.Join(dir, "data")); err != nil || len(records) != 1 {
					t.Errorf("kept %+v, %v; want the record", records, err)
				}
			}},
		{line: "`import` of a file in several languages", args: take(), names: []string{"DIR/in.json", "de, en"},
			setup: in(`[{"en": {"src": "Is a?", "alt": "b"}, "de": {"src": "Ist a?", "alt": "b"}}]`)},
		{line: "`--language` for a file that has no choice", args: take("--language", "en"), names: []string{"DIR/in.json", "counterfact"},
			setup: func(t *testing.T, dir string) { in(whole(t))(t, dir) }},
		{line: "a Git LFS pointer in place of a file", args: take(), names: []string{"DIR/in.json"},
			setup: in("version https://example.org/git-lfs/spec/v1\noid sha256:0\nsize 1\n")},
		{line: "`import` of no record at all", args: take(), setup: in("[]"), names: []string{"DIR/in.json"}},
		{line: "`import` of a file that ends early", args: take("--format", "counterfact"), names: []string{"DIR/in.json", "record 1"},
			setup: func(t *testing.T, dir string) {
				text := whole(t)
				in(text[:strings.Index(text, "Dostor")])(t, dir)
			}},
		{line: "`import` of a packed file that ends early", args: []string{"import", "--in", "DIR/in.json.gz", "--out", "DIR/data"}, names: []string{"DIR/in.json.gz"},
			setup: func(t *testing.T, dir string) {
				var b bytes.Buffer
				z := gzip.NewWriter(&b)
				if _, err := z.Write([]byte(whole(t))); err != nil {
					t.Fatal(err)
				}
				if err := z.Close(); err != nil {
					t.Fatal(err)
				}
				writeFile(t, filepath.Join(dir, "in.json.gz"), b.String()[:b.Len()-20])
			}},
		{line: "`import` as the wrong format", args: take("--format", "zsre"), names: []string{"DIR/in.json"},
			setup: func(t *testing.T, dir string) { in(whole(t))(t, dir) }},
		{line: "`import` of an unknown format", args: take("--format", "xml"), names: []string{`"xml"`, "counterfact-flat"},
			setup: func(t *testing.T, dir string) { in(whole(t))(t, dir) }},
		{line: "`import` of a file nobody knows", args: take(), setup: in(`[{"colour": "red"}]`), names: []string{"DIR/in.json", "colour"}},
		{line: "`import` of a file of choices alone", args: take("--format", "choices"), names: []string{"DIR/in.json"},
			setup: in(choice)},
		{line: "`import` with a broken question in `--choices`", args: []string{"import", "--in", "testdata/counterfact.json", "--choices", "DIR/in.json", "--choices-per-edit", "1", "--out", "DIR/data"},
			names: []string{"DIR/in.json", "sol2", "1 of 2 records"}, setup: in(choice + strings.Replace(choice, "use a hat", "", 1))},
		{line: "`import` with fewer choices than asked for", args: []string{"import", "--in", "testdata/counterfact.json", "--choices", "DIR/in.json", "--out", "DIR/data"}, names: []string{"DIR/in.json", "--choices-per-edit 4"},
			setup: in(choice)},
		{line: "`import --format custom` without `--map`", args: take("--format", "custom"), setup: in(`{"p": 1}`), names: []string{"DIR/in.json"}},
		{line: "`--map` for another format", args: take("--format", "zsre", "--map", triple), setup: in(`{"p": 1}`), names: []string{"zsre"}},
		{line: "`--map` with an unknown field", args: take("--format", "custom", "--map", triple+",colour=c"), names: []string{`"colour"`, "one_hop_prompt"}},
		{line: "`--map` without a needed field", args: take("--format", "custom", "--map", "prompt=p", "--map", "subject=s"), names: []string{"target_new is missing"}},
		{line: "`--map` with a column the file lacks", args: table(), setup: csv("p,s,T\na,b,c\n"), names: []string{"DIR/in.csv", `"t"`, "target_new", "p, s, T"}},
		{line: "`import` of a table row with an empty cell", args: table(), setup: csv("p,s,t\nOrn is,Orn,red\nVik is,Vik,\n"), names: []string{"DIR/in.csv", "field t", "1 of 2 records"}},
		{line: "`import` of a table row with too many cells", args: table(), setup: csv("p,s,t\nOrn is,Orn,red,hot\nVik is,Vik,red\n"), names: []string{"DIR/in.csv", "1 of 2 records"}},
		{line: "`import` of a table with an open quote", args: table(), setup: csv("p,s,t\nOrn is,Orn,red\n\"Vik is,Vik,red\n"), names: []string{"DIR/in.csv"}},
		{line: "`--labels` without `--choices`", args: take("--labels", "DIR/labels"), setup: func(t *testing.T, dir string) { in(whole(t))(t, dir) }},
		{line: "`import` of a file whose first record cannot be read", args: take(), setup: in("[{\"src\": \"\xc3\"}]"), names: []string{"DIR/in.json"}},
		{line: "`convert` to an unknown format", args: []string{"convert", "--to", "mquake", "--out", "DIR/out.json"}, names: []string{`"mquake"`, "easyedit"}},
		{line: "`convert` into a folder", args: []string{"convert", "--to", "zsre", "--out", "DIR"}, names: []string{"DIR"}},
		{line: "`convert` of edits the format has no place for", args: []string{"convert", "--data", "DIR/data", "--to", "counterfact", "--out", "DIR/out.json"}, names: []string{"1 of 2 edits", "without an old object (1)"},
			setup: func(t *testing.T, dir string) {
				csv("p,s,t,g\nOrn is,Orn,red,blue\nVik is,Vik,red,\n")(t, dir)
				callOK(t, "import", "--format", "custom", "--map", triple+",ground_truth=g", "--in", filepath.Join(dir, "in.csv"), "--out", filepath.Join(dir, "data"))
			},
			after: func(t *testing.T, dir string, _ outcome) {
				callOK(t, "import", "--format", "counterfact", "--in", filepath.Join(dir, "out.json"), "--out", filepath.Join(dir, "again"))
			}},
		{line: "`convert` of no edit the format can hold", args: []string{"convert", "--data", "DIR/data", "--to", "counterfact", "--out", "DIR/out.json"}, names: []string{"without an old object"},
			setup: func(t *testing.T, dir string) {
				csv("p,s,t\nVik is,Vik,red\n")(t, dir)
				callOK(t, "import", "--format", "custom", "--map", triple, "--in", filepath.Join(dir, "in.csv"), "--out", filepath.Join(dir, "data"))
			}},
		{line: "unknown `--split`", args: take("--split", "dev"), names: []string{`"dev"`}},
		{line: "`import` or `generate` into a run folder", args: []string{"generate", "--n", "3", "--out", "DIR/run"}, names: []string{"DIR/run"},
			setup: func(t *testing.T, dir string) {
				run := filepath.Join(dir, "run")
				if _, err := store.CreateRun(run, store.Manifest{RunID: "precious"}); err != nil {
					t.Fatal(err)
				}
				if o := call(t, "import", "--in", "testdata/counterfact.json", "--out", run); o.code != exitFailure {
					t.Errorf("import: code %d\n%s", o.code, o.err)
				}
			}},
		{line: "`import` or `generate` into a folder of something else", args: []string{"generate", "--n", "3", "--out", "DIR/notes"}, names: []string{"DIR/notes", "README.md"},
			setup: func(t *testing.T, dir string) {
				writeFile(t, filepath.Join(dir, "notes", "README.md"), "my notes\n")
				kb := filepath.Join(dir, "kb")
				callOK(t, "kb", "build", "--dump", writeFile(t, filepath.Join(dir, "in.json"), smallDump), "--out", kb)
				before := contents(t, kb)
				if o := call(t, "import", "--in", "testdata/counterfact.json", "--out", kb); o.code != exitFailure || !strings.Contains(o.err, "manifest.json") {
					t.Errorf("import: code %d\n%s", o.code, o.err)
				}
				if !maps.Equal(before, contents(t, kb)) {
					t.Error("the knowledge base was changed")
				}
			}},
		{line: "`audit` without a data set", args: []string{"audit", "--json"}},
		{line: "`audit` of something that is not there", args: []string{"audit", "DIR/none"}, names: []string{"DIR/none"}},
		{line: "`audit` of a folder without a data set", args: []string{"audit", "DIR"}, names: []string{"DIR"}},
		{line: "`audit` of a folder with `--format`", args: []string{"audit", "DIR", "--format", "zsre"}, names: []string{"DIR"}},
		{line: "`audit` of a file of choices alone", args: []string{"audit", "DIR/in.json"}, setup: in(choice), names: []string{"DIR/in.json"}},
		{line: "`audit` of a file of your own columns", args: []string{"audit", "DIR/in.json", "--format", "custom"}, names: []string{"DIR/in.json"},
			setup: in(`[{"question": "Where is Arvon?", "entity": "Arvon", "answer": "Ostra"}]`)},
		{line: "`audit` with a flag for a knowledge base that is not there", args: []string{"audit", "DIR", "--relations", "DIR/relations.yaml"}},
		{line: "bad `--max`", args: []string{"audit", "DIR", "--max", "alias_overlap=20"}, names: []string{`"alias_overlap=20"`}},
		{line: "unknown check in `--max`", args: []string{"audit", "DIR", "--max", "beauty=0"}, names: []string{`"beauty"`, "alias_overlap"}},
		{line: "`audit` found more than it may", args: []string{"audit", "DIR/in.json", "--out", "DIR/audit"}, names: []string{"DIR/in.json", "target_is_truth"},
			setup: in(`[{"prompt": "The capital of Arvon is", "subject": "Arvon", "target_new": "Corlin", "ground_truth": "Corlin"}]`),
			after: func(t *testing.T, dir string, _ outcome) {
				rows, err := store.Read[audit.Finding](filepath.Join(dir, "audit", "findings.parquet"))
				if err != nil || len(rows) == 0 || rows[0].Code != "target_is_truth" || rows[0].Severity != audit.Fault {
					t.Errorf("findings %+v, %v", rows, err)
				}
			}},
		{line: "`generate` from a missing knowledge base", args: []string{"generate", "--kb", "DIR/none.json", "--as-of", "2026-01-01", "--out", "DIR/sets"}, names: []string{"DIR/none.json"}},
		{line: "`kb` without a known action", args: []string{"kb", "burn", "--dump", "DIR/in.json", "--out", "DIR/kb"}},
		{line: "`kb build` of a missing dump", args: buildKB(), names: []string{"DIR/in.json"}},
		{line: "`kb build` of a folder", args: []string{"kb", "build", "--dump", "DIR", "--out", "DIR/kb"}, names: []string{"DIR is"}},
		{line: "`kb build` of a dump that is cut short", args: buildKB(), names: []string{"after line"}, grows: true,
			setup: func(t *testing.T, dir string) {
				var packed bytes.Buffer
				z := gzip.NewWriter(&packed)
				_, err := z.Write([]byte(strings.Repeat(smallDump, 20)))
				if err := errors.Join(err, z.Close()); err != nil {
					t.Fatal(err)
				}
				writeFile(t, filepath.Join(dir, "in.json"), packed.String()[:packed.Len()-9])
			}},
		{line: "`kb build` of a dump packed with a window of 2 GiB", args: buildKB(), names: []string{"--long=31"}, grows: true,
			// A zstd frame of one raw block (RFC 8878), as zstd --long=31 begins it.
			setup: in("\x28\xb5\x2f\xfd\x00\xa8\x09\x00\x00[")},
		{line: "`kb build` of a file that is no dump", args: buildKB(), setup: in("[]\n"), names: []string{"(1 lines)"}, grows: true},
		{line: "`kb build` with broken lines", args: buildKB(), setup: in(smallDump + "{\"id\":\"P36\"\n"), names: []string{"line 5 (syntax)"},
			after: func(t *testing.T, dir string, _ outcome) {
				callOK(t, "generate", "--kb", filepath.Join(dir, "kb"), "--n", "1", "--out", filepath.Join(dir, "sets"))
			}},
		{line: "`kb build` with too many broken lines", args: buildKB("--max-errors", "0"), setup: in(smallDump + "garbage\n"), names: []string{"line 5"}, grows: true},
		{line: "`kb build` into the folder of another build", args: buildKB("--relations", "DIR/relations.yaml"), names: []string{"DIR/kb"},
			setup: func(t *testing.T, dir string) {
				in(smallDump)(t, dir)
				callOK(t, "kb", "build", "--dump", filepath.Join(dir, "in.json"), "--out", filepath.Join(dir, "kb"))
				writeFile(t, filepath.Join(dir, "relations.yaml"), "# changed\n"+string(catalogue.General()))
			}},
		{line: "`kb build` into a folder that holds something else", args: buildKB(), names: []string{"DIR/kb", "letter.txt"},
			setup: func(t *testing.T, dir string) {
				in(smallDump)(t, dir)
				writeFile(t, filepath.Join(dir, "kb", "letter.txt"), "Dear Sir")
			}},
		{line: "`kb build` over a damaged work folder", args: buildKB(), names: []string{"records"}, grows: true,
			setup: func(t *testing.T, dir string) {
				unfinishedKB(t, dir)
				if err := os.Truncate(filepath.Join(dir, "kb", "work", "records-00000"), 10); err != nil {
					t.Fatal(err)
				}
			}},
		{line: "`generate` from a knowledge base that is not finished", args: []string{"generate", "--kb", "DIR/kb", "--out", "DIR/sets"}, names: []string{"DIR/kb"}, setup: unfinishedKB},
		{line: "`generate` with a catalogue that a knowledge base was not built for", args: []string{"generate", "--kb", "DIR/kb", "--out", "DIR/sets"}, names: []string{"DIR/kb", "P101"},
			setup: func(t *testing.T, dir string) {
				in(smallDump)(t, dir)
				relations := writeFile(t, filepath.Join(dir, "relations.yaml"), string(world.Catalogue()))
				callOK(t, "kb", "build", "--relations", relations, "--dump", filepath.Join(dir, "in.json"), "--out", filepath.Join(dir, "kb"))
			}},
		{line: "`generate` from a file without items", args: []string{"generate", "--kb", "DIR/in.json", "--out", "DIR/sets"}, setup: in("[]"), names: []string{"in.json"}},
		{line: "`generate` with a day that is none", args: []string{"generate", "--as-of", "tomorrow", "--out", "DIR/sets"}, names: []string{`"tomorrow"`}},
		{line: "`generate --mode update` without the later day", args: []string{"generate", "--mode", "update", "--out", "DIR/sets"}},
		{line: "`--later` without `--mode update`", args: []string{"generate", "--later", "2026-01-01", "--out", "DIR/sets"}},
		{line: "`generate` with a phraser that fails", args: []string{"generate", "--n", "2", "--phraser", "DIR/nobody", "--out", "DIR/sets"}, names: []string{"DIR/nobody"}, grows: true},
		{line: "`generate` into the record of another phraser", args: []string{"generate", "--n", "2", "--phraser", "new", "--out", "DIR/sets"}, names: []string{"DIR/sets", `"old"`, `"new"`},
			setup: func(t *testing.T, dir string) {
				if err := os.Mkdir(filepath.Join(dir, "sets"), 0o755); err != nil {
					t.Fatal(err)
				}
				writeFile(t, filepath.Join(dir, "sets", "phrasings.jsonl"), `{"command":"old"}`+"\n")
			}},
		{line: "`generate` with a malformed catalogue", args: []string{"generate", "--relations", "DIR/relations.yaml", "--out", "DIR/sets"}, names: []string{"DIR/relations.yaml", "[1:"},
			setup: func(t *testing.T, dir string) { writeFile(t, filepath.Join(dir, "relations.yaml"), "- P26\n") }},
		{line: "`generate` with a catalogue of two documents", args: []string{"generate", "--relations", "DIR/relations.yaml", "--out", "DIR/sets"}, names: []string{"DIR/relations.yaml"},
			setup: func(t *testing.T, dir string) {
				writeFile(t, filepath.Join(dir, "relations.yaml"), string(world.Catalogue())+"---\nversion: 1\n")
			}},
	}
}

// asksOnly makes a data set of two edits of which only the first n have probes.
func asksOnly(t *testing.T, dir string, n int) {
	t.Helper()
	imported(t, dir)
	records, m, err := store.ReadDataset(filepath.Join(dir, "data"))
	if err != nil || len(records) != 2 {
		t.Fatalf("%d records, %v", len(records), err)
	}
	for i := n; i < len(records); i++ {
		records[i].Probes = nil
	}
	if err := store.WriteDataset(filepath.Join(dir, "data"), records, m); err != nil {
		t.Fatal(err)
	}
}

// smallDump is a dump of four lines, of which one fact can be edited.
const smallDump = `[
{"type":"item","id":"Q1","labels":{"en":{"value":"Torland"}},"sitelinks":{},"claims":{"P31":[{"mainsnak":{"snaktype":"value","datavalue":{"type":"wikibase-entityid","value":{"id":"Q6256"}}}}],"P36":[{"mainsnak":{"snaktype":"value","datavalue":{"type":"wikibase-entityid","value":{"id":"Q2"}}}}]}},
{"type":"item","id":"Q2","labels":{"en":{"value":"Velburg"}},"sitelinks":{},"claims":{"P31":[{"mainsnak":{"snaktype":"value","datavalue":{"type":"wikibase-entityid","value":{"id":"Q515"}}}}],"P1376":[{"mainsnak":{"snaktype":"value","datavalue":{"type":"wikibase-entityid","value":{"id":"Q1"}}}}]}},
{"type":"item","id":"Q3","labels":{"en":{"value":"Norport"}},"sitelinks":{},"claims":{"P31":[{"mainsnak":{"snaktype":"value","datavalue":{"type":"wikibase-entityid","value":{"id":"Q515"}}}}],"P17":[{"mainsnak":{"snaktype":"value","datavalue":{"type":"wikibase-entityid","value":{"id":"Q1"}}}}]}}
`

func buildKB(flags ...string) []string {
	return append([]string{"kb", "build", "--dump", "DIR/in.json", "--out", "DIR/kb"}, flags...)
}

// unfinishedKB makes what a build leaves that was stopped behind its first shard.
func unfinishedKB(t *testing.T, dir string) {
	t.Helper()
	dump := writeFile(t, filepath.Join(dir, "in.json"), smallDump)
	kb := filepath.Join(dir, "kb")
	// A folder where a file shall be stops the build behind its first step.
	blocked := filepath.Join(kb, "work", "name-questions-00000")
	if err := os.MkdirAll(blocked, 0o755); err != nil {
		t.Fatal(err)
	}
	if o := call(t, "kb", "build", "--dump", dump, "--out", kb); o.code != exitFailure {
		t.Fatalf("code %d: %s", o.code, o.err)
	}
	if err := os.Remove(blocked); err != nil {
		t.Fatal(err)
	}
}

func runFaults(finished func(*testing.T) string) []fault {
	copied := func(t *testing.T, dir string) string {
		return copyDir(t, finished(t), filepath.Join(dir, "run"))
	}
	again := func(flags ...string) []string {
		return append([]string{"eval", "--limit", "1", "--out", "DIR/run"}, flags...)
	}
	return []fault{
		{line: "`compare` of one run", args: []string{"compare", "DIR"}, names: []string{"two"}},
		{line: "`compare` of runs that differ", args: []string{"compare", "DIR/run", "DIR/other"}, runs: true, names: []string{"DIR/run", "DIR/other"},
			setup: func(t *testing.T, dir string) {
				shorter := filepath.Join(dir, "other")
				if err := os.Rename(copied(t, dir), shorter); err != nil {
					t.Fatal(err)
				}
				copied(t, dir)
				shards, err := filepath.Glob(filepath.Join(shorter, "results", "*.parquet"))
				if err != nil || len(shards) == 0 {
					t.Fatal(shards, err)
				}
				if err := os.Remove(shards[0]); err != nil {
					t.Fatal(err)
				}
			}},
		{line: "`report` on a folder that is no run", args: []string{"report", "DIR"}, names: []string{"DIR"}},
		{line: "`report` on a run that is not finished", args: []string{"report", "DIR/run"}, runs: true, names: []string{"DIR/run"},
			setup: func(t *testing.T, dir string) {
				if err := os.Remove(filepath.Join(copied(t, dir), "summary.parquet")); err != nil {
					t.Fatal(err)
				}
			}},
		{line: "`report` on a run with units missing", args: []string{"report", "DIR/run"}, runs: true, names: []string{"DIR/run", "1 of the 1 units"},
			setup: func(t *testing.T, dir string) {
				if err := os.Remove(onlyResult(t, copied(t, dir))); err != nil {
					t.Fatal(err)
				}
			}},
		{line: "`report` on a run that was asked for less later", args: []string{"report", "DIR/run"}, runs: true, names: []string{"none single"},
			setup: func(t *testing.T, dir string) {
				callOK(t, "eval", "--limit", "2", "--out", filepath.Join(dir, "run"))
				callOK(t, "eval", "--limit", "1", "--out", filepath.Join(dir, "run"))
			}},
		{line: "`report` on a run with a damaged file", args: []string{"report", "DIR/run"}, runs: true, names: []string{"DIR/run"},
			setup: func(t *testing.T, dir string) { shorten(t, onlyResult(t, copied(t, dir))) },
			after: func(t *testing.T, dir string, _ outcome) {
				callOK(t, "eval", "--limit", "1", "--out", filepath.Join(dir, "run"))
				if o := call(t, "report", filepath.Join(dir, "run")); o.code != exitOK {
					t.Errorf("the same eval did not mend it: %s", o.err)
				}
			}},
		{line: "`eval` into a folder that holds something else", args: again(), runs: true, names: []string{"DIR/run", "letter.txt"},
			setup: func(t *testing.T, dir string) { writeFile(t, filepath.Join(dir, "run", "letter.txt"), "Dear Sir") }},
		{line: "`eval` into the run of another model", args: again("--model", "DIR/model"), runs: true, names: []string{"DIR/run", "model hash"},
			setup: func(t *testing.T, dir string) {
				copied(t, dir)
				model := copyDir(t, embedded(t), filepath.Join(dir, "model"))
				config := filepath.Join(model, "config.json")
				// One more key makes it another model: its configuration is part of its hash.
				writeFile(t, config, strings.Replace(string(readFile(t, config)), "{", `{"changed": true, `, 1))
				imported(t, dir)
			}},
		{line: "`eval` into a run another process works in", args: again(), runs: true,
			names: []string{"DIR/run", "process " + strconv.Itoa(os.Getpid())},
			setup: func(t *testing.T, dir string) {
				r, err := store.OpenRun(copied(t, dir))
				if err != nil {
					t.Fatal(err)
				}
				lock, err := r.Lock(1, 1)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() {
					if err := lock.Close(); err != nil {
						t.Error(err)
					}
				})
			}},
		{line: "interrupted", args: []string{"eval", "--method", "none,ike", "--limit", "20", "--out", "DIR/run"}, runs: true, until: "base:", grows: true,
			after: func(t *testing.T, dir string, _ outcome) {
				if _, err := os.Stat(filepath.Join(dir, "run", "summary.parquet")); err == nil {
					t.Error("an interrupted run has a summary")
				}
			}},
		{line: "a probe too long for the model", args: []string{"eval", "--data", "DIR/data", "--out", "DIR/run"}, runs: true, names: []string{"1 skipped_length"},
			setup: func(t *testing.T, dir string) {
				text := strings.Replace(string(readFile(t, "testdata/counterfact.json")), "Zume Velkin comes from", strings.Repeat("Zume Velkin ", 60)+"comes from", 1)
				in := writeFile(t, filepath.Join(dir, "in.json"), text)
				callOK(t, "import", "--in", in, "--out", filepath.Join(dir, "data"))
			},
			after: func(t *testing.T, dir string, _ outcome) {
				shows(t, dir, row.SkippedLength, "context of")
			}},
		{line: "an edit on top of another that was not made before it", args: []string{"eval", "--method", "none", "--data", "DIR/data", "--out", "DIR/run"}, runs: true,
			setup: func(t *testing.T, dir string) {
				callOK(t, "generate", "--n", "1", "--sets", "reliability,round_edit", "--out", filepath.Join(dir, "data"))
			},
			after: func(t *testing.T, dir string, _ outcome) { shows(t, dir, row.Skipped, "sequential:2") }},
		{line: "a setting the method does not define", args: []string{"eval", "--method", "none,ike", "--setting", "batch:2", "--limit", "2", "--out", "DIR/run"}, runs: true,
			after: func(t *testing.T, dir string, _ outcome) { shows(t, dir, row.Unsupported, "batch") }},
		{line: "an edit without a subject, with a method that needs one", args: []string{"eval", "--method", "none,rome", "--set", "rome.mom2_adjustment=false", "--data", "DIR/data", "--out", "DIR/run"}, runs: true,
			setup: func(t *testing.T, dir string) {
				in := writeFile(t, filepath.Join(dir, "in.json"), `[{"prompt": "Who built the mill?", "target_new": "Lang", "ground_truth": "Reim"}]`)
				callOK(t, "import", "--in", in, "--out", filepath.Join(dir, "data"))
			},
			after: func(t *testing.T, dir string, _ outcome) { shows(t, dir, row.Unsupported, "names no subject") }},
		{line: "nothing at all could be asked, here a batch larger than the edits under test", args: []string{"eval", "--setting", "batch:20000", "--limit", "2", "--out", "DIR/run"}, runs: true,
			after: func(t *testing.T, dir string, _ outcome) {
				shows(t, dir, row.Unsupported, "only 2 edits are under test")
			}},
		{line: "a row that the model's graph fails on, alone as well", args: []string{"eval", "--model", "DIR/model", "--data", "DIR/data", "--method", "none,ft-l", "--set", "ft-l.num_steps=2", "--out", "DIR/run"}, runs: true,
			setup: failingModel,
			after: checkGraphFailure},
		{line: "a text with a token that the model does not have", args: []string{"eval", "--model", "DIR/model", "--data", "DIR/data", "--out", "DIR/run"}, runs: true,
			setup: func(t *testing.T, dir string) {
				badModel(func(t *testing.T, model string) {
					amendTokenizer(t, filepath.Join(model, "tokenizer.json"), func(doc map[string]any) {
						doc["added_tokens"] = append(doc["added_tokens"].([]any), map[string]any{
							"id": len(vocabulary(doc)), "content": oneTooMany, "special": true,
							"single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
						})
					})
				})(t, dir)
				in := writeFile(t, filepath.Join(dir, "in.json"), `[{"prompt": "The mill was built by", "target_new": "Lang"}, {"prompt": "`+oneTooMany+` Who built the mill?", "target_new": "Lang"}]`)
				callOK(t, "import", "--in", in, "--out", filepath.Join(dir, "data"))
			},
			after: func(t *testing.T, dir string, _ outcome) {
				shows(t, dir, row.Failed, oneTooMany)
				if rows := resultsOf(t, filepath.Join(dir, "run")); !slices.ContainsFunc(rows, func(r row.Result) bool { return r.Status == row.OK }) {
					t.Error("no row was scored")
				}
			}},
		{line: "an edit that failed, here a missing patch file", args: []string{"eval", "--method", "patch", "--set", "patch.path=DIR/edits", "--data", "DIR/data", "--out", "DIR/run"}, runs: true,
			names: []string{"DIR/run"},
			setup: func(t *testing.T, dir string) {
				imported(t, dir)
				if err := os.Mkdir(filepath.Join(dir, "edits"), 0o755); err != nil {
					t.Fatal(err)
				}
			},
			after: func(t *testing.T, dir string, _ outcome) {
				shows(t, dir, row.Failed, filepath.Join(dir, "edits"))
			}},
	}
}

// onlyResult is the one file of result rows of a run.
func onlyResult(t *testing.T, run string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(run, string(store.TableResults), "*.parquet"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%v, %v: want one file", files, err)
	}
	return files[0]
}

// shows checks that rows of a status are in DIR/run, say why, have no numbers,
// and are counted in the report.
func shows(t *testing.T, dir string, status row.Status, why string) {
	t.Helper()
	run := filepath.Join(dir, "run")
	rows, err := store.ReadDir[row.Result](filepath.Join(run, string(store.TableResults)))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, r := range rows {
		if r.Status != status {
			continue
		}
		n++
		if !strings.Contains(r.Detail, why) || r.TokenAcc != nil || r.LogPMean != nil {
			t.Errorf("row %s: detail %q, accuracy %v; want %q and no numbers", r.ProbeID, r.Detail, r.TokenAcc, why)
		}
	}
	if n == 0 {
		t.Errorf("no row has status %s", status)
	}
	text := callOK(t, "report", run).out
	if !strings.Contains(text, string(status)) || !strings.Contains(text, strconv.Itoa(n)) {
		t.Errorf("the report does not count %d rows of status %s:\n%s", n, status, text)
	}
}

// TestDoctorWithoutLibrary checks that doctor says what it found although the
// library is missing, and that its exit code tells.
func TestDoctorWithoutLibrary(t *testing.T) {
	lib := filepath.Join(t.TempDir(), "none.so")
	o := call(t, "doctor", "--ort-lib", lib)
	if o.code != exitFailure || !strings.Contains(o.out, "--  runtime library") || !strings.Contains(o.err, lib) {
		t.Errorf("code %d\n%s\n%s", o.code, o.out, o.err)
	}
}

// TestAxesAreNamed guards the list in the message about an unknown axis.
func TestAxesAreNamed(t *testing.T) {
	for _, a := range dataset.Axes() {
		if !strings.Contains(axisNames(), string(a)) {
			t.Errorf("axis %s is not named", a)
		}
	}
}
