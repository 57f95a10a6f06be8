package edit

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"editpipe/dataset"
	"editpipe/models/arch"
	"editpipe/models/patch"
)

type config struct {
	Layer  int     `set:"layer" share:"1/2" doc:"where"`
	Rate   float64 `set:"rate" doc:"how fast"`
	Norm   bool    `set:"norm" doc:"whether"`
	Kind   string  `set:"kind" oneof:"a|b" doc:"which"`
	Layers []int   `set:"layers" doc:"where else"`
	hidden int
}

type keep struct{ config }

func (keep) Make(_ context.Context, on *patch.Patch, groups [][]dataset.Edit) ([]Made, error) {
	made := make([]Made, len(groups))
	for i := range groups {
		made[i].Patch = on
	}
	return made, nil
}

func method() Method {
	return Define(Spec[config]{
		Name: "foo", Version: 1, Schedules: []Kind{Single, Batch}, Families: []string{"gpt2"},
		Base: config{Rate: 0.5, Kind: "a", Layers: []int{3, 4}, hidden: 7},
		Validate: func(c config) error {
			if c.Layer < 0 {
				return errors.New("foo.layer is negative")
			}
			return nil
		},
		Open: func(_ context.Context, c config, _ Env) (Editor, error) { return keep{c}, nil },
	})
}

