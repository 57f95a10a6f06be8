package grad

import (
	"slices"

	"editpipe/onnx"
)

// putBack adds the rows dy, of shape [P, N, Q] in its element order, to
// [P, rows, Q] zeros at the N row numbers in index, and gives the result the
// shape of v. before has shape [1] and holds P.
func (s *step) putBack(dy, index, rows, before, v string) string {
	wide := s.op("Reshape", dy, s.concat(0, before, s.op("Shape", index), s.ints(-1)))
	return s.like(s.scatter(wide, index, rows, s.dtype(v)), v)
}

// addRows adds the rows dy, of any shape that ends in width, to zeros of the
// shape of the matrix v, at the row numbers in index. A table of embeddings is
// read at as many places as a batch has tokens; a one-hot matrix of all tokens
// and words would be the largest tensor of the graph. ScatterElements, unlike
// ScatterND, adds in the order of its elements on the CPU.
func (s *step) addRows(dy, index string, width int64, v string) string {
	flat := s.op("Reshape", dy, s.ints(-1, width))
	places := s.op("Expand", s.op("Unsqueeze", index, s.ints(1)), s.op("Shape", flat))
	return s.b.Op("ScatterElements", []string{s.filled(0, v), places, flat}, onnx.AttrInt("axis", 0), onnx.AttrString("reduction", "add"))
}

// wrap makes negative indices count from the end of an axis.
func (s *step) wrap(index, length string) string {
	return s.op("Where", s.op("Less", index, s.integer(0)), s.add(index, length), index)
}

func gather(s *step) {
	x := s.in(0)
	axis, ok := s.shape(x).axis(s.n.Int("axis", 0))
	if !ok {
		s.fail("the rank of %q is not known", x)
		return
	}
	index := s.cast(s.op("Reshape", s.in(1), s.ints(-1)), onnx.Int64)
	rows := s.dimOf(x, axis)
	if width := s.shape(x).at(-1); axis == 0 && len(s.shape(x)) == 2 && width.known() && s.opset >= 16 {
		s.give(0, s.addRows(s.dy(), s.wrap(index, rows), width.n, x))
		return
	}
	before := s.ints(1)
	for i := range axis {
		before = s.mul(before, s.dimOf(x, i))
	}
	s.give(0, s.putBack(s.dy(), s.wrap(index, rows), rows, before, x))
}

// gatherND turns index tuples into row numbers of the flattened leading axes.
func gatherND(s *step) {
	x := s.in(0)
	k := s.shape(s.in(1)).at(-1)
	if !k.known() || k.n == 0 || s.n.Int("batch_dims", 0) != 0 {
		s.fail("the length of its index tuples is not known, or it has batch_dims")
		return
	}
	var number string
	rows := s.ints(1)
	for i := range k.n {
		length := s.dimOf(x, int(i))
		column := s.b.Op("Gather", []string{s.in(1), s.integer(i)}, onnx.AttrInt("axis", -1))
		column = s.wrap(s.op("Reshape", column, s.ints(-1)), length)
		if i == 0 {
			number, rows = column, length
		} else {
			number, rows = s.add(s.mul(number, length), column), s.mul(rows, length)
		}
	}
	s.give(0, s.putBack(s.dy(), number, rows, s.ints(1), x))
}

func gatherElements(s *step) {
	if s.opset < 16 {
		s.fail("its gradient needs opset 16, this model has %d", s.opset)
		return
	}
	x := s.in(0)
	s.give(0, s.b.Op("ScatterElements", []string{s.filled(0, x), s.in(1), s.dy()},
		onnx.AttrInt("axis", s.n.Int("axis", 0)), onnx.AttrString("reduction", "add")))
}

func scatterND(s *step) {
	s.overwritten(func(dy string) string {
		return s.op("ScatterND", dy, s.in(1), s.filled(0, s.in(2)))
	}, func(dy string) string {
		return s.op("GatherND", dy, s.in(1))
	})
}

func scatterElements(s *step) {
	axis := onnx.AttrInt("axis", s.n.Int("axis", 0))
	s.overwritten(func(dy string) string {
		return s.b.Op("ScatterElements", []string{dy, s.in(1), s.filled(0, s.in(2))}, axis)
	}, func(dy string) string {
		return s.b.Op("GatherElements", []string{dy, s.in(1)}, axis)
	})
}

// overwritten: data is passed through where it is not overwritten, updates receive
// what stands at their places.
func (s *step) overwritten(without, at func(dy string) string) {
	switch mode := s.n.String("reduction", "none"); mode {
	case "add":
		s.give(0, s.dy())
	case "none":
		if s.wants(0) {
			s.give(0, without(s.dy()))
		}
	default:
		s.fail("reduction %q", mode)
		return
	}
	if s.wants(2) {
		s.give(2, at(s.dy()))
	}
}

// topK sends the gradient of the values to where they were found.
func topK(s *step) {
	s.give(0, s.b.Op("ScatterElements", []string{s.filled(0, s.in(0)), s.n.Outputs[1], s.dy()}, onnx.AttrInt("axis", s.n.Int("axis", -1))))
}

// tensorScatter writes an update into a cache, for each row of the batch from
// another place on. Inputs: cache, update, places.
func tensorScatter(s *step) []string {
	cache, update := s.in(0), s.in(1)
	axis, ok := s.shape(cache).axis(s.n.Int("axis", -2))
	rank := len(s.shape(cache))
	if !ok || rank == 0 {
		s.fail("the rank of %q is not known", cache)
		return nil
	}
	along := func(axis int) string { // the shape of a list along one axis
		dims := slices.Repeat([]int64{1}, rank)
		dims[axis] = -1
		return s.ints(dims...)
	}
	at := s.op("Reshape", s.upTo(s.dimOf(update, axis)), along(axis))
	if starts := s.in(2); starts != "" {
		at = s.add(at, s.op("Reshape", starts, along(0)))
	}
	switch mode := s.n.String("mode", "linear"); mode {
	case "linear":
	case "circular":
		at = s.op("Mod", at, s.dimOf(cache, axis))
	default:
		s.fail("its mode is %q", mode)
	}
	at = s.op("Expand", at, s.shapeOf(update))
	return []string{s.b.Op("ScatterElements", []string{cache, at, update}, onnx.AttrInt("axis", int64(axis)))}
}
