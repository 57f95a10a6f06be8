package pretrain

import (
	"fmt"
	"hash/fnv"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"editpipe/internal/tinylm"
	"editpipe/onnx"
	"editpipe/onnx/grad"
	"editpipe/train"
)

// Size is the shape of a model.
type Size struct {
	Layers  int `json:"layers"`
	Width   int `json:"width"`
	Heads   int `json:"heads"`
	FFN     int `json:"ffn"`
	Vocab   int `json:"vocab"`
	Context int `json:"context"`
}

// initialScale is the standard deviation of GPT-2's initial weights (Radford et
// al. 2019); matrices that write into the residual stream start smaller by
// 1/sqrt(2 layers).
const initialScale = 0.02

// graph is the export of the model that training and release share: trained is
// the form that the training graph is made from, with the operators that have
// cheap gradients.
func (s Size) graph(trained bool) tinylm.Config {
	c := tinylm.Config{
		Family: tinylm.GPT2, Layers: s.Layers, Width: s.Width, Heads: s.Heads, FFN: s.FFN, Vocab: s.Vocab, Context: s.Context,
		Opset: 17, NamedWeights: true, Cache: tinylm.WithPast,
	}
	if trained {
		c.Opset, c.GeluOp, c.LayerNormOp, c.Cache = 20, true, true, tinylm.NoCache
	}
	return c
}

// Initial returns the weights that training starts from, by the names of a
// checkpoint.
func (s Size) Initial(seed uint64) (train.Values, error) {
	p, err := tinylm.Parameters(s.graph(true))
	if err != nil {
		return nil, fmt.Errorf("pretrain: shaping the model: %w", err)
	}
	for _, name := range slices.Sorted(maps.Keys(p)) {
		v := p[name].Float32s()
		std := initialScale
		switch {
		case strings.HasSuffix(name, ".bias"):
			std = 0
		case strings.Contains(name, ".ln_"):
			for i := range v {
				v[i] = 1
			}
			continue
		case strings.HasSuffix(name, "c_proj.weight"):
			std /= math.Sqrt(float64(2 * s.Layers))
		}
		r := rand.New(rand.NewPCG(seed, hash(name)))
		for i := range v {
			v[i] = float32(std * r.NormFloat64())
		}
	}
	return p, nil
}

func hash(parts ...string) uint64 {
	h := fnv.New64a()
	for _, p := range parts {
		h.Write([]byte(p))
		h.Write([]byte{0})
	}
	z := h.Sum64() // finished as splitmix64 does: short inputs leave FNV's high bits weak
	z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
	z = (z ^ z>>27) * 0x94D049BB133111EB
	return z ^ z>>31
}

// plain is the exported graph of the model without cache.
func (s Size) plain(trained bool) (*onnx.Model, error) {
	dir, err := os.MkdirTemp("", "pretrain-*")
	if err != nil {
		return nil, fmt.Errorf("pretrain: %w", err)
	}
	defer os.RemoveAll(dir)
	if err := tinylm.Write(dir, s.graph(trained)); err != nil {
		return nil, fmt.Errorf("pretrain: writing the graph: %w", err)
	}
	data, err := os.ReadFile(filepath.Join(dir, "model.onnx"))
	if err != nil {
		return nil, fmt.Errorf("pretrain: %w", err)
	}
	return onnx.Parse(data, dir)
}

// Names of the training graph's inputs and outputs besides the weights.
const (
	inIDs       = "input_ids"    // int64 [B, T]
	inPlaces    = "position_ids" // int64 [B, T], counted from 0 in every document
	inDocuments = "documents"    // int64 [B, T]: the number of the document within its row
	inPicked    = "picked"       // int64 [N]: places that count, row by row
	inTargets   = "targets"      // int64 [N, 1]: the token that follows each
	inGoals     = "goals"        // float [N, 1]: the log-probability beyond which each teaches no more
	outLoss     = "loss"         // scalar
	outGradient = "gradient/"    // and the weight's name
)

// hidden is what is added to attention scores between two documents.
const hidden = -1e9

