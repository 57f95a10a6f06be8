package grad

import "editpipe/onnx"

// rotary: a rotation of pairs of channels by the angles of a position is undone
// by the same rotation with sines of the opposite sign, and the gradient of a
// rotation is what undoes it. So is that of the channels it leaves alone.
// Inputs of ONNX: x, cosines, sines, positions; of ONNX Runtime's own operator:
// x, positions, cosines, sines.
func rotary(s *step) {
	inputs := append([]string{s.dy()}, s.n.Inputs[1:]...)
	cos, sin := 1, 2
	if s.n.Domain == "com.microsoft" {
		cos, sin = 2, 3
	}
	if s.wants(cos) || s.wants(sin) {
		s.fail("the gradient of its angles is wanted")
		return
	}
	inputs[sin] = s.op("Neg", s.in(sin))
	s.give(0, s.b.OpN(s.n.OpType, s.n.Domain, inputs, 1, s.n.Attrs...)[0])
}

// rotate turns queries or keys of shape [B, S, n d] by the angles of their
// positions, [B, S]. Tables narrower than half a head turn its beginning alone.
func (s *step) rotate(x, positions, cos, sin string, n int64) string {
	turn := func(x string, attrs ...*onnx.Attribute) string {
		attrs = append(attrs, onnx.AttrInt("interleaved", s.n.Int("rotary_interleaved", 0)))
		return s.b.OpN("RotaryEmbedding", "com.microsoft", []string{x, positions, cos, sin}, 1, attrs...)[0]
	}
	half, width := s.shape(cos).at(1), s.shape(x).at(2)
	switch {
	case !half.known() || !width.known():
		// The operator itself would take every piece as wide as the tables turn
		// for a head.
		x = s.heads(x, n)
		turned := s.op("Mul", s.dimOf(cos, 1), s.ints(2))
		parts := s.b.OpN("Split", "", []string{x, s.concat(0, turned, s.sub(s.dimOf(x, 3), turned))}, 2, onnx.AttrInt("axis", 3))
		return s.joined(s.concat(3, turn(parts[0]), parts[1]))
	case width.n != 2*half.n*n:
		return turn(x, onnx.AttrInt("rotary_embedding_dim", 2*half.n), onnx.AttrInt("num_heads", n))
	}
	return turn(x)
}
