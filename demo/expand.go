package demo

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"editpipe/file"
	"editpipe/onnx"
	"editpipe/tensor"
	"editpipe/tensor/safetensors"
)

// Files of the embedded form. The weights lie there once, in float16; each graph
// takes them as inputs. Other files are as in the expanded folder, those with the
// suffix packed.
const (
	WeightsFile = "weights.safetensors"
	RecordsFile = "records.json"
	CorpusFile  = "corpus.jsonl" // running text of the world, for statistics

	packed = ".gz"
)

// Pack compresses a file of the embedded form; its name gets the suffix .gz. The
// same data gives the same bytes.
func Pack(name string, data []byte) (packedName string, out []byte, err error) {
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err == nil {
		_, err = z.Write(data)
		err = errors.Join(err, z.Close())
	}
	if err != nil {
		return "", nil, fmt.Errorf("demo: compressing %s: %w", name, err)
	}
	return name + packed, b.Bytes(), nil
}

// Expand turns the embedded form into a model folder: graphs with float32
// weights, as edits change them, and everything else as it is. dir must be there.
func Expand(from fs.FS, dir string) error {
	weights, err := readWeights(from, dir)
	if err != nil {
		return fmt.Errorf("demo: expanding: %w", err)
	}
	entries, err := fs.ReadDir(from, ".")
	if err != nil {
		return fmt.Errorf("demo: expanding: %w", err)
	}
	for _, e := range entries {
		if e.Name() == WeightsFile {
			continue
		}
		if err := expand(from, e.Name(), weights, dir); err != nil {
			return fmt.Errorf("demo: expanding %s: %w", e.Name(), err)
		}
	}
	return nil
}

// readWeights reads the weights by way of a file in dir, which it removes.
func readWeights(from fs.FS, dir string) (map[string]*tensor.Tensor, error) {
	data, err := fs.ReadFile(from, WeightsFile)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, WeightsFile)
	if err := file.Write(path, data); err != nil {
		return nil, err
	}
	half, _, err := safetensors.Read(path)
	if err := errors.Join(err, os.Remove(path)); err != nil {
		return nil, err
	}
	weights := map[string]*tensor.Tensor{}
	for name, t := range half {
		if weights[name], err = t.Convert(tensor.F32); err != nil {
			return nil, fmt.Errorf("%s: weight %s: %w", WeightsFile, name, err)
		}
	}
	return weights, nil
}

func expand(from fs.FS, name string, weights map[string]*tensor.Tensor, dir string) error {
	data, err := fs.ReadFile(from, name)
	if err != nil {
		return err
	}
	plain, isPacked := strings.CutSuffix(name, packed)
	if isPacked {
		z, err := gzip.NewReader(bytes.NewReader(data))
		if err != nil {
			return err
		}
		if data, err = io.ReadAll(z); err != nil {
			return err
		}
	}
	if !strings.HasSuffix(plain, ".onnx") {
		return file.Write(filepath.Join(dir, plain), data)
	}
	m, err := onnx.Parse(data, "")
	if err != nil {
		return err
	}
	b := m.Builder()
	m.Graph.Inputs = slices.DeleteFunc(m.Graph.Inputs, func(v *onnx.ValueInfo) bool {
		t := weights[v.Name]
		if t != nil {
			b.Initializer(v.Name, t)
		}
		return t != nil
	})
	return m.Save(filepath.Join(dir, plain), onnx.SaveOptions{})
}
