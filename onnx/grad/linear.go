package grad

import (
	"fmt"
	"slices"
	"strings"

	"editpipe/onnx"
	"editpipe/tensor"
)

// operand is a factor of a matrix product: a value and what is known of its
// shape.
type operand struct {
	v     string
	shape shape
}

// matMul serves MatMul and FusedMatMul, which can transpose and scale. With
// Y = A B, dA = dY Bt and dB = At dY, summed over broadcast batch axes. Whether
// a factor of unknown rank is a vector is found out when the model runs.
func matMul(s *step) {
	if s.n.Int("transBatchA", 0) != 0 || s.n.Int("transBatchB", 0) != 0 {
		s.fail("transposed batch axes")
		return
	}
	a, b := s.operand(0), s.operand(1)
	if s.n.Int("transA", 0) != 0 {
		a = s.swap(a)
	}
	if s.n.Int("transB", 0) != 0 {
		b = s.swap(b)
	}
	dy := s.times(s.dy(), float64(s.n.Float("alpha", 1)))

	// A vector becomes a matrix with one row or column.
	rowVector, columnVector := len(a.shape) == 1, len(b.shape) == 1
	if columnVector {
		b = operand{s.op("Unsqueeze", b.v, s.ints(1)), shape{b.shape[0], known(1)}}
		dy = s.op("Unsqueeze", dy, s.ints(-1))
	}
	if rowVector {
		a = operand{s.op("Unsqueeze", a.v, s.ints(0)), shape{known(1), a.shape[0]}}
		dy = s.op("Unsqueeze", dy, s.ints(-2))
	}
	if a.shape == nil || b.shape == nil {
		a, b, dy = s.asMatrices(a, b, dy)
	}

	if s.wants(0) {
		d := s.leftFactor(a, b, dy)
		if rowVector {
			d = s.op("Squeeze", d, s.ints(0))
		}
		if s.n.Int("transA", 0) != 0 {
			d = s.swap(operand{d, a.shape}).v
		}
		if a.shape == nil {
			d = s.like(d, s.in(0))
		}
		s.give(0, d)
	}
	if s.wants(1) {
		d := s.rightFactor(a, b, dy)
		if columnVector {
			d = s.op("Squeeze", d, s.ints(1))
		}
		if s.n.Int("transB", 0) != 0 {
			d = s.swap(operand{d, b.shape}).v
		}
		if b.shape == nil {
			d = s.like(d, s.in(1))
		}
		s.give(1, d)
	}
}

// asMatrices makes matrices of those factors of unknown rank that are vectors: a
// row in front, a column behind, and dY as it would be then.
func (s *step) asMatrices(a, b operand, dy string) (_, _ operand, _ string) {
	one := onnx.NewTensor("", tensor.FromInt64s([]int64{1}, 1))
	// lacking is [1] for vectors and [] for others.
	lacking := func(size string) string {
		count := s.op("Max", s.sub(s.ints(2), s.op("Shape", size)), s.ints(0))
		return s.b.Op("ConstantOfShape", []string{count}, onnx.AttrTensor("value", one))
	}
	size := s.op("Shape", dy)
	if b.shape == nil {
		all := s.op("Shape", b.v)
		column := lacking(all)
		b.v, size = s.reshape(b.v, s.concat(0, all, column)), s.concat(0, size, column)
	}
	if a.shape == nil {
		all := s.op("Shape", a.v)
		row := lacking(all)
		batch := s.op("Slice", size, s.ints(0), s.ints(-1), s.ints(0))
		a.v, size = s.reshape(a.v, s.concat(0, row, all)), s.concat(0, batch, row, s.part(size, -1))
	}
	return a, b, s.reshape(dy, size)
}

func (s *step) operand(i int) operand { return operand{s.in(i), s.shape(s.in(i))} }

// leftFactor is dY Bt with the shape of a. For a matrix B, such as a weight, it
// is one Gemm, which needs no transposed copy of B.
func (s *step) leftFactor(a, b operand, dy string) string {
	if len(b.shape) == 2 {
		d := s.b.Op("Gemm", []string{s.rows(dy, b, 1), b.v}, onnx.AttrInt("transB", 1))
		if len(a.shape) == 2 {
			return d
		}
		return s.like(d, a.v)
	}
	d := s.op("MatMul", dy, s.swap(b).v)
	var full shape
	if a.shape != nil && b.shape != nil {
		full = append(s.facts.broadcast(a.shape[:len(a.shape)-2], b.shape[:len(b.shape)-2]), a.shape.at(-2), a.shape.at(-1))
	}
	return s.reduce(d, full, a.v, a.shape)
}

