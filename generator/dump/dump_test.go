package dump

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/zstd"
)

const blockSize = 1 << 18

// sample is the text of testdata/two-streams.bz2, which `bzip2 -1` wrote in two
// parts: five blocks in two streams.
func sample() string {
	var b strings.Builder
	for i := range 16000 {
		fmt.Fprintf(&b, "{\"id\":\"Q%d\",\"of\":\"Q%d\"},\n", i%701, i%89)
	}
	return b.String()
}

func packed(t *testing.T) []byte {
	t.Helper()
	data, err := os.ReadFile("testdata/two-streams.bz2")
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func readAll(data []byte, workers int) (string, error) {
	r, err := Open(bytes.NewReader(data), workers)
	if err != nil {
		return "", err
	}
	defer r.Close()
	text, err := io.ReadAll(r)
	return string(text), err
}

func TestOpenReadsEveryForm(t *testing.T) {
	want := sample()
	var gz, zst bytes.Buffer
	g := gzip.NewWriter(&gz)
	z, err := zstd.NewWriter(&zst)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range []io.WriteCloser{g, z} {
		if _, err := io.WriteString(w, want); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for name, data := range map[string][]byte{"plain": []byte(want), "gz": gz.Bytes(), "zst": zst.Bytes(), "bz2": packed(t)} {
		for _, workers := range []int{1, 4} {
			if got, err := readAll(data, workers); err != nil || got != want {
				t.Errorf("%s with %d workers: %d bytes, %v; want %d", name, workers, len(got), err, len(want))
			}
		}
		if name == "plain" {
			continue
		}
		got, err := readAll(data[:len(data)/2], 2)
		if !errors.Is(err, io.ErrUnexpectedEOF) || !strings.Contains(err.Error(), "cut short") || !strings.HasPrefix(want, got) || got == want {
			t.Errorf("half of %s: %d bytes, %v; want an early end", name, len(got), err)
		}
	}
	if got, err := readAll(nil, 1); got != "" || err != nil {
		t.Errorf("nothing reads as %q, %v", got, err)
	}
}

func TestBzip2(t *testing.T) {
	data := packed(t)
	blocks := 0
	z := newBzip2(bytes.NewReader(data), 2)
	for s := z.take(); s != nil; s = z.take() {
		if s.block {
			blocks++
		}
	}
	if blocks != 5 {
		t.Errorf("%d blocks, want 5: nothing is decompressed side by side", blocks)
	}
	bent := bytes.Clone(data)
	bent[len(bent)/3] ^= 4
	if _, err := readAll(bent, 2); err == nil || !strings.Contains(err.Error(), "at byte") {
		t.Errorf("a flipped bit gives %v, want the place of the block", err)
	}
	// Stopped early, the goroutines end: the splitter would otherwise wait for ever,
	// and with it the reader below.
	closed := newBzip2(bytes.NewReader(bytes.Repeat(data, 20)), 1)
	closed.stop()
	n := 0
	for range closed.order {
		n++
	}
	if n > 20 {
		t.Errorf("%d segments came after stop", n)
	}
}

// TestBzip2JoinsWhatOnlyLooksCut cuts a block in two, as a magic number inside
// it would.
func TestBzip2JoinsWhatOnlyLooksCut(t *testing.T) {
	whole := newBzip2(bytes.NewReader(packed(t)), 1)
	first := whole.take()
	whole.stop()
	if first.err != nil || !first.block || len(first.text) == 0 {
		t.Fatalf("first segment %+v", first)
	}
	half := first.bits.n/2 + 3
	var a, b bits
	for i := range first.bits.n {
		part := &a
		if i >= half {
			part = &b
		}
		part.add(uint64(first.bits.bytes[i/8]>>(7-i%8)), 1)
	}
	done := make(chan struct{})
	close(done)
	z := &parallelBzip2{order: make(chan *segment, 2)}
	z.order <- &segment{block: true, bits: a, done: done, err: errors.New("cannot be decompressed")}
	z.order <- &segment{block: true, bits: b, done: done, err: errors.New("nor this")}
	close(z.order)
	got, err := io.ReadAll(z)
	if err != nil || !bytes.Equal(got, first.text) {
		t.Errorf("%d bytes, %v; want the %d of the block", len(got), err, len(first.text))
	}
}

// TestBlocks checks that blocks make up the text, end with lines, and do not
// depend on how the text arrives nor on where reading began.
func TestBlocks(t *testing.T) {
	var b strings.Builder
	for i := 0; b.Len() < 4*blockSize; i++ {
		fmt.Fprintf(&b, "line %d %s\n", i, strings.Repeat("x", i*7919%500))
		if i == 900 {
			b.WriteString(strings.Repeat("long", blockSize/3) + "\n") // longer than a block
		}
	}
	b.WriteString("the end has no newline")
	text := b.String()
	cut := func(in io.Reader, at int64, lines int) (out []Block) {
		t.Helper()
		for blocks := NewBlocks(in, blockSize, at, lines); ; {
			next, err := blocks.Next(nil)
			if errors.Is(err, io.EOF) {
				return out
			}
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, next)
		}
	}
	all := cut(strings.NewReader(text), 0, 0)
	var joined strings.Builder
	for i, block := range all {
		if block.At != int64(joined.Len()) || block.Line != 1+strings.Count(joined.String(), "\n") {
			t.Errorf("block %d is said to begin at byte %d, line %d", i, block.At, block.Line)
		}
		if !bytes.HasSuffix(block.Text, []byte("\n")) && i < len(all)-1 {
			t.Errorf("block %d ends within a line", i)
		}
		joined.Write(block.Text)
	}
	if joined.String() != text || len(all) < 4 {
		t.Fatalf("%d blocks of %d bytes, want 4 or more of %d", len(all), joined.Len(), len(text))
	}
	for name, in := range map[string]io.Reader{
		"in pieces": iotest.HalfReader(strings.NewReader(text)),
		"resumed":   strings.NewReader(text[all[2].At:]),
	} {
		want := all
		var got []Block
		if name == "resumed" {
			want = all[2:]
			got = cut(in, want[0].At, want[0].Line-1)
		} else {
			got = cut(in, 0, 0)
		}
		if len(got) != len(want) {
			t.Fatalf("%s: %d blocks, want %d", name, len(got), len(want))
		}
		for i := range got {
			if got[i].At != want[i].At || got[i].Line != want[i].Line || !bytes.Equal(got[i].Text, want[i].Text) {
				t.Errorf("%s: block %d differs", name, i)
			}
		}
	}
}

func TestBlocksReportsReadErrors(t *testing.T) {
	gone := errors.New("disk gone")
	blocks := NewBlocks(io.MultiReader(strings.NewReader("one\ntwo\n"), iotest.ErrReader(gone)), blockSize, 0, 0)
	if _, err := blocks.Next(nil); !errors.Is(err, gone) || !strings.Contains(err.Error(), "after line 2") {
		t.Errorf("error %v, want the reader's with the line", err)
	}
}
