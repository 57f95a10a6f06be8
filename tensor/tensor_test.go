package tensor_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"editpipe/tensor"
)

// half16 is an independent reading of a 16-bit number, by its definition.
func half16(bits uint16, exp, frac int) float64 {
	bias := 1<<(exp-1) - 1
	e := int(bits>>frac) & (1<<exp - 1)
	m := float64(bits & (1<<frac - 1))
	sign := 1.0
	if bits>>15 == 1 {
		sign = -1
	}
	scale := math.Pow(2, -float64(frac))
	switch {
	case e == 1<<exp-1 && m != 0:
		return math.NaN()
	case e == 1<<exp-1:
		return sign * math.Inf(1)
	case e == 0:
		return sign * m * scale * math.Pow(2, float64(1-bias))
	}
	return sign * (1 + m*scale) * math.Pow(2, float64(e-bias))
}

var halves = []struct {
	dt        tensor.DType
	exp, frac int
}{{tensor.F16, 5, 10}, {tensor.BF16, 8, 7}}

// allHalves holds every bit pattern once.
func allHalves(dt tensor.DType) *tensor.Tensor {
	t := tensor.New(dt, 1<<16)
	for i := range 1 << 16 {
		binary.LittleEndian.PutUint16(t.Data[2*i:], uint16(i))
	}
	return t
}

func TestHalvesReadExactly(t *testing.T) {
	for _, h := range halves {
		all := allHalves(h.dt)
		for i, got := range all.Float32s() {
			want := half16(uint16(i), h.exp, h.frac)
			same := float64(got) == want && math.Signbit(float64(got)) == math.Signbit(want)
			if !same && !(math.IsNaN(want) && got != got) {
				t.Fatalf("%v %#04x reads as %v, want %v", h.dt, i, got, want)
			}
		}
		for _, wide := range []tensor.DType{tensor.F32, tensor.F64} {
			w, err := all.Convert(wide)
			if err != nil {
				t.Fatal(err)
			}
			back, err := w.Convert(h.dt)
			if err != nil {
				t.Fatal(err)
			}
			for i := range 1 << 16 {
				got := binary.LittleEndian.Uint16(back.Data[2*i:])
				if got == uint16(i) {
					continue
				}
				// A signalling NaN may come back quiet, but as a NaN of its sign.
				if v := half16(got, h.exp, h.frac); !math.IsNaN(v) || got>>15 != uint16(i)>>15 || !math.IsNaN(half16(uint16(i), h.exp, h.frac)) {
					t.Fatalf("%v %#04x through %v became %#04x", h.dt, i, wide, got)
				}
			}
		}
	}
}

// TestHalvesRoundToNearestEven checks, between every two neighbouring finite
// numbers, the values just below, at and just above the middle.
func TestHalvesRoundToNearestEven(t *testing.T) {
	for _, h := range halves {
		inf := uint16(1<<15 - 1<<h.frac)
		var in []float64
		var want []uint16
		for lo := range inf {
			a, b := half16(lo, h.exp, h.frac), half16(lo+1, h.exp, h.frac)
			if lo+1 == inf { // the next number, had the exponent one more value
				b = a + (a - half16(lo-1, h.exp, h.frac))
			}
			mid := (a + b) / 2 // exact in float64
			even := lo
			if lo&1 == 1 {
				even++
			}
			in = append(in, math.Nextafter(mid, 0), mid, math.Nextafter(mid, math.Inf(1)))
			want = append(want, lo, even, lo+1)
		}
		for _, sign := range []float64{1, -1} {
			src := tensor.New(tensor.F64, len(in))
			for i, x := range in {
				src.Float64s()[i] = sign * x
			}
			got, err := src.Convert(h.dt)
			if err != nil {
				t.Fatal(err)
			}
			for i, w := range want {
				if sign < 0 {
					w |= 1 << 15
				}
				if g := binary.LittleEndian.Uint16(got.Data[2*i:]); g != w {
					t.Fatalf("%v of %v is %#04x, want %#04x", h.dt, sign*in[i], g, w)
				}
			}
		}
	}
}

func TestConvertEdges(t *testing.T) {
	tiny := math.SmallestNonzeroFloat64
	cases := []struct {
		in       float64
		f16, b16 uint16
	}{
		{0, 0, 0}, {math.Copysign(0, -1), 0x8000, 0x8000},
		{math.Inf(1), 0x7c00, 0x7f80}, {math.Inf(-1), 0xfc00, 0xff80},
		{math.MaxFloat64, 0x7c00, 0x7f80}, {tiny, 0, 0}, {-tiny, 0x8000, 0x8000},
		{65504, 0x7bff, 0x4780}, {65519.99, 0x7bff, 0x4780}, {65520, 0x7c00, 0x4780},
		{0x1p-24, 1, 0x3380}, {0x1p-25, 0, 0x3300}, {0x1.8p-25, 1, 0x3340},
		{1 + 0x1p-11, 0x3c00, 0x3f80}, {1 + 3*0x1p-11, 0x3c02, 0x3f80},
	}
	for _, c := range cases {
		src := tensor.New(tensor.F64)
		src.Float64s()[0] = c.in
		for dt, want := range map[tensor.DType]uint16{tensor.F16: c.f16, tensor.BF16: c.b16} {
			got, err := src.Convert(dt)
			if err != nil {
				t.Fatal(err)
			}
			if g := binary.LittleEndian.Uint16(got.Data); g != want {
				t.Errorf("%v of %v is %#04x, want %#04x", dt, c.in, g, want)
			}
		}
	}
	ints := tensor.FromInt64s([]int64{1}, 1)
	if _, err := ints.Convert(tensor.F32); !errors.Is(err, tensor.ErrDType) {
		t.Errorf("converting integers gave %v", err)
	}
	if _, err := tensor.New(tensor.F32, 1).Convert(tensor.I64); !errors.Is(err, tensor.ErrDType) {
		t.Errorf("converting to integers gave %v", err)
	}
}