// rightFactor is At dY with the shape of b.
func (s *step) rightFactor(a, b operand, dy string) string {
	if len(b.shape) == 2 {
		x := a.v
		if len(a.shape) != 2 {
			x = s.rows(a.v, b, 0)
		}
		return s.b.Op("Gemm", []string{x, s.rows(dy, b, 1)}, onnx.AttrInt("transA", 1))
	}
	d := s.op("MatMul", s.swap(a).v, dy)
	var full shape
	if a.shape != nil && b.shape != nil {
		full = append(s.facts.broadcast(a.shape[:len(a.shape)-2], b.shape[:len(b.shape)-2]), b.shape.at(-2), b.shape.at(-1))
	}
	return s.reduce(d, full, b.v, b.shape)
}

// rows makes a matrix of x whose rows are as long as an axis of the matrix b.
func (s *step) rows(x string, b operand, axis int) string {
	if d := b.shape[axis]; d.known() && d.n > 0 {
		return s.op("Reshape", x, s.ints(-1, d.n))
	}
	// Not -1: the rows may be empty, as those of a low-rank change of rank 0.
	size := s.part(s.op("Shape", b.v), int64(axis))
	count := s.op("ReduceProd", s.op("Slice", s.op("Shape", x), s.ints(0), s.ints(-1), s.ints(0)))
	return s.reshape(x, s.concat(0, count, size))
}

// swap transposes the last two axes.
func (s *step) swap(x operand) operand {
	if rank := len(x.shape); rank >= 2 {
		perm := make([]int64, rank)
		for i := range perm {
			perm[i] = int64(i)
		}
		perm[rank-1], perm[rank-2] = perm[rank-2], perm[rank-1]
		return operand{s.transpose(x.v, perm...), swapped(x.shape)}
	}
	if x.shape != nil {
		return x // transposing a vector changes nothing
	}
	all := s.op("Shape", x.v)
	batch := s.op("Slice", all, s.ints(0), s.ints(-2), s.ints(0))
	rows, columns := s.part(all, -2), s.part(all, -1)
	flat := s.op("Reshape", x.v, s.concat(0, s.ints(-1), rows, columns))
	return operand{s.reshape(s.transpose(flat, 0, 2, 1), s.concat(0, batch, columns, rows)), nil}
}

// Y = alpha A' B' + beta C, where A' and B' may be transposed.
func gemm(s *step) {
	a, b, dy := s.in(0), s.in(1), s.dy()
	ta, tb := s.n.Int("transA", 0) != 0, s.n.Int("transB", 0) != 0
	product := func(x, y string, tx, ty bool) string {
		return s.b.Op("Gemm", []string{x, y}, onnx.AttrFloat("alpha", s.n.Float("alpha", 1)),
			onnx.AttrInt("transA", bit(tx)), onnx.AttrInt("transB", bit(ty)))
	}
	switch {
	case !s.wants(0):
	case ta:
		s.give(0, product(b, dy, tb, true))
	default:
		s.give(0, product(dy, b, false, !tb))
	}
	switch {
	case !s.wants(1):
	case tb:
		s.give(1, product(dy, a, true, ta))
	default:
		s.give(1, product(a, dy, !ta, false))
	}
	if s.wants(2) {
		s.giveReduced(2, s.times(dy, float64(s.n.Float("beta", 1))))
	}
}

// equation is a parsed Einsum equation without ellipsis.
type equation struct {
	in  []string
	out string
}

func parseEinsum(text string) (equation, error) {
	text = strings.ReplaceAll(text, " ", "")
	left, right, ok := strings.Cut(text, "->")
	if !ok || strings.Contains(text, ".") {
		return equation{}, fmt.Errorf("equation %q has no explicit output or an ellipsis", text)
	}
	e := equation{in: strings.Split(left, ","), out: right}
	for _, term := range append(slices.Clone(e.in), e.out) {
		for i, c := range term {
			if strings.ContainsRune(term[:i], c) {
				return equation{}, fmt.Errorf("equation %q repeats %q within a term", text, c)
			}
		}
	}
	return e, nil
}

// einsum: the gradient of an operand is the Einsum of dY and the other
// operands, with the operand's own labels as result.
func einsum(s *step) {
	e, err := parseEinsum(s.n.String("equation", ""))
	if err != nil {
		s.fail("%v", err)
		return
	}
	for i, term := range e.in {
		if !s.wants(i) {
			continue
		}
		inputs, terms := []string{s.dy()}, []string{e.out}
		for j, other := range e.in {
			if j != i {
				inputs, terms = append(inputs, s.in(j)), append(terms, other)
			}
		}
		have := strings.Join(terms, "")
		for _, c := range term {
			if !strings.ContainsRune(have, c) {
				s.fail("label %q is summed over in one operand alone", c)
				return
			}
		}
		s.give(i, s.b.Op("Einsum", inputs, onnx.AttrString("equation", strings.Join(terms, ",")+"->"+term)))
	}
}