func TestConfigure(t *testing.T) {
	m := method()
	c, err := m.Configure(&arch.Info{Layers: 12}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := c.String(), "kind=a layer=6 layers=3,4 norm=false rate=0.5"; got != want {
		t.Errorf("defaults %q, want %q", got, want)
	}
	set, err := m.Configure(&arch.Info{Layers: 12}, map[string]string{
		"layer": "2", "rate": "1e-3", "norm": "true", "kind": "b", "layers": "1, 2,9",
	})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := set.String(), "kind=b layer=2 layers=1,2,9 norm=true rate=0.001"; got != want {
		t.Errorf("overridden %q, want %q", got, want)
	}
	if c.Hash() == set.Hash() {
		t.Error("different configurations have the same hash")
	}
	ed, err := m.Open(context.Background(), set, Env{})
	if err != nil {
		t.Fatal(err)
	}
	if got := ed.(*checked).Editor.(keep); got.Layer != 2 || len(got.Layers) != 3 || got.hidden != 7 {
		t.Errorf("editor got %+v", got)
	}
	// The same values by another way are the same configuration.
	same, err := m.Configure(&arch.Info{Layers: 2}, map[string]string{"layer": "6"})
	if err != nil || same.Hash() != c.Hash() {
		t.Errorf("hash of equal values: %v, %s and %s", err, same, c)
	}
}

// TestPresets: the first preset that holds for a model stands in place of the base,
// and overrides in place of both.
func TestPresets(t *testing.T) {
	type config struct {
		Layer  int     `set:"layer" share:"17/48" doc:"where"`
		Layers []int   `set:"layers" share:"1/4 to 1/2" doc:"where else"`
		Rate   float64 `set:"rate" doc:"how fast"`
	}
	m := Define(Spec[config]{Name: "foo", Base: config{Rate: 1}, Presets: []Preset{
		{From: 1, To: 6, Set: "layer=0 layers=0"}, {Family: "gptj", From: 28, To: 28, Set: "rate=0.1"}, {Family: "gpt2"}, {From: 28, Set: "rate=0.5"},
	}})
	for _, c := range []struct {
		info arch.Info
		set  map[string]string
		want string
	}{
		{arch.Info{}, nil, "layer=0 layers=0 rate=1"},
		{arch.Info{Family: "gptj", Layers: 6}, nil, "layer=0 layers=0 rate=1"},
		{arch.Info{Family: "gptj", Layers: 8}, nil, "layer=2 layers=2,3,4 rate=1"},
		{arch.Info{Family: "gptj", Layers: 28}, nil, "layer=9 layers=7,8,9,10,11,12,13,14 rate=0.1"},
		{arch.Info{Family: "gptj", Layers: 32}, map[string]string{"layers": "1"}, "layer=11 layers=1 rate=0.5"},
		{arch.Info{Family: "gpt2", Layers: 48}, map[string]string{"rate": "2", "layers": ""}, "layer=17 layers= rate=2"},
	} {
		got, err := m.Configure(&c.info, c.set)
		if err != nil || got.String() != c.want {
			t.Errorf("%s with %d layers: %q, %v; want %q", c.info.Family, c.info.Layers, got, err, c.want)
		}
	}
	var groups []string
	for _, p := range append(m.Presets, Preset{Family: "opt", To: 3}) {
		groups = append(groups, p.Models())
	}
	if got, want := strings.Join(groups, "; "), "any family of 1 to 6 layers; gptj of 28 layers; gpt2; any family of 28 layers and more; opt of 0 to 3 layers"; got != want {
		t.Errorf("presets are for %q, want %q", got, want)
	}
	wrong := Define(Spec[config]{Name: "foo", Presets: []Preset{{Set: "pace=1"}}})
	if _, err := wrong.Configure(&arch.Info{}, nil); err == nil || !strings.Contains(err.Error(), "presets of foo") {
		t.Errorf("a preset of an unknown key: %v", err)
	}
}

func TestConfigureNamesFaults(t *testing.T) {
	for _, set := range []map[string]string{
		{"leyer": "3"}, {"layer": "three"}, {"layer": ""}, {"rate": "NaN"}, {"rate": "Inf"}, {"norm": "perhaps"},
		{"kind": "c"}, {"layers": "1,x"}, {"layer": "-1"}, {"hidden": "1"},
	} {
		_, err := method().Configure(&arch.Info{}, set)
		if err == nil {
			t.Errorf("%v was accepted", set)
			continue
		}
		for _, known := range []string{"layer", "rate", "norm", "kind (a|b)", "layers"} {
			if !strings.Contains(err.Error(), known) {
				t.Errorf("%v: message does not list key %q: %v", set, known, err)
			}
		}
	}
	_, err := method().Configure(&arch.Info{}, map[string]string{"leyer": "3", "rate": "x"})
	if err == nil || !strings.Contains(err.Error(), "leyer") || !strings.Contains(err.Error(), "foo.rate=x") {
		t.Errorf("not every fault is named: %v", err)
	}
}

func TestParseSet(t *testing.T) {
	m, k, v, err := ParseSet("ft-l.layers=1,2=3")
	if err != nil || m != "ft-l" || k != "layers" || v != "1,2=3" {
		t.Errorf("got %q %q %q %v", m, k, v, err)
	}
	for _, s := range []string{"", "a", "a.b", "a=b", ".b=c", "a.=c"} {
		if _, _, _, err := ParseSet(s); err == nil {
			t.Errorf("ParseSet(%q) gave no error", s)
		}
	}
}

func TestSupports(t *testing.T) {
	m := method()
	if err := m.Supports(Schedule{Kind: Batch, N: 4}, &arch.Info{Family: "gpt2"}); err != nil {
		t.Error(err)
	}
	err := m.Supports(Schedule{Kind: Sequential}, &arch.Info{Family: "t5"})
	if !errors.Is(err, ErrUnsupported) {
		t.Fatalf("got %v", err)
	}
	for _, part := range []string{"foo", "sequential", "single, batch", "t5", "gpt2"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("message lacks %q: %v", part, err)
		}
	}
	if err := m.Prepare(context.Background(), mustConfigure(t, m), PrepareEnv{}, ""); !errors.Is(err, ErrUnsupported) {
		t.Errorf("preparing a method without preparation: %v", err)
	}
}

