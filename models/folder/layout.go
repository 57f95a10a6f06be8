// Package folder reads model folders. A model folder holds an exported language
// model: its graphs in one or several files, under the names that exporters give
// them, the configuration of its checkpoint or its export, and its tokenizer.
// Layout says which file plays which part, Config what the configuration says.
package folder

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"editpipe/file"
	"editpipe/token"
)

var (
	// ErrNoConfig is returned when a model folder has neither config.json nor
	// genai_config.json.
	ErrNoConfig = errors.New("no config.json")
	// ErrNoModel is returned when a model folder has no ONNX file with a known name.
	ErrNoModel = errors.New("no ONNX model file")
)

// Layout says which file of a model folder plays which part. Paths start with
// the folder as it was given.
type Layout struct {
	Name      string // the folder's, or that of the graph that was named with its folder
	Dir       string // holds the configuration
	Forward   string // decoder graph run on whole sequences; may take past keys and values
	Step      string // decoder graph that takes past keys and values; "" if none but perhaps Forward
	Encoder   string // "" for decoder-only models
	Tokenizer string // tokenizer.json, or vocab.json with merges.txt beside it; "" if the folder has none
	Others    string // names of the same graph in other number formats beside Forward
}

// Names that exporters give the graphs, best choice first. Variants of one model
// in several number formats stand beside each other under a name with an ending.
var (
	decoderNames = []string{"model.onnx", "decoder_model.onnx"}
	mergedNames  = []string{"decoder_model_merged.onnx", "model_merged.onnx"}
	stepNames    = []string{"model_with_past.onnx", "decoder_with_past_model.onnx"}
	encoderName  = "encoder_model.onnx"

	endings = []string{"", "_fp32", "_fp16", "_quantized", "_int8", "_uint8", "_q8", "_q4", "_q4f16", "_bnb4"}
)

// variant is a graph's name in a number format: with the ending before ".onnx".
func variant(name, ending string) string {
	return strings.TrimSuffix(name, ".onnx") + ending + ".onnx"
}

// endingOf is the ending of a graph's name; known says whether the name is one that
// an exporter gives.
func endingOf(path string) (ending string, known bool) {
	base := filepath.Base(path)
	for _, name := range slices.Concat(decoderNames, mergedNames, stepNames) {
		for _, e := range endings {
			if base == variant(name, e) {
				return e, true
			}
		}
	}
	return "", false
}

// place is where a model is: the folder with its configuration, one graph if
// the user named one, and the folders to look for graphs in otherwise.
type place struct {
	dir, file string
	graphs    []string
}

// locate finds the configuration of the model at a path given by the user: a
// folder, or one graph. It may stand one folder up, as in the folders of
// transformers.js whose graphs are in the folder onnx.
func locate(path string) (place, error) {
	st, err := os.Stat(path)
	if err != nil {
		return place{}, fmt.Errorf("opening model: %w", err)
	}
	own, graph := path, ""
	if !st.IsDir() {
		if filepath.Ext(path) != ".onnx" {
			return place{}, fmt.Errorf("%w: %s is neither a folder nor an .onnx file", ErrNoModel, path)
		}
		own, graph = filepath.Dir(path), path
	}
	if configured(own) {
		return place{own, graph, []string{own, filepath.Join(own, "onnx")}}, nil
	}
	if up := filepath.Join(own, ".."); configured(up) && (graph != "" || holdsGraph(own)) {
		return place{up, graph, []string{own}}, nil
	}
	return place{}, noConfig(own + " or one folder up")
}

func configured(dir string) bool {
	return file.IsRegular(filepath.Join(dir, configName)) || file.IsRegular(filepath.Join(dir, genaiConfigName))
}

func holdsGraph(dir string) bool { return len(graphsIn(dir)) > 0 }

// graphsIn lists the .onnx files of a folder, which may have any name.
func graphsIn(dir string) []string {
	found, _ := fs.Glob(os.DirFS(dir), "*.onnx") // the pattern is well-formed
	for i, name := range found {
		found[i] = filepath.Join(dir, name)
	}
	return found
}

// IsModel says whether files of a model lie in dir: a graph with its
// configuration beside it or one folder up, or a configuration with a graph in the
// folder onnx.
func IsModel(dir string) bool {
	at, err := locate(dir)
	return err == nil && slices.ContainsFunc(at.graphs, holdsGraph)
}

