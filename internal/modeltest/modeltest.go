package modeltest

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"editpipe/ask"
	"editpipe/internal/leak"
	"editpipe/internal/tinylm"
	"editpipe/models"
	"editpipe/models/arch"
	"editpipe/models/patch"
	"editpipe/onnx"
	"editpipe/ort"
	"editpipe/tensor"
)

// Differences are relative to the size of what is compared, at least 1 (see
// relative), since a sum is rounded to a share of itself. The order of a kernel's
// sums is the processor's and follows the shapes of a run; a rounding of float32 is
// 2^-24.
const (
	// Two ways of computing one log-probability: 160 roundings.
	LogProbTolerance = 1e-5
	// The same products, added up in another order: 80 roundings.
	HeldTolerance = 5e-6
)

// Relative is the difference of two numbers relative to the first, at least to 1;
// infinite where one is no number, so that no bound takes it.
func Relative(x, y float64) float64 {
	d := math.Abs(x-y) / max(1, math.Abs(x))
	if math.IsNaN(d) {
		return math.Inf(1)
	}
	return d
}

func Open(t testing.TB, env *ort.Env, path string, o models.Options) *models.LM {
	t.Helper()
	lm, err := models.Open(context.Background(), env, path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := lm.Close(); err != nil {
			t.Error(err)
		}
	})
	return lm
}

// Tiny writes a model and opens it.
func Tiny(t testing.TB, env *ort.Env, c tinylm.Config, o models.Options) *models.LM {
	t.Helper()
	return Open(t, env, Folder(t, c), o)
}

func Folder(t testing.TB, c tinylm.Config) string {
	t.Helper()
	dir := t.TempDir()
	if err := errors.Join(tinylm.Write(dir, c), leak.Into(dir)); err != nil {
		t.Fatal(err)
	}
	return dir
}

func MaxDiff(a, b []float32) float64 {
	var worst float64
	for i, x := range a {
		worst = max(worst, Relative(float64(x), float64(b[i])))
	}
	return worst
}

// RandomPatch makes a low-rank patch of one or two down-projections.
func RandomPatch(lm *models.LM, r *rand.Rand, scale float32) *patch.Patch {
	p := &patch.Patch{Method: "test"}
	var downs []arch.Weight
	for _, f := range lm.Info().FFNs {
		downs = append(downs, f.Down)
	}
	for range 1 + r.IntN(2) {
		w := downs[r.IntN(len(downs))]
		k := 1 + r.IntN(5)
		p.Weights = append(p.Weights, patch.Weight{At: w.ID, U: Randn(r, scale, w.In, k), V: Randn(r, scale, k, w.Out)})
	}
	return p
}

func Randn(r *rand.Rand, scale float32, shape ...int) *tensor.Tensor {
	t := tensor.New(tensor.F32, shape...)
	v := t.Float32s()
	for i := range v {
		v[i] = scale * float32(r.NormFloat64())
	}
	return t
}

func RandomQuery(lm *models.LM, r *rand.Rand, prompt, target int) ask.Query {
	ids := func(n int) []int64 {
		v := make([]int64, n)
		for i := range v {
			v[i] = r.Int64N(int64(lm.Info().Vocab))
		}
		return v
	}
	return ask.Query{PromptIDs: ids(prompt), TargetIDs: [][]int64{ids(target), ids(1 + target/2)}}
}

func WorstLogProb(t *testing.T, a, b []ask.Answer) float64 {
	t.Helper()
	var worst float64
	for i := range a {
		if a[i].Err != nil || b[i].Err != nil {
			t.Fatalf("row %d: %v, %v", i, a[i].Err, b[i].Err)
		}
		for k := range a[i].Targets {
			for p, x := range a[i].Targets[k].LogProbs {
				worst = max(worst, Relative(x, b[i].Targets[k].LogProbs[p]))
			}
		}
	}
	return worst
}