func mustConfigure(t *testing.T, m Method) Config {
	t.Helper()
	c, err := m.Configure(&arch.Info{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestOpenRefusesForeignConfig(t *testing.T) {
	other := Define(Spec[config]{Name: "bar", Base: config{Kind: "a"}})
	if _, err := method().Open(context.Background(), mustConfigure(t, other), Env{}); err == nil {
		t.Error("a configuration of another method was accepted")
	}
}

func TestError(t *testing.T) {
	cause := errors.New("no such layer")
	err := Wrap("foo", "e1", cause)
	if got, want := err.Error(), "foo: edit e1: no such layer"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if !errors.Is(err, cause) || !errors.Is(Wrap("bar", "e2", err), err) || Wrap("bar", "e2", err).Error() != err.Error() || Wrap("foo", "e1", nil) != nil {
		t.Error("wrapping loses the cause, wraps twice, or invents an error")
	}
}

// scripted is an editor that fails at some edits, and altogether at others.
type scripted struct{ asked [][]dataset.Edit }

var errCannot, errAtAll = errors.New("cannot"), errors.New("at all")

func (s *scripted) Make(_ context.Context, on *patch.Patch, groups [][]dataset.Edit) ([]Made, error) {
	s.asked = append(s.asked, groups...)
	made := make([]Made, len(groups))
	for i, g := range groups {
		switch g[0].ID {
		case "bad":
			made[i].Err = errCannot
		case "flat":
			made[i].Err = fmt.Errorf("no slopes: %w", arch.ErrNoGradient)
		case "blame":
			made[i].Err = Wrap("foo", g[1].ID, errCannot)
		case "end":
			return made[:i], errAtAll
		default:
			made[i] = Made{Patch: on.Then(&patch.Patch{Edits: []string{string(g[0].ID)}}), Efforts: []Effort{{Steps: 3}}}
		}
	}
	return made, nil
}

func group(ids ...dataset.EditID) []dataset.Edit {
	var edits []dataset.Edit
	for _, id := range ids {
		edits = append(edits, dataset.Edit{ID: id})
	}
	return edits
}

// TestMake: what callers are promised whatever a method's editor does.
func TestMake(t *testing.T) {
	ctx, inner := context.Background(), &scripted{}
	ed := &checked{inner, "foo", true}
	made, err := ed.Make(ctx, nil, [][]dataset.Edit{group("a"), nil, group("bad"), group("flat"), group("blame", "b"), group("c"), group("end"), group("d", "e")})
	if err != nil {
		t.Fatal(err)
	}
	if len(inner.asked) != 7 {
		t.Errorf("the method was asked for %d groups, want those that hold edits", len(inner.asked))
	}
	for i, want := range []struct {
		is   error
		edit dataset.EditID
	}{{}, {is: ErrNoEdits}, {errCannot, "bad"}, {ErrUnsupported, "flat"}, {errCannot, "b"}, {}, {errAtAll, "end"}, {is: errAtAll}} {
		m := made[i]
		if (m.Patch == nil) != (want.is != nil) || !errors.Is(m.Err, want.is) {
			t.Errorf("group %d: %+v, want %v", i, m, want.is)
		}
		var typed *Error
		if want.is != nil && !errors.Is(want.is, ErrNoEdits) && (!errors.As(m.Err, &typed) || typed.Method != "foo" || typed.Edit != want.edit) {
			t.Errorf("group %d: %v blames not edit %q of foo", i, m.Err, want.edit)
		}
	}
	if made[0].Efforts[0].Steps != 3 || made[5].Patch.Edits[0] != "c" {
		t.Errorf("good groups: %+v", made)
	}
	one := &checked{&scripted{}, "foo", false}
	if made, err := one.Make(ctx, nil, [][]dataset.Edit{group("a", "b"), group("c")}); err != nil || !errors.Is(made[0].Err, ErrUnsupported) || made[1].Err != nil {
		t.Errorf("two at once of a method that makes one: %+v, %v", made, err)
	}
	ended, end := context.WithCancel(ctx)
	end()
	if _, err := ed.Make(ended, nil, [][]dataset.Edit{group("a")}); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end of the context: %v", err)
	}
	if edits := group("a", "b"); len(Apart(edits)) != 2 || Apart(edits)[1][0].ID != "b" {
		t.Errorf("apart: %v", Apart(edits))
	}
}

func TestFind(t *testing.T) {
	if m, err := Find([]Method{method()}, "foo"); err != nil || m.Name != "foo" {
		t.Errorf("%v %v", m.Name, err)
	}
	if _, err := Find([]Method{method()}, "fo"); err == nil || !strings.Contains(err.Error(), "foo") {
		t.Errorf("error does not list the methods: %v", err)
	}
}

// TestFieldsThatCannotBeKeys: a method whose source says something that cannot be is
// refused when it is configured, by an error that names the field or its type.
func TestFieldsThatCannotBeKeys(t *testing.T) {
	type half struct {
		Layer int `set:"layer" share:"half"`
	}
	type complexes struct {
		Z complex128 `set:"z"`
	}
	for want, m := range map[string]Method{
		`tag of field Layer: "half" is no share`: Define(Spec[half]{Name: "foo", Version: 1}),
		"foo.z=1: want complex128":               Define(Spec[complexes]{Name: "foo", Version: 1}),
	} {
		if _, err := m.Configure(&arch.Info{Layers: 12}, map[string]string{"z": "1"}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
}
