package arch

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"editpipe/token"
)

// Layout says which file of a model folder plays which part. Paths start with
// the folder as it was given.
type Layout struct {
	Dir       string // holds config.json
	Forward   string // decoder graph run on whole sequences; may take past keys and values
	Step      string // decoder graph that takes past keys and values; "" if none but perhaps Forward
	Encoder   string // "" for decoder-only models
	Tokenizer string // tokenizer.json, or vocab.json with merges.txt beside it; "" if the folder has none
}

// Names that exporters give the graphs, best choice first.
var (
	decoderNames = []string{"model.onnx", "decoder_model.onnx"}
	mergedNames  = []string{"decoder_model_merged.onnx", "model_merged.onnx"}
	stepNames    = []string{"model_with_past.onnx", "decoder_with_past_model.onnx"}
	encoderName  = "encoder_model.onnx"
)

// locate splits a path given by the user into the folder that holds
// config.json and, where the path names one graph, that file.
func locate(path string) (dir, file string, err error) {
	st, err := os.Stat(path)
	if err != nil {
		return "", "", fmt.Errorf("opening model: %w", err)
	}
	if st.IsDir() {
		if !isFile(filepath.Join(path, "config.json")) {
			return "", "", fmt.Errorf("%w in %s: a model folder needs the config.json of its checkpoint", ErrNoConfig, path)
		}
		return path, "", nil
	}
	if filepath.Ext(path) != ".onnx" {
		return "", "", fmt.Errorf("%w: %s is neither a folder nor an .onnx file", ErrNoModel, path)
	}
	own := filepath.Dir(path)
	for _, d := range []string{own, filepath.Join(own, "..")} {
		if isFile(filepath.Join(d, "config.json")) {
			return d, path, nil
		}
	}
	return "", "", fmt.Errorf("%w beside %s or one folder up", ErrNoConfig, path)
}

// layout finds the graphs of a model whose config.json is in dir. file, where
// given, is the decoder graph to use.
func layout(dir, file string, seq2seq bool) (Layout, error) {
	l := Layout{Dir: dir}
	l.Tokenizer = token.Find(dir)
	if file != "" {
		l.Forward = file
		if seq2seq {
			if l.Encoder = filepath.Join(filepath.Dir(file), encoderName); !isFile(l.Encoder) {
				return Layout{}, fmt.Errorf("%w: %s is an encoder-decoder model and needs %s beside it", ErrNoModel, file, encoderName)
			}
		}
		return l, nil
	}
	for _, in := range []string{dir, filepath.Join(dir, "onnx")} {
		find := func(names ...string) string {
			for _, n := range names {
				if p := filepath.Join(in, n); isFile(p) {
					return p
				}
			}
			return ""
		}
		if seq2seq {
			if l.Encoder = find(encoderName); l.Encoder == "" {
				continue
			}
		}
		merged := find(mergedNames...)
		l.Forward, l.Step = find(decoderNames...), find(stepNames...)
		if l.Step == "" {
			l.Step = merged
		}
		if l.Forward == "" {
			l.Forward = merged
			if l.Forward == "" && !seq2seq {
				l.Forward = l.Step // a past of length 0 turns it into the plain decoder
			}
		}
		if l.Forward != "" {
			return l, nil
		}
	}
	want := "one of " + strings.Join(slices.Concat(decoderNames, mergedNames, stepNames), ", ")
	if seq2seq {
		want = encoderName + " with decoder_model.onnx or decoder_model_merged.onnx"
	}
	return Layout{}, fmt.Errorf("%w in %s or its onnx subfolder: want %s; export or convert the checkpoint first%s", ErrNoModel, dir, want, others(dir))
}

// others names the .onnx files that are there under unknown names.
func others(dir string) string {
	var found []string
	for _, pattern := range []string{"*.onnx", "onnx/*.onnx"} {
		m, err := filepath.Glob(filepath.Join(dir, pattern))
		if err == nil {
			found = append(found, m...)
		}
	}
	if len(found) == 0 {
		return ""
	}
	sort.Strings(found)
	return fmt.Sprintf(" (to use one of the files found, give its path: %s)", strings.Join(found, ", "))
}

func isFile(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.Mode().IsRegular()
}