// Read finds the graphs of a model folder, or of one .onnx file, and reads the
// configuration, which stands beside the graphs or one folder up. The error wraps
// fs.ErrNotExist, ErrNoConfig or ErrNoModel where these are the reason.
func Read(path string) (Layout, Config, error) {
	at, err := locate(path)
	if err != nil {
		return Layout{}, Config{}, err
	}
	c, err := readConfig(at.dir)
	if err != nil {
		return Layout{}, Config{}, err
	}
	l, err := layout(at, c)
	if err != nil {
		return Layout{}, Config{}, err
	}
	if at.file == "" {
		path = at.dir // not the folder of the graphs within it
	}
	l.Name = nameOf(path)
	return l, c, nil
}

// layout finds the graphs of a model.
func layout(at place, c Config) (Layout, error) {
	l := Layout{Dir: at.dir, Tokenizer: token.Find(at.dir)}
	if at.file != "" {
		l.Forward = at.file
		if c.EncoderDecoder {
			ending, _ := endingOf(at.file)
			if l.Encoder = filepath.Join(filepath.Dir(at.file), variant(encoderName, ending)); !file.IsRegular(l.Encoder) {
				return Layout{}, fmt.Errorf("%w: %s is an encoder-decoder model and needs %s beside it", ErrNoModel, at.file, filepath.Base(l.Encoder))
			}
		}
		return l, nil
	}
	if c.Graph != "" && c.Main() == genaiConfigName {
		if l.named(at, c); l.Forward != "" {
			return l, nil
		}
	}
	for _, in := range at.graphs {
		var found []Layout
		for _, e := range endings {
			if f := l; f.find(in, e, c.EncoderDecoder) {
				found = append(found, f)
			}
		}
		if len(found) > 0 {
			var others []string
			for _, f := range found[1:] {
				others = append(others, filepath.Base(f.Forward))
			}
			found[0].Others = strings.Join(others, ", ")
			return found[0], nil
		}
	}
	if l.named(at, c); l.Forward != "" {
		return l, nil
	}
	want := "one of " + strings.Join(slices.Concat(decoderNames, mergedNames, stepNames), ", ")
	if c.EncoderDecoder {
		want = encoderName + " with decoder_model.onnx or decoder_model_merged.onnx"
	}
	return Layout{}, fmt.Errorf("%w in %s or its onnx subfolder: want %s; export or convert the checkpoint first%s", ErrNoModel, at.dir, want, others(at.dir))
}

// named takes the graph that genai_config.json names, if it is there.
func (l *Layout) named(at place, c Config) {
	for _, in := range at.graphs {
		if p := filepath.Join(in, c.Graph); filepath.IsLocal(c.Graph) && file.IsRegular(p) {
			l.Forward = p
			return
		}
	}
}

// find looks for the graphs of one number format in a folder and says whether
// they are there.
func (l *Layout) find(in, ending string, seq2seq bool) bool {
	existing := func(names ...string) string {
		for _, n := range names {
			if p := filepath.Join(in, variant(n, ending)); file.IsRegular(p) {
				return p
			}
		}
		return ""
	}
	if seq2seq {
		if l.Encoder = existing(encoderName); l.Encoder == "" {
			return false
		}
	}
	merged := existing(mergedNames...)
	l.Forward, l.Step = existing(decoderNames...), existing(stepNames...)
	if l.Step == "" {
		l.Step = merged
	}
	if l.Forward == "" {
		l.Forward = merged
		if l.Forward == "" && !seq2seq {
			l.Forward = l.Step // a past of length 0 turns it into the plain decoder
		}
	}
	return l.Forward != ""
}

// Decoders lists the decoder's graphs: those in use and the forms of them that stand
// beside. Files under names that no exporter gives are only listed where they are
// in use.
func (l Layout) Decoders() []string {
	var paths []string
	add := func(path string) {
		if path != "" && file.IsRegular(path) && !slices.Contains(paths, path) {
			paths = append(paths, path)
		}
	}
	add(l.Forward)
	add(l.Step)
	if ending, known := endingOf(l.Forward); known {
		for _, n := range slices.Concat(decoderNames, mergedNames, stepNames) {
			add(filepath.Join(filepath.Dir(l.Forward), variant(n, ending)))
		}
	}
	return paths
}

// nameOf is the folder's name, or the file's with its folder.
func nameOf(path string) string {
	abs, err := filepath.Abs(path)
	if err != nil {
		abs = path
	}
	if filepath.Ext(abs) == ".onnx" {
		return filepath.Base(filepath.Dir(abs)) + "/" + strings.TrimSuffix(filepath.Base(abs), ".onnx")
	}
	return filepath.Base(abs)
}

// others names the .onnx files that are there under unknown names.
func others(dir string) string {
	found := slices.Concat(graphsIn(dir), graphsIn(filepath.Join(dir, "onnx")))
	if len(found) == 0 {
		return ""
	}
	sort.Strings(found)
	return fmt.Sprintf(" (to use one of the files found, give its path: %s)", strings.Join(found, ", "))
}