func TestViewsAndCopies(t *testing.T) {
	v := []float32{1, 2, 3, 4, 5, 6}
	a := tensor.FromFloat32s(v, 2, 3)
	a.Float32s()[4] = 50
	if v[4] != 50 {
		t.Error("Float32s of a float32 tensor is not a view")
	}
	b := a.Clone()
	b.Float32s()[0] = -1
	b.Shape[0] = 9
	if v[0] != 1 || a.Shape[0] != 2 {
		t.Error("Clone shares memory")
	}
	odd := &tensor.Tensor{DType: tensor.F32, Shape: []int{6}, Data: append([]byte{0}, a.Data...)[1:]}
	got := odd.Float32s()
	if !slices.Equal(got, v) {
		t.Errorf("unaligned bytes read as %v", got)
	}
	got[0] = 7
	if odd.Float32s()[0] != 1 {
		t.Error("unaligned bytes were viewed in place")
	}
	w, err := a.Convert(tensor.F64)
	if err != nil {
		t.Fatal(err)
	}
	w.Float32s()[0] = 99
	if w.Float64s()[0] != 1 {
		t.Error("Float32s of a float64 tensor is not a copy")
	}
	for dt, raw := range map[tensor.DType][]byte{
		tensor.I64:  {0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 5, 0, 0, 0, 0, 0, 0, 0},
		tensor.I32:  {0xfe, 0xff, 0xff, 0xff, 5, 0, 0, 0},
		tensor.I8:   {0xfe, 5},
		tensor.U8:   {0xfe, 5},
		tensor.Bool: {0, 2},
	} {
		want := []int64{-2, 5}
		switch dt {
		case tensor.U8:
			want[0] = 254
		case tensor.Bool:
			want = []int64{0, 1}
		}
		for _, data := range [][]byte{raw, append([]byte{0}, raw...)[1:]} {
			x := &tensor.Tensor{DType: dt, Shape: []int{2}, Data: data}
			if got := x.Int64s(); !slices.Equal(got, want) {
				t.Errorf("%v reads as %v, want %v", dt, got, want)
			}
		}
	}
}

func TestShapes(t *testing.T) {
	scalar := tensor.New(tensor.F32)
	if scalar.Len() != 1 || scalar.Bytes() != 4 || len(scalar.Data) != 4 {
		t.Errorf("a single number has %d elements in %d bytes", scalar.Len(), len(scalar.Data))
	}
	empty := tensor.New(tensor.I64, 3, 0, 2)
	if empty.Len() != 0 || len(empty.Data) != 0 || len(empty.Int64s()) != 0 || !empty.Finite() {
		t.Error("an empty tensor is not empty")
	}
	for _, shape := range [][]int{{-1}, {2, -3}, {math.MaxInt, 2}, {math.MaxInt, math.MaxInt, 0}} {
		if _, err := tensor.Elements(shape); !errors.Is(err, tensor.ErrShape) {
			t.Errorf("shape %v gave %v", shape, err)
		}
	}
	for name, x := range map[string]*tensor.Tensor{
		"short":   {DType: tensor.F32, Shape: []int{2}, Data: make([]byte, 7)},
		"unknown": {DType: 0, Shape: []int{2}, Data: make([]byte, 2)},
	} {
		if x.Check() == nil {
			t.Errorf("%s: Check found nothing", name)
		}
	}
	for name, f := range map[string]func(){
		"values": func() { tensor.FromFloat32s([]float32{1, 2}, 3) },
		"type":   func() { tensor.New(tensor.DType(77), 1) },
		"ints":   func() { tensor.New(tensor.I64, 1).Float32s() },
		"floats": func() { tensor.New(tensor.F32, 1).Int64s() },
	} {
		if !panics(f) {
			t.Errorf("%s: no panic on a programmer's fault", name)
		}
	}
}

func panics(f func()) (did bool) {
	defer func() { did = recover() != nil }()
	f()
	return false
}

