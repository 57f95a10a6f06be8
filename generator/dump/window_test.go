package dump

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"editpipe/lfs"
)

// frame is a zstd frame of one raw block that asks for a window of 2^log bytes (RFC
// 8878, sections 3.1.1.1.2 and 3.1.1.2).
func frame(log int, text string) []byte {
	out := []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, byte(log-10) << 3}
	header := uint32(len(text))<<3 | 1 // last block, raw
	out = append(out, byte(header), byte(header>>8), byte(header>>16))
	return append(out, text...)
}

// A window that would take more memory than is given to it is refused with what to do.
func TestWindows(t *testing.T) {
	const text = "[\n{\"id\": \"Q1\"}\n]\n"
	for _, log := range []int{20, 25} { // zstd's largest window without --long is 2^27
		r, err := Open(bytes.NewReader(frame(log, text)), 1)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r); err != nil || string(got) != text {
			t.Errorf("window of 2^%d: %q, %v", log, got, err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
	for _, log := range []int{30, 31} {
		r, err := Open(bytes.NewReader(frame(log, text)), 1)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(r); !errors.Is(err, ErrWindow) || !strings.Contains(err.Error(), "zstd --decompress --long=31") {
			t.Errorf("window of 2^%d: %v", log, err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestPointer(t *testing.T) {
	if _, err := Open(bytes.NewReader([]byte("version https://example.org/git-lfs/spec/v1\noid sha256:00\nsize 1\n")), 1); !errors.Is(err, lfs.ErrPointer) {
		t.Errorf("%v", err)
	}
}
