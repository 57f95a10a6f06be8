package edit

import (
	"context"
	"editpipe/models/arch"
	"errors"
	"strings"
	"testing"

	"editpipe/dataset"
	"editpipe/models"
)

type config struct {
	Layer  int     `set:"layer" doc:"where"`
	Rate   float64 `set:"rate" doc:"how fast"`
	Norm   bool    `set:"norm" doc:"whether"`
	Kind   string  `set:"kind" oneof:"a|b" doc:"which"`
	Layers []int   `set:"layers" doc:"where else"`
	hidden int
}

type keep struct{ config }

func (keep) Edit(context.Context, Base, []dataset.Edit) (models.Patch, error) {
	return models.Patch{}, nil
}

func method() Method {
	return Define(Spec[config]{
		Name: "foo", Version: 1, Schedules: []Kind{Single, Batch}, Families: []string{"gpt2"},
		Defaults: func(info *arch.Info) config {
			return config{Layer: info.Layers / 2, Rate: 0.5, Kind: "a", Layers: []int{3, 4}, hidden: 7}
		},
		Validate: func(c config) error {
			if c.Layer < 0 {
				return errors.New("foo.layer is negative")
			}
			return nil
		},
		New: func(c config, _ Inputs) (Editor, error) { return keep{c}, nil },
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
	ed, err := m.New(set, Inputs{})
	if err != nil {
		t.Fatal(err)
	}
	if got := ed.(keep); got.Layer != 2 || len(got.Layers) != 3 || got.hidden != 7 {
		t.Errorf("editor got %+v", got)
	}
	// The same values by another way are the same configuration.
	same, err := m.Configure(&arch.Info{Layers: 2}, map[string]string{"layer": "6"})
	if err != nil || same.Hash() != c.Hash() {
		t.Errorf("hash of equal values: %v, %s and %s", err, same, c)
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
	if err := m.Prepare(context.Background(), Base{}, mustConfigure(t, m), PrepareInput{}, ""); !errors.Is(err, ErrUnsupported) {
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

func TestNewRefusesForeignConfig(t *testing.T) {
	other := Define(Spec[config]{Name: "bar", Defaults: func(*arch.Info) config { return config{Kind: "a"} }})
	if _, err := method().New(mustConfigure(t, other), Inputs{}); err == nil {
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

// oneFails is an editor without EditEach that fails at one edit.
type oneFails struct{}

func (oneFails) Edit(_ context.Context, _ Base, edits []dataset.Edit) (models.Patch, error) {
	if edits[0].ID == "bad" {
		return models.Patch{}, errors.New("cannot")
	}
	return models.Patch{Edits: []string{string(edits[0].ID)}}, nil
}

func TestEachOfKeepsGoing(t *testing.T) {
	patches, errs := EachOf(context.Background(), "foo", oneFails{}, Base{}, []dataset.Edit{{ID: "a"}, {ID: "bad"}, {ID: "c"}})
	if errs[0] != nil || errs[2] != nil || patches[0].Edits[0] != "a" || patches[2].Edits[0] != "c" {
		t.Errorf("good edits: %v %v", patches, errs)
	}
	var typed *Error
	if !errors.As(errs[1], &typed) || typed.Method != "foo" || typed.Edit != "bad" {
		t.Errorf("bad edit: %v", errs[1])
	}
	ctx, stop := context.WithCancel(context.Background())
	stop()
	_, errs = EachOf(ctx, "foo", oneFails{}, Base{}, []dataset.Edit{{ID: "a"}})
	if !errors.Is(errs[0], context.Canceled) {
		t.Errorf("after the end of the context: %v", errs[0])
	}
}

func TestEffort(t *testing.T) {
	p := models.Patch{Edits: []string{"a", "b", "c"}}
	SetEffort(&p, []Effort{{Steps: 20, FinalLoss: 0.5}, {Steps: 7, FinalLoss: 0.25}})
	if e, ok := EffortOf(&p, "c"); !ok || e != (Effort{7, 0.25}) {
		t.Errorf("c: %v %v", e, ok)
	}
	if _, ok := EffortOf(&p, "a"); ok {
		t.Error("an edit of an earlier call has an effort")
	}
	if len(p.Edits) != 3 {
		t.Errorf("edits became %v", p.Edits)
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
