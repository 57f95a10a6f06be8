package sets

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"editpipe/dataset"
	"editpipe/generator"
	"editpipe/store"
)

// phraserMode tells this test's own executable to act as a phraser.
const phraserMode = "EDITPIPE_TEST_PHRASER"

// TestActAsPhraser is no test: it is the command that the tests below start.
func TestActAsPhraser(t *testing.T) {
	mode := os.Getenv(phraserMode)
	if mode == "" {
		t.Skip("run by the tests of the phraser")
	}
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		var r generator.PhraseRequest
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			fmt.Fprintln(os.Stderr, "bad request:", err)
			os.Exit(3)
		}
		answer := map[string]string{"id": r.ID, "text": fmt.Sprintf("Please say, in answer %d: %s", n, r.Text)}
		switch mode {
		case "other id":
			answer["id"] = "x"
		case "no json":
			fmt.Println("Sure! Here is the question:")
			continue
		case "silent":
			time.Sleep(time.Hour)
		case "ends":
			fmt.Fprintln(os.Stderr, "out of memory")
			os.Exit(1)
		case "ends later":
			if n == 4 {
				os.Exit(1)
			}
		}
		data, err := json.Marshal(answer)
		if err != nil {
			os.Exit(4)
		}
		fmt.Println(string(data))
	}
	os.Exit(0)
}

// self is the command that starts TestActAsPhraser.
func self(t *testing.T, mode string) string {
	t.Setenv(phraserMode, mode)
	return os.Args[0] + " -test.run=^TestActAsPhraser$"
}

// TestPhraserIsRecorded generates twice into one folder. The command words its
// answers otherwise the second time it runs, so equal files show that it was not
// asked again.
func TestPhraserIsRecorded(t *testing.T) {
	dir := t.TempDir()
	g := Generate{Out: dir, N: 5, Seed: 2, Phraser: self(t, "ends later")}
	if _, err := g.Do(context.Background()); !errors.Is(err, ErrPhraser) {
		t.Fatalf("error %v, want ErrPhraser after three answers", err)
	}
	if _, err := os.Stat(filepath.Join(dir, ManifestFile)); err == nil {
		t.Error("the failed generation left a manifest")
	}
	t.Setenv(phraserMode, "sound")
	set, err := g.Do(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	first := folder(t, dir)
	// Three answers were recorded before; the command counted the others from 1.
	if n := strings.Count(first[PhrasingsFile], "in answer 3:"); n != 2 {
		t.Errorf("%d third answers in the record, want one of each run:\n%s", n, first[PhrasingsFile])
	}
	probes, err := store.Read[dataset.Probe](filepath.Join(dir, ProbesFile))
	if err != nil {
		t.Fatal(err)
	}
	phrased := 0
	for _, p := range probes {
		if p.Phrasing == "llm" {
			phrased++
		}
	}
	if want := set.Counts.Variants["one_hop/phrased"] + set.Counts.Variants["generalization/phrased"]; phrased != want || phrased < 5 {
		t.Errorf("%d probes worded by the command, manifest says %d", phrased, want)
	}
	if len(set.Files) != 7 || !strings.Contains(first[CardFile], PhrasingsFile) {
		t.Errorf("files %v", set.Files)
	}
	t.Setenv(phraserMode, "ends")
	if _, err := g.Do(context.Background()); err != nil {
		t.Fatal(err)
	}
	for name, data := range folder(t, dir) {
		if data != first[name] {
			t.Errorf("%s differs from the first generation", name)
		}
	}
	g.Phraser = "another command"
	if _, err := g.Do(context.Background()); err == nil || !strings.Contains(err.Error(), "another command") || !strings.Contains(err.Error(), "was made by the command") {
		t.Errorf("error %v, want one that names both commands", err)
	}
}

func TestPhraserFails(t *testing.T) {
	for mode, said := range map[string]string{
		"other id": `it answered about "x"`,
		"no json":  "no JSON object",
		"ends":     "ended before it answered",
	} {
		_, err := Generate{Out: t.TempDir(), N: 2, Phraser: self(t, mode)}.Do(context.Background())
		if !errors.Is(err, ErrPhraser) || !strings.Contains(err.Error(), said) {
			t.Errorf("%s: error %v, want one that says %q", mode, err, said)
		}
		if mode == "ends" && !strings.Contains(fmt.Sprint(err), "out of memory") {
			t.Errorf("the command's own words are missing: %v", err)
		}
	}
	p, err := newPhraser(self(t, "silent"), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	p.wait = 50 * time.Millisecond
	if _, err := p.Phrase(context.Background(), generator.PhraseRequest{ID: "q"}); !errors.Is(err, ErrPhraser) || !strings.Contains(err.Error(), "no answer to q") {
		t.Errorf("error %v, want one about silence", err)
	}
	if _, err := (Generate{Out: t.TempDir(), N: 2, Phraser: filepath.Join(t.TempDir(), "absent")}).Do(context.Background()); !errors.Is(err, ErrPhraser) || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v, want one about a missing command", err)
	}
	if _, err := newPhraser("  ", t.TempDir()); !errors.Is(err, ErrPhraser) {
		t.Errorf("error %v, want one about an empty command", err)
	}
}

// TestPhraserKilled: what was answered stands in the record before the generation
// ends, and a phraser opened on it does not ask again.
func TestPhraserKilled(t *testing.T) {
	dir, command := t.TempDir(), self(t, "answers")
	p, err := newPhraser(command, dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.end)
	p.every = 0
	asked := generator.PhraseRequest{ID: "p1", Text: "Who is it?"}
	text, err := p.Phrase(t.Context(), asked)
	if err != nil {
		t.Fatal(err)
	}
	again, err := newPhraser(command, dir) // p is neither done nor closed
	if err != nil {
		t.Fatal(err)
	}
	if got, err := again.Phrase(t.Context(), asked); err != nil || got != text || again.process != nil {
		t.Errorf("%q, %v, process %v; want the recorded %q and no process", got, err, again.process, text)
	}
}
