package stages

import (
	"reflect"
	"testing"
)

func TestParseWhen(t *testing.T) {
	for text, want := range map[string]When{
		"":                            {Final: true},
		"final":                       {Final: true},
		"immediate":                   {Immediate: true},
		"every:10":                    {Every: 10},
		"final, immediate":            {Final: true, Immediate: true},
		"immediate,every:5,final":     {Immediate: true, Every: 5, Final: true},
		"immediate,immediate,every:2": {Immediate: true, Every: 2},
	} {
		got, err := ParseWhen(text)
		if err != nil || got != want {
			t.Errorf("ParseWhen(%q) = %+v, %v; want %+v", text, got, err, want)
		}
		if again, err := ParseWhen(got.String()); err != nil || again != got {
			t.Errorf("%q reads back as %+v, %v", got, again, err)
		}
	}
	for _, text := range []string{"never", "every", "every:0", "every:-1", "every:x", "final,", "at the end"} {
		if w, err := ParseWhen(text); err == nil {
			t.Errorf("ParseWhen(%q) = %v, want an error", text, w)
		}
	}
}

func TestDue(t *testing.T) {
	// Edits asked about after each of seven single steps.
	for text, want := range map[string][][2]int{
		"final":             {{}, {}, {}, {}, {}, {}, {0, 7}},
		"immediate":         {{0, 1}, {1, 2}, {2, 3}, {3, 4}, {4, 5}, {5, 6}, {6, 7}},
		"immediate,final":   {{0, 1}, {1, 2}, {2, 3}, {3, 4}, {4, 5}, {5, 6}, {0, 7}},
		"every:3":           {{}, {}, {0, 3}, {}, {}, {0, 6}, {0, 7}},
		"immediate,every:3": {{0, 1}, {1, 2}, {0, 3}, {3, 4}, {4, 5}, {0, 6}, {0, 7}},
	} {
		w, err := ParseWhen(text)
		if err != nil {
			t.Fatal(err)
		}
		var got [][2]int
		for i := range 7 {
			from, to := w.due(i, i+1, 7)
			got = append(got, [2]int{from, to})
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
	// Steps of four: an interval of three is over at the end of each.
	w := When{Every: 3}
	if from, to := w.due(0, 4, 12); from != 0 || to != 4 {
		t.Errorf("after 4: %d-%d", from, to)
	}
	if from, to := w.due(4, 5, 12); from != to {
		t.Errorf("after 5: %d-%d", from, to)
	}
}
