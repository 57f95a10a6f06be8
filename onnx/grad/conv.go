package grad

import "editpipe/onnx"

// conv is a matrix product with what the kernel sees of the input at each of its
// places, gathered axis by axis. Inputs: x [N, C, ...], kernel [M, C / groups,
// ...], bias [M].
func conv(s *step) []string {
	x, w := s.in(0), s.in(1)
	ws := s.shape(w)
	kernel := s.n.Ints("kernel_shape", nil)
	if kernel == nil && total(ws).known() {
		for _, d := range ws[2:] {
			kernel = append(kernel, d.n)
		}
	}
	if len(kernel) == 0 {
		s.fail("the shape of its kernel %q is not known", w)
		return nil
	}
	axes := len(kernel)
	groups := s.n.Int("group", 1)
	each := func(name string, n int, def int64) []int64 {
		v := s.n.Ints(name, nil)
		for len(v) < n {
			v = append(v[:len(v):len(v)], def)
		}
		return v
	}
	strides, dilations, pads := each("strides", axes, 1), each("dilations", axes, 1), each("pads", 2*axes, 0)
	auto := s.n.String("auto_pad", "NOTSET")
	var before, after, places []string // of each axis
	for i, k := range kernel {
		length := s.dimOf(x, 2+i)
		reach := dilations[i] * (k - 1) // from the first element of the kernel to the last
		low, high := s.ints(pads[i]), s.ints(pads[axes+i])
		switch auto {
		case "NOTSET":
		case "VALID":
			low, high = s.ints(0), s.ints(0)
		case "SAME_UPPER", "SAME_LOWER":
			last := s.op("Div", s.sub(length, s.integer(1)), s.integer(strides[i])) // place
			all := s.sub(s.add(s.mul(last, s.integer(strides[i])), s.integer(reach+1)), length)
			all = s.op("Max", all, s.ints(0))
			low = s.op("Div", all, s.integer(2))
			high = s.sub(all, low)
			if auto == "SAME_LOWER" {
				low, high = high, low
			}
		default:
			s.fail("its attribute auto_pad is %q", auto)
			return nil
		}
		before, after = append(before, low), append(after, high)
		room := s.sub(s.add(length, s.add(low, high)), s.integer(reach+1))
		places = append(places, s.add(s.op("Div", room, s.integer(strides[i])), s.ints(1)))
	}
	around := append([]string{s.ints(0, 0)}, before...)
	around = append(append(around, s.ints(0, 0)), after...)
	seen := s.op("Pad", x, s.concat(0, around...))
	for i, k := range kernel {
		steps := make([]int64, k)
		for j := range steps {
			steps[j] = int64(j) * dilations[i]
		}
		starts := s.op("Unsqueeze", s.mul(s.upTo(places[i]), s.integer(strides[i])), s.ints(1))
		seen = s.b.Op("Gather", []string{seen, s.add(starts, s.ints(steps...))}, onnx.AttrInt("axis", int64(2+2*i)))
	}
	order := []int64{0, 1} // then the kernel's axes, then the places
	for i := range axes {
		order = append(order, int64(3+2*i))
	}
	for i := range axes {
		order = append(order, int64(2+2*i))
	}
	seen = s.transpose(seen, order...)
	m := s.dimOf(w, 0)
	rows := s.op("Div", m, s.integer(groups))
	matrix := s.op("Reshape", w, s.concat(0, s.ints(groups), rows, s.ints(-1)))
	depth := s.part(s.op("Shape", matrix), 2)
	y := s.op("MatMul", matrix, s.op("Reshape", seen, s.concat(0, s.ints(0, groups), depth, s.ints(-1))))
	y = s.op("Reshape", y, s.concat(0, append([]string{s.ints(0), m}, places...)...))
	if bias := s.in(2); bias != "" {
		dims := []int64{-1}
		for range axes {
			dims = append(dims, 1)
		}
		y = s.add(y, s.op("Reshape", bias, s.ints(dims...)))
	}
	return []string{y}
}