// RawLogits runs an exported file as it is, [T*V] logits of one sequence.
func RawLogits(t *testing.T, env *ort.Env, path string, ids []int64) []float32 {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	s, err := env.NewSession(t.Context(), data, ort.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	T := len(ids)
	mask, pos := make([]int64, T), make([]int64, T)
	for i := range T {
		mask[i], pos[i] = 1, int64(i)
	}
	in := map[string]*tensor.Tensor{"input_ids": tensor.FromInt64s(ids, 1, T), "attention_mask": tensor.FromInt64s(mask, 1, T), "position_ids": tensor.FromInt64s(pos, 1, T)}
	out := map[string]*tensor.Tensor{"logits": nil}
	if err := s.Run(t.Context(), in, out); err != nil {
		t.Fatal(err)
	}
	return out["logits"].Float32s()
}

// Distance is that of two vectors over the norm of the second.
func Distance(got, want []float32) float64 {
	d := make([]float32, len(want))
	for i, w := range want {
		d[i] = got[i] - w
	}
	return Norm(d) / Norm(want)
}

func Norm(v []float32) float64 {
	var n float64
	for _, x := range v {
		n += float64(x) * float64(x)
	}
	return math.Sqrt(n)
}

func Must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func Down(layer int) arch.WeightID {
	return arch.WeightID{Side: arch.Decoder, Layer: layer, Part: arch.FFNDown}
}

func MaxDiff64(a, b []float64) (worst float64) {
	for i, x := range a {
		worst = max(worst, Relative(x, b[i]))
	}
	return worst
}

// AttentionForms are the ways in which exports attend and keep keys and values.
var AttentionForms = map[string]tinylm.Config{
	"learned positions":            {Family: tinylm.GPT2, Cache: tinylm.WithPast},
	"positions counted":            {Family: tinylm.GPT2, Cache: tinylm.WithPast, NoPositionIDs: true},
	"rotary, merged":               {Family: tinylm.GPTJ, Cache: tinylm.Merged},
	"rotary, positions counted":    {Family: tinylm.LLaMA, Cache: tinylm.OneFile, NoPositionIDs: true},
	"grouped":                      {Family: tinylm.LLaMA, Cache: tinylm.WithPast, KVHeads: 2},
	"local windows":                {Family: tinylm.GPTNeo, Cache: tinylm.WithPast},
	"local windows, merged":        {Family: tinylm.GPTNeo, Cache: tinylm.Merged},
	"local windows, no positions":  {Family: tinylm.GPTNeo, Cache: tinylm.WithPast, NoPositionIDs: true},
	"sliding window":               {Family: tinylm.Mistral, Cache: tinylm.WithPast},
	"sliding window, dynamo":       {Family: tinylm.Mistral, Cache: tinylm.WithPast, Exporter: tinylm.Dynamo},
	"sliding, alternating, capped": {Family: tinylm.Gemma2, Cache: tinylm.WithPast},
	"sliding, two rotations":       {Family: tinylm.Gemma3, Cache: tinylm.OneFile},
	"alibi":                        {Family: tinylm.BLOOM, Cache: tinylm.WithPast},
	"alibi, merged":                {Family: tinylm.BLOOM, Cache: tinylm.Merged},
	"alibi, grouped":               {Family: tinylm.Falcon, Alibi: true, Cache: tinylm.WithPast},
	"positions of the mask":        {Family: tinylm.OPT, Cache: tinylm.WithPast},
	"multi-query":                  {Family: tinylm.StarCoder, Cache: tinylm.WithPast},
	"GroupQueryAttention":          {Family: tinylm.LLaMA, Exporter: tinylm.GenAI},
	"GroupQueryAttention, rotary":  {Family: tinylm.LLaMA, Exporter: tinylm.GenAI, NoPositionIDs: true, Width: 64, Heads: 2},
	"GroupQueryAttention, window":  {Family: tinylm.Mistral, Exporter: tinylm.GenAI},
	"MultiHeadAttention":           {Family: tinylm.LLaMA, Exporter: tinylm.GenAI, Operator: tinylm.MultiHead},
	"MultiHeadAttention, window":   {Family: tinylm.Mistral, Exporter: tinylm.GenAI, Operator: tinylm.MultiHead},
	"Attention":                    {Family: tinylm.LLaMA, Exporter: tinylm.Dynamo, Opset: 23, Cache: tinylm.WithPast},
	"stacked":                      {Family: tinylm.GPT2, Exporter: tinylm.ORT},
	"int32 positions":              {Family: tinylm.GPT2, Cache: tinylm.WithPast, Int32Positions: true},
	"logits to keep":               {Family: tinylm.LLaMA, Cache: tinylm.WithPast, LogitsToKeep: "num_logits_to_keep"},
	"logits to keep, merged":       {Family: tinylm.GPT2, Cache: tinylm.Merged, LogitsToKeep: "logits_to_keep"},
}

// RewriteGraph changes a graph file of a model folder.
func RewriteGraph(t *testing.T, dir, file string, change func(m *onnx.Model)) {
	t.Helper()
	path := filepath.Join(dir, file)
	m, err := onnx.Open(path)
	Must(t, err)
	change(m)
	Must(t, m.Check())
	data, err := m.Bytes() // before the file is written anew
	Must(t, err)
	Must(t, m.Close())
	Must(t, os.WriteFile(path, data, 0o644))
}

// Suffix is a route for the tests: it makes every prompt end in a text and notes
// that it was asked.
type Suffix struct {
	Text string
	Log  *[]string // texts of the routes that were asked; nil: not wanted
}

func (s Suffix) Kind() string { return "suffix" }
func (s Suffix) Save(dir string) error {
	return os.WriteFile(filepath.Join(dir, "text"), []byte(s.Text), 0o644)
}

func (s Suffix) Route(_ context.Context, _ patch.Reader, questions []ask.Query) ([]patch.Way, error) {
	if s.Log != nil {
		*s.Log = append(*s.Log, s.Text)
	}
	ways := make([]patch.Way, len(questions))
	for i, q := range questions {
		q.Prompt += s.Text
		ways[i].Query = q
	}
	return ways, nil
}

var SuffixDecoder = map[string]patch.RouteDecoder{"suffix": func(dir string) (patch.Route, error) {
	b, err := os.ReadFile(filepath.Join(dir, "text"))
	return Suffix{Text: string(b)}, err
}}

func AddedToken(id int, content string) map[string]any {
	return map[string]any{"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true}
}

// Log-probabilities of a float16 model against the same model in float32,
// relative: a rounding of float16 is 2^-11, and through two blocks ten remain.
const HalfTolerance = 5e-3

// Sums of a few hundred float32 products, against float64 sums.
const HostTolerance = 1e-5