// gradient is the training graph: the summed next-token loss of packed documents
// that do not see each other, and its gradient.
func (s Size) gradient() (*onnx.Model, error) {
	m, err := s.plain(true)
	if err != nil {
		return nil, err
	}
	fail := func(err error) (*onnx.Model, error) {
		return nil, fmt.Errorf("pretrain: making the training graph: %w", err)
	}
	if err := blockAttention(m); err != nil {
		return fail(err)
	}
	b := m.Builder()
	b.Scope("loss")
	count := onnx.Symbolic("targets")
	b.Input(inPicked, onnx.Int64, []onnx.Dim{count})
	b.Input(inTargets, onnx.Int64, []onnx.Dim{count, {Value: 1}})
	b.Input(inGoals, onnx.Float, []onnx.Dim{count, {Value: 1}})
	// Only the places that count reach the vocabulary.
	head := m.Graph.Index().Producer("logits")
	all := b.Op("Reshape", []string{head.Inputs[0], b.Int64s(-1, int64(s.Width))})
	rows := b.Op("Gather", []string{all, inPicked}, onnx.AttrInt("axis", 0))
	logp := b.Op("LogSoftmax", []string{b.Op("MatMul", []string{rows, head.Inputs[1]})}, onnx.AttrInt("axis", -1))
	hit := b.Op("GatherElements", []string{logp, inTargets}, onnx.AttrInt("axis", 1))
	short := b.Op("Where", []string{b.Op("Less", []string{hit, inGoals}), hit, inGoals})
	loss := b.Op("Neg", []string{b.Op("ReduceSum", []string{short}, onnx.AttrInt("keepdims", 0))})
	m.Graph.Outputs = nil
	var weights []string
	for _, t := range m.Graph.Initializers {
		if strings.HasPrefix(t.Name, "transformer.") {
			weights = append(weights, t.Name)
		}
	}
	for _, w := range weights {
		if err := m.Promote(w); err != nil {
			return fail(err)
		}
	}
	g, err := grad.Gradients(m, loss, weights...)
	if err != nil {
		return fail(err)
	}
	b = m.Builder()
	b.Output(loss, outLoss, onnx.Float, nil)
	x := m.Graph.Index()
	for i, w := range weights {
		b.Output(g[i], outGradient+w, onnx.Float, x.Input(w).Shape)
	}
	// The weights are fed; the values in the file would only be copied about.
	m.Graph.Initializers = slices.DeleteFunc(m.Graph.Initializers, func(t *onnx.Tensor) bool { return slices.Contains(weights, t.Name) })
	m.Prune()
	return m, m.Check()
}

// blockAttention replaces the bias that hides padding, [B, 1, 1, T], by one that
// hides other documents of the row, [B, 1, T, T].
func blockAttention(m *onnx.Model) error {
	var bias string
	for _, n := range m.Graph.Nodes { // the product of maskBias: (1 - mask) * lowest
		if n.OpType == "Sub" {
			for _, c := range m.Graph.Index().Consumers(n.Outputs[0]) {
				if c.OpType == "Mul" {
					bias = c.Outputs[0]
				}
			}
		}
		if bias != "" {
			break
		}
	}
	if bias == "" {
		return fmt.Errorf("the graph has no attention mask")
	}
	err := m.Splice(bias, func(b *onnx.Builder, _ string) (string, error) {
		b.Scope("documents")
		b.Input(inDocuments, onnx.Int64, []onnx.Dim{onnx.Symbolic("batch_size"), onnx.Symbolic("sequence_length")})
		same := b.Op("Equal", []string{b.Op("Unsqueeze", []string{inDocuments, b.Int64s(1, 2)}), b.Op("Unsqueeze", []string{inDocuments, b.Int64s(1, 3)})})
		return b.Op("Where", []string{same, b.Scalar(0), b.Scalar(hidden)}), nil
	})
	if err != nil {
		return err
	}
	m.Graph.Inputs = slices.DeleteFunc(m.Graph.Inputs, func(v *onnx.ValueInfo) bool { return v.Name == "attention_mask" })
	m.Prune()
	return nil
}

// source is the stream of random numbers of a purpose.
func source(seed uint64, purpose string) *rand.Rand {
	return rand.New(rand.NewPCG(seed, hash(purpose)))
}

const vocabularyStream = "vocabulary"
