package edit

import "testing"

func TestParseSchedule(t *testing.T) {
	good := map[string]Schedule{
		"single":            {Kind: Single},
		"batch:1":           {Kind: Batch, N: 1},
		"batch:100":         {Kind: Batch, N: 100},
		"sequential":        {Kind: Sequential},
		"sequential:50":     {Kind: Sequential, N: 50},
		"sequential:50/10":  {Kind: Sequential, N: 50, Step: 10},
		" sequential:50/50": {Kind: Sequential, N: 50, Step: 50},
	}
	for text, want := range good {
		got, err := ParseSchedule(text)
		if err != nil || got != want {
			t.Errorf("ParseSchedule(%q) = %+v, %v; want %+v", text, got, err, want)
		}
		if again, err := ParseSchedule(got.String()); err != nil || again != got {
			t.Errorf("%q reads back as %+v, %v", got, again, err)
		}
	}
	// A step of one edit is no step: both spellings must name the same units.
	if got, err := ParseSchedule("sequential:50/1"); err != nil || got.String() != "sequential:50" {
		t.Errorf("sequential:50/1 = %v, %v", got, err)
	}
	for _, text := range []string{"", "Single", "single:1", "batch", "batch:", "batch:0", "batch:-1", "batch:x", "batch:4/2", "sequential:0", "sequential:4/0", "sequential:4/5", "sequential:/2", "batch:1.5"} {
		if got, err := ParseSchedule(text); err == nil {
			t.Errorf("ParseSchedule(%q) = %v, want an error", text, got)
		}
	}
}
