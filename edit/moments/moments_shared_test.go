//go:build shared

package moments

import (
	"context"
	"fmt"
	"math"
	"path/filepath"
	"testing"

	"editpipe/dataset/corpus"
	"editpipe/edit"
	"editpipe/internal/modeltest"
	"editpipe/models"
	"editpipe/ort/orttest"
	"editpipe/tensor/npz"
)

// momentsTolerance is the relative distance of second moments from the
// reference's, which were taken over the same text cut elsewhere: sampling, not
// arithmetic. A wrong layer or site is off by more than 0.3.
const momentsTolerance = 0.02

// TestMomentsReference collects all layers' moments over the text the
// reference used and compares them with the reference's.
func TestMomentsReference(t *testing.T) {
	world := modeltest.Shared(t, "fixtures", "world")
	ctx := context.Background()
	lm, err := models.Open(ctx, orttest.Open(t), world, models.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer lm.Close()
	dir, layers := t.TempDir(), []int{0, 1, 2, 3, 4}
	in := edit.PrepareEnv{LM: lm, Texts: corpus.Texts(filepath.Join(world, "data", "corpus.txt"), "")}
	if err := Prepare(ctx, layers, 108104, in, dir); err != nil {
		t.Fatal(err)
	}
	for _, l := range layers {
		m, err := Read(filepath.Join(dir, File(l)))
		if err != nil {
			t.Fatal(err)
		}
		ref, err := npz.ReadNPY(filepath.Join(world, "reference", "cov", fmt.Sprintf("mom2_layer%d.npy", l)))
		if err != nil {
			t.Fatal(err)
		}
		var off, all float64
		for i, x := range ref.Float64s() {
			off, all = off+(m.C[i]-x)*(m.C[i]-x), all+x*x
		}
		distance := math.Sqrt(off / all)
		t.Logf("layer %d: relative distance %.4f", l, distance)
		if distance > momentsTolerance {
			t.Errorf("layer %d: relative distance %.4f, want below %.2f", l, distance, momentsTolerance)
		}
	}
}