func TestFinite(t *testing.T) {
	for _, dt := range []tensor.DType{tensor.F32, tensor.F64, tensor.F16, tensor.BF16} {
		for _, bad := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
			x := tensor.New(tensor.F64, 3)
			x.Float64s()[1] = bad
			y, err := x.Convert(dt)
			if err != nil {
				t.Fatal(err)
			}
			if y.Finite() {
				t.Errorf("%v with %v is called finite", dt, bad)
			}
		}
		if !tensor.New(dt, 3).Finite() {
			t.Errorf("zeros of %v are called infinite", dt)
		}
	}
	large := tensor.New(tensor.F64, 1)
	large.Float64s()[0] = 1e300 // beyond float32
	if !large.Finite() {
		t.Error("a large float64 is called infinite")
	}
}

func TestNorm(t *testing.T) {
	// A float32 sum would stick at 4096^2 = 2^24 and lose every one that follows.
	mixed := tensor.New(tensor.F32, 1001)
	for i := range mixed.Float32s() {
		mixed.Float32s()[i] = 1
	}
	mixed.Float32s()[0] = 4096
	if got, want := mixed.Norm(), math.Sqrt(1<<24+1000); got != want {
		t.Errorf("norm of 4096 and 1000 ones is %v, want %v", got, want)
	}
	if got := tensor.FromFloat32s([]float32{3, -4}, 2, 1).Norm(); got != 5 {
		t.Errorf("norm of (3, -4) is %v", got)
	}
	if got := tensor.FromInt64s([]int64{3, -4}, 2).Norm(); got != 5 {
		t.Errorf("norm of integers (3, -4) is %v", got)
	}
}

func TestHash(t *testing.T) {
	a := tensor.FromFloat32s([]float32{1, 2, 3, 4}, 2, 2)
	if a.Hash() != a.Clone().Hash() {
		t.Error("a copy has another hash")
	}
	zeros := tensor.New(tensor.F32, 2, 2)
	for name, b := range map[string]*tensor.Tensor{
		"values": tensor.FromFloat32s([]float32{1, 2, 3, 5}, 2, 2),
		"shape":  tensor.FromFloat32s([]float32{1, 2, 3, 4}, 4),
		"rank":   tensor.FromFloat32s([]float32{1, 2, 3, 4}, 2, 2, 1),
	} {
		if a.Hash() == b.Hash() {
			t.Errorf("other %s, same hash", name)
		}
	}
	if zeros.Hash() == (&tensor.Tensor{DType: tensor.I32, Shape: zeros.Shape, Data: zeros.Data}).Hash() {
		t.Error("other type, same hash")
	}
}

func TestMatMulAndTranspose(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	fill := func(m, n int) *tensor.Tensor {
		x := tensor.New(tensor.F32, m, n)
		for i := range x.Float32s() {
			x.Float32s()[i] = float32(r.NormFloat64())
		}
		return x
	}
	for _, s := range [][3]int{{1, 1, 1}, {3, 5, 4}, {40, 33, 65}, {2, 0, 3}, {0, 4, 2}} {
		a, b := fill(s[0], s[1]), fill(s[1], s[2])
		got, err := tensor.MatMul(a, b)
		if err != nil {
			t.Fatal(err)
		}
		for i := range s[0] {
			for j := range s[2] {
				want := 0.0
				for p := range s[1] {
					want += float64(a.Float32s()[i*s[1]+p]) * float64(b.Float32s()[p*s[2]+j])
				}
				// The same float64 sums in the same order: no tolerance.
				if g := got.Float32s()[i*s[2]+j]; g != float32(want) {
					t.Fatalf("%v: product[%d,%d] is %v, want %v", s, i, j, g, want)
				}
			}
		}
		// (a b)' = b' a' ties the transpose to the product; sums run over the
		// same terms in the same order, so that it holds exactly.
		at, err1 := a.Transpose2D()
		bt, err2 := b.Transpose2D()
		gt, err3 := got.Transpose2D()
		if err := errors.Join(err1, err2, err3); err != nil {
			t.Fatal(err)
		}
		other, err := tensor.MatMul(bt, at)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(other.Shape, gt.Shape) || !bytes.Equal(other.Data, gt.Data) {
			t.Errorf("%v: transposes do not multiply to the transpose", s)
		}
	}
	if _, err := tensor.MatMul(fill(2, 3), fill(2, 3)); !errors.Is(err, tensor.ErrShape) {
		t.Errorf("shapes that do not fit gave %v", err)
	}
	if _, err := tensor.MatMul(tensor.New(tensor.F64, 1, 1), fill(1, 1)); !errors.Is(err, tensor.ErrDType) {
		t.Errorf("a float64 operand gave %v", err)
	}
	if _, err := tensor.New(tensor.F32, 2).Transpose2D(); !errors.Is(err, tensor.ErrShape) {
		t.Errorf("transposing a vector gave %v", err)
	}
}

func BenchmarkRoundToHalf(b *testing.B) {
	src := tensor.New(tensor.F32, 1<<20)
	for i := range src.Float32s() {
		src.Float32s()[i] = float32(i) * 1e-4
	}
	b.SetBytes(int64(len(src.Data)))
	for b.Loop() {
		if _, err := src.Convert(tensor.F16); err != nil {
			b.Fatal(err)
		}
	}
}
