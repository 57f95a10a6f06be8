package pipeline

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// folder is a ledger and a stage in one: a unit's work is a file, written whole.
type folder struct {
	dir    string
	name   string
	units  int
	fail   map[string]error
	during func(u Unit) // called in the middle of a unit
	did    []string
}

func (f *folder) Name() string { return f.name }

func (f *folder) Plan(context.Context) ([]Unit, error) {
	var out []Unit
	for i := range f.units {
		out = append(out, Unit{ID: fmt.Sprintf("%s%04x", f.name, i*2654435761%65536), Label: fmt.Sprintf("unit %d", i), Weight: i % 3})
	}
	return out, nil
}

func (f *folder) Do(ctx context.Context, u Unit) error {
	if err := f.fail[u.Label]; err != nil {
		return err
	}
	if f.during != nil {
		f.during(u)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	f.did = append(f.did, u.ID)
	return os.WriteFile(filepath.Join(f.dir, u.ID+".work"), []byte(u.Label), 0o644)
}

func (f *folder) Done(_, id string) (bool, error) {
	_, err := os.Stat(filepath.Join(f.dir, id+".done"))
	return err == nil, nil
}

func (f *folder) Mark(_, id string) error {
	return os.WriteFile(filepath.Join(f.dir, id+".done"), nil, 0o644)
}

func TestKilledAtRandomMomentsAndRerun(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for round := range 20 {
		f := &folder{dir: t.TempDir(), name: "a", units: 30}
		work := map[string]int{}
		for runs := 0; ; runs++ {
			if runs > 100 {
				t.Fatal("no end")
			}
			ctx, cancel := context.WithCancel(context.Background())
			stop := rng.IntN(9)
			f.did, f.during = nil, func(Unit) {
				if stop--; stop < 0 {
					cancel()
				}
			}
			_, err := Run(ctx, []Stage{f}, f, Options{})
			cancel()
			for _, id := range f.did {
				work[id]++
			}
			if err == nil {
				break
			}
			if !errors.Is(err, context.Canceled) {
				t.Fatalf("round %d: %v", round, err)
			}
		}
		units, _ := f.Plan(context.Background())
		for _, u := range units {
			if work[u.ID] != 1 {
				t.Fatalf("round %d: unit %s was finished %d times", round, u.ID, work[u.ID])
			}
		}
	}
}

func TestShardsShareOutTheWhole(t *testing.T) {
	whole := &folder{dir: t.TempDir(), name: "a", units: 101}
	if _, err := Run(context.Background(), []Stage{whole}, whole, Options{}); err != nil {
		t.Fatal(err)
	}
	var union []string
	for i := 1; i <= 4; i++ {
		part := &folder{dir: t.TempDir(), name: "a", units: 101}
		if _, err := Run(context.Background(), []Stage{part}, part, Options{Shard: Shard{i, 4}}); err != nil {
			t.Fatal(err)
		}
		if n := len(part.did); n < 10 || n > 45 {
			t.Errorf("shard %d/4 has %d of 101 units", i, n)
		}
		union = append(union, part.did...)
	}
	slices.Sort(union)
	slices.Sort(whole.did)
	if !slices.Equal(union, whole.did) {
		t.Errorf("4 shards did %d units, the whole %d", len(union), len(whole.did))
	}
}

func TestParseShard(t *testing.T) {
	for _, s := range []string{"", "1/1", "2/8", "8/8"} {
		p, err := ParseShard(s)
		if err != nil {
			t.Errorf("%q: %v", s, err)
		}
		if got := p.String(); got != s && s != "1/1" {
			t.Errorf("%q comes back as %q", s, got)
		}
	}
	for _, s := range []string{"0/2", "3/2", "a/2", "1", "1/", "-1/2", "1/2/3"} {
		if _, err := ParseShard(s); err == nil {
			t.Errorf("%q was accepted", s)
		}
	}
}

func TestFailuresAreCollected(t *testing.T) {
	broken := errors.New("broken")
	f := &folder{dir: t.TempDir(), name: "a", units: 10, fail: map[string]error{"unit 3": broken, "unit 7": broken}}
	r, err := Run(context.Background(), []Stage{f}, f, Options{MaxErrors: 2})
	if err != nil || len(r.Failed) != 2 || r.Done != 8 {
		t.Fatalf("within the limit: %+v, %v", r, err)
	}
	f.fail = map[string]error{"unit 7": broken}
	r, err = Run(context.Background(), []Stage{f}, f, Options{})
	if !errors.Is(err, ErrTooManyErrors) || !errors.Is(err, broken) || r.Done != 1 || r.Skipped != 8 {
		t.Fatalf("past the limit: %+v, %v", r, err)
	}
	var unit *UnitError
	if !errors.As(err, &unit) || unit.Unit.Label != "unit 7" || !strings.Contains(err.Error(), "unit 7") {
		t.Errorf("the failed unit is not named: %v", err)
	}
	f.fail = nil
	if r, err = Run(context.Background(), []Stage{f}, f, Options{}); err != nil || r.Done != 1 || r.Skipped != 9 {
		t.Fatalf("mended: %+v, %v", r, err)
	}
	units, _ := f.Plan(context.Background())
	if r, err = Run(context.Background(), []Stage{f}, f, Options{Redo: map[string]bool{units[4].ID: true}}); err != nil || r.Done != 1 {
		t.Fatalf("redo: %+v, %v", r, err)
	}
}

func TestEvents(t *testing.T) {
	f := &folder{dir: t.TempDir(), name: "a", units: 5}
	var kinds []Kind
	var last Event
	_, err := Run(context.Background(), []Stage{f}, f, Options{Observe: func(e Event) { kinds, last = append(kinds, e.Kind), e }})
	if err != nil {
		t.Fatal(err)
	}
	if len(kinds) != 12 || kinds[0] != StageStarted || last.Kind != StageFinished || last.Done != 5 || last.Total != 5 || last.Left != 0 {
		t.Errorf("events %v, last %+v", kinds, last)
	}
}

func TestPlainProgressIsLines(t *testing.T) {
	var b bytes.Buffer
	p := NewProgress(&b)
	f := &folder{dir: t.TempDir(), name: "evaluate", units: 3, fail: map[string]error{"unit 1": errors.New("broken")}}
	if _, err := Run(context.Background(), []Stage{f}, f, Options{MaxErrors: 1, Observe: p.Observe}); err != nil {
		t.Fatal(err)
	}
	out := b.String()
	if strings.Contains(out, "\r") || !strings.Contains(out, "evaluate: unit 1 failed: broken\n") || !strings.Contains(out, "evaluate: 2 of 3 units in") {
		t.Errorf("printed %q", out)
	}
}
